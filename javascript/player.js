// A video in the place of a picture, with a bar to play, step by frames, change speed, repeat and download.
window.animateDiff ??= {};

(function () {
    const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2];
    // Drawn in a square of 16, since not every machine has letters for them.
    const ICONS = {
        play: "M4 2l10 6-10 6z",
        pause: "M3 2h4v12H3zM9 2h4v12H9z",
        back: "M3 2h2v12H3zM13 2v12L6 8z",
        on: "M11 2h2v12h-2zM3 2l7 6-7 6z",
        loop: "M8 3V0L4 4l4 4V5a3 3 0 1 1-3 3H3a5 5 0 1 0 5-5z",
        download: "M7 1h2v6h3l-4 4-4-4h3zM2 12h2v1h8v-1h2v3H2z",
    };
    const chosen = {speed: 1, loop: true}; // for the next video, too

    // `clip` is {url, fps}. `shown` is called once there is something to see, `failed` if the browser cannot play it.
    class Player {
        constructor(clip, shown, failed) {
            this.clip = clip;
            this.element = document.createElement("div");
            this.element.className = "animatediff-player";
            this.element.setAttribute("role", "group");
            this.element.setAttribute("aria-label", "Video");
            this.video = this._video(shown, failed);
            this.element.append(this.video, this._bar());
        }

        get numFrames() {
            return Math.max(1, Math.round((this.video.duration || 0) * this.clip.fps));
        }

        // From 0. Frames last from n / fps to (n + 1) / fps.
        get frame() {
            return Math.min(this.numFrames - 1, Math.floor(this.video.currentTime * this.clip.fps + 0.01));
        }

        // Go some frames on, or back; around the ends of a video that is repeated.
        step(by) {
            this.video.pause();
            const count = this.numFrames;
            const to = this.frame + by;
            const frame = this.video.loop ? ((to % count) + count) % count : Math.min(count - 1, Math.max(0, to));
            this.video.currentTime = (frame + 0.5) / this.clip.fps; // the middle: neither end is met by rounding
        }

        toggle() {
            if (this.video.paused) this.video.play().catch(() => {});
            else this.video.pause();
        }

        remove() {
            this.video.pause();
            this.video.removeAttribute("src"); // or the browser goes on loading it
            this.element.remove();
        }

        _video(shown, failed) {
            const video = document.createElement("video");
            Object.assign(video, {muted: true, autoplay: true, playsInline: true, preload: "auto", loop: chosen.loop});
            video.addEventListener("loadeddata", () => shown(this), {once: true});
            video.addEventListener("error", () => video.hasAttribute("src") && failed(this));
            for (const event of ["play", "pause", "timeupdate", "seeked", "loadeddata"]) {
                video.addEventListener(event, () => this._say());
            }
            video.defaultPlaybackRate = video.playbackRate = chosen.speed;
            video.src = this.clip.url;
            return video;
        }

        _bar() {
            const bar = document.createElement("div");
            bar.className = "animatediff-player-bar";
            this._play = button("play", "Play", () => this.toggle());
            this._count = document.createElement("span");
            this._count.className = "animatediff-player-frame";
            const loop = button("loop", "Repeat", () => {
                this.video.loop = chosen.loop = !chosen.loop;
                loop.setAttribute("aria-pressed", chosen.loop);
            });
            loop.setAttribute("aria-pressed", chosen.loop);
            bar.append(
                this._play,
                button("back", "One frame back (,)", () => this.step(-1)),
                this._count,
                button("on", "One frame on (.)", () => this.step(1)),
                loop,
                this._speed(),
                this._download(),
            );
            // The lightbox closes when it is clicked, and the gallery changes its picture by arrows.
            bar.addEventListener("click", (event) => event.stopPropagation());
            this._say();
            return bar;
        }

        _speed() {
            const speed = document.createElement("select");
            speed.title = "Speed";
            speed.setAttribute("aria-label", "Speed");
            speed.append(...SPEEDS.map((rate) => new Option(`${rate}×`, rate, rate === 1, rate === chosen.speed)));
            speed.addEventListener("change", () => {
                chosen.speed = Number(speed.value);
                this.video.playbackRate = chosen.speed;
            });
            speed.addEventListener("keydown", (event) => event.key.startsWith("Arrow") && event.stopPropagation());
            return speed;
        }

        _download() {
            const link = document.createElement("a");
            link.href = this.clip.url;
            link.download = decodeURIComponent(this.clip.url.split("/").pop());
            link.append(icon("download"));
            link.title = `Download ${link.download}`;
            link.setAttribute("aria-label", link.title);
            return link;
        }

        _say() {
            if (!this._play || !this.video) return;
            this._sayPaused(this.video.paused);
            // Of a text that changes, the WebUI's observer of the whole page hears nothing; of a new one it does.
            if (!this._count.firstChild) this._count.append("");
            this._count.firstChild.data = this.video.duration ? `${this.frame + 1} / ${this.numFrames}` : "…";
        }

        _sayPaused(isPaused) {
            if (isPaused === this._saidPaused) return;
            this._saidPaused = isPaused;
            this._play.replaceChildren(icon(isPaused ? "play" : "pause"));
            this._play.title = isPaused ? "Play" : "Pause";
            this._play.setAttribute("aria-label", this._play.title);
        }
    }

    function icon(name) {
        const space = "http://www.w3.org/2000/svg";
        const drawing = document.createElementNS(space, "svg");
        const path = document.createElementNS(space, "path");
        path.setAttribute("d", ICONS[name]);
        drawing.setAttribute("viewBox", "0 0 16 16");
        drawing.setAttribute("aria-hidden", "true");
        drawing.append(path);
        return drawing;
    }

    function button(name, title, act) {
        const made = document.createElement("button");
        made.type = "button";
        made.append(icon(name));
        made.title = title;
        made.setAttribute("aria-label", title);
        made.addEventListener("click", act);
        return made;
    }

    window.animateDiff.Player = Player;
})();
