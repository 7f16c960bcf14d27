// What our accordion says of itself: a summary in its bar, and why some fields make no difference as the others stand.
// The server knows both (webui/summary.py); here they are asked for, and shown.
window.animateDiff ??= {};

(function () {
    const page = window.animateDiff;
    const PAUSE_MS = 200;
    const PATIENCE_MS = 20000; // an answer that late is lost
    const waiting = {};
    const patientUntil = {};

    // Something was changed: many fields at once when an infotext is pasted.
    page.ask = function (tab) {
        clearTimeout(waiting[tab]);
        waiting[tab] = setTimeout(() => send(tab), PAUSE_MS);
    };

    // One question at a time: an earlier one may take longer, and its answer would come last.
    function send(tab) {
        if (Date.now() < (patientUntil[tab] ?? 0)) return page.ask(tab);
        patientUntil[tab] = Date.now() + PATIENCE_MS;
        page.byId(`${tab}-ad-ask`)?.click();
    }

    page.show = function (tab, facts) {
        patientUntil[tab] = 0;
        const accordion = page.byId(`${tab}-ad-accordion`);
        if (!accordion || !facts) return;
        showSummary(accordion, facts);
        accordion.querySelectorAll(".animatediff-idle").forEach((field) => wake(field));
        for (const [name, reason] of Object.entries(facts.idle)) {
            const field = page.byId(`${tab}-ad-${name}`);
            if (field) rest(field, reason);
        }
    };

    function showSummary(accordion, facts) {
        const header = page.header(accordion);
        let summary = header.querySelector(".animatediff-summary");
        if (!summary) {
            summary = document.createElement("span");
            summary.className = "animatediff-summary";
            header.insertBefore(summary, header.lastElementChild);
        }
        summary.textContent = facts.summary;
        summary.title = facts.summary;
        summary.classList.toggle("animatediff-problem", facts.problem);
    }

    // Such a field is grey, not locked: what it says holds as soon as it matters.
    function rest(field, reason) {
        const others = [...page.groupOf(field).querySelectorAll(".animatediff-reason")];
        const note = document.createElement("div");
        note.className = "animatediff-reason";
        // In sight once in a group: all fields of FreeInit have the same one.
        note.classList.toggle("animatediff-said", others.some((other) => other.textContent === reason));
        note.id = `${field.id}-reason`;
        note.textContent = reason;
        field.append(note);
        field.title = reason;
        field.classList.add("animatediff-idle");
        field.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-describedby", note.id));
    }

    function wake(field) {
        field.classList.remove("animatediff-idle");
        field.removeAttribute("title");
        field.querySelector(".animatediff-reason")?.remove();
        field.querySelectorAll("[aria-describedby]").forEach((input) => input.removeAttribute("aria-describedby"));
    }

    // Defaults of the user (ui-config.json) are in the fields only now.
    onUiLoaded(() => page.TABS.forEach(page.ask));
})();
