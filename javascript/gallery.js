// Videos play in the gallery and in the lightbox, over the picture that stands for them. The picture stays where it is,
// so whatever else works with it (save, zip, send to, the gallery's own keys) works as ever.
window.animateDiff ??= {};

(function () {
    const page = window.animateDiff;
    const places = {}; // of "txt2img", "img2img" and "lightbox": {picture, url, player}
    const cannotPlay = new Set();
    let known = {text: null, clips: []};

    // The videos of both tabs, as webui/playing.py lists them: {picture, video, fps}.
    function clips() {
        const text = page.TABS.map((tab) => page.generationInfo(tab)).join("\n");
        if (text !== known.text) known = {text, clips: page.TABS.flatMap((tab) => listed(page.generationInfo(tab)))};
        return known.clips;
    }

    function listed(text) {
        if (!text) return [];
        try {
            return JSON.parse(text).extra_generation_params?.["AnimateDiff videos"] ?? [];
        } catch {
            return []; // not a generation's
        }
    }

    function clipOf(picture) {
        const path = picture?.src && page.pathOf(picture.src);
        const found = path && clips().find((clip) => isSameFile(page.withSlashes(clip.picture), path));
        return found ? {url: page.urlOf(found.video, picture.src), fps: found.fps} : null;
    }

    // On Windows, where the WebUI was started from decides on capitals in the one path, and the disk in the other.
    function isSameFile(path, other) {
        return path.toLowerCase() === other.toLowerCase();
    }

    // Bring one place up to date: play what belongs to its picture, or show the picture.
    function refresh(name, picture, isShown) {
        const clip = isShown ? clipOf(picture) : null;
        const url = clip && !cannotPlay.has(clip.url) ? clip.url : null;
        const place = places[name];
        if (place && place.url === url && place.picture === picture && (!place.isThere || place.player.element.isConnected)) return;
        if (place) leave(name);
        if (!url) return;
        const shown = (player) => {
            if (places[name]?.player !== player) return; // the user was quicker
            places[name].isThere = true;
            picture.after(player.element);
            picture.classList.add("animatediff-covered");
            player.video.play().catch(() => {});
        };
        const failed = (player) => {
            cannotPlay.add(url);
            if (places[name]?.player === player) leave(name);
        };
        places[name] = {picture, url, player: new page.Player(clip, shown, failed), isThere: false};
        places[name].player.video.addEventListener("click", () => picture.click()); // opens the lightbox, or closes it
    }

    function leave(name) {
        const {picture, player} = places[name];
        delete places[name];
        picture.classList.remove("animatediff-covered");
        player.remove();
    }

    function refreshAll() {
        const lightbox = page.byId("lightboxModal");
        const picture = page.byId("modalImage");
        // it shows tiles as its background, without its picture
        const isOpen = !!lightbox && !["", "none"].includes(lightbox.style.display) && picture.style.display !== "none";
        refresh("lightbox", picture, isOpen);
        for (const tab of page.TABS) {
            refresh(tab, page.largePicture(tab), true);
            if (isOpen) places[tab]?.player.video.pause();
        }
    }

    let isDue = false;
    function soon() {
        if (isDue) return;
        isDue = true;
        requestAnimationFrame(() => {
            isDue = false;
            refreshAll();
        });
    }

    // The player that keys are for: the lightbox's, else the one in sight.
    function current() {
        return Object.values(places)
            .filter((place) => place.isThere && place.player.element.offsetParent)
            .sort((one) => (one === places.lightbox ? -1 : 1))[0]?.player;
    }

    document.addEventListener("keydown", function (event) {
        if (![",", "."].includes(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
        if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
        const player = current();
        if (!player) return;
        event.preventDefault();
        player.step(event.key === "." ? 1 : -1);
    });

    let areWatched = false;
    function watch() {
        const watched = [...page.TABS.map((tab) => page.gallery(tab)), page.byId("lightboxModal")].filter(Boolean);
        if (!areWatched && watched.length === page.TABS.length + 1) {
            areWatched = true;
            const changes = {subtree: true, childList: true, attributes: true, attributeFilter: ["src", "style"]};
            watched.forEach((element) => new MutationObserver(soon).observe(element, changes));
        }
        soon();
    }

    onAfterUiUpdate(watch);
})();
