// For keyboards and screen readers: bars that can be reached and opened by keys, and a name for every field.
window.animateDiff ??= {};

(function () {
    const page = window.animateDiff;

    function makeButton(header) {
        const say = () => header.setAttribute("aria-expanded", page.isOpen(header));
        if (header.tagName !== "BUTTON") {
            header.tabIndex = 0;
            header.setAttribute("role", "button");
            header.addEventListener("keydown", (event) => {
                if (event.target !== header || !["Enter", " "].includes(event.key) || event.ctrlKey || event.altKey) return;
                event.preventDefault();
                header.click();
            });
        }
        new MutationObserver(say).observe(header, {attributes: true, attributeFilter: ["class"]});
        say();
    }

    // Groups of choices and the numbers beside sliders have a label in sight, but none of their own.
    function nameFields(accordion) {
        for (const group of accordion.querySelectorAll("fieldset:not([aria-label])")) {
            const label = group.querySelector("[data-testid='block-info']");
            if (label) group.setAttribute("aria-label", label.textContent.trim());
        }
        for (const number of accordion.querySelectorAll(".head input[type=number]:not([aria-label])")) {
            const label = number.closest(".head").querySelector("[data-testid='block-info']");
            if (label) number.setAttribute("aria-label", label.textContent.trim());
        }
    }

    onUiLoaded(function () {
        for (const tab of page.TABS) {
            const accordion = page.byId(`${tab}-ad-accordion`);
            if (!accordion) continue;
            accordion.querySelectorAll(".label-wrap").forEach(makeButton);
            nameFields(accordion);
            const refresh = page.byId(`${tab}-ad-refresh`);
            refresh?.setAttribute("aria-label", "Refresh the lists of motion modules");
            refresh?.setAttribute("title", "Refresh the lists of motion modules");
            const status = page.byId(`${tab}-ad-status`);
            status?.setAttribute("role", "status");
        }
    });
})();
