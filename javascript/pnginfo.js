// Videos on PNG Info. The WebUI reads infotexts from pictures; so a video becomes one: its first frame, as a PNG that
// carries the video's infotext. From there on everything there works as with any other picture.
window.animateDiff ??= {};

(function () {
    const page = window.animateDiff;
    const ROUTE = "animatediff/page/infotext";
    const LOAD_MS = 10000;

    function videoIn(files) {
        return files?.length === 1 && /^video\//.test(files[0].type) ? files[0] : null;
    }

    async function take(field, file) {
        say(field, `Reading ${file.name} …`, false);
        try {
            const [infotext, picture] = await Promise.all([infotextOf(file), firstFrame(file)]);
            const name = file.name.replace(/\.\w+$/, ".png");
            await page.upload(field, new File([await withText(picture, "parameters", infotext)], name, {type: "image/png"}));
            say(field, infotext ? "" : `${file.name} has no infotext.`, true);
        } catch (problem) {
            say(field, problem.message, true);
        }
    }

    async function infotextOf(file) {
        const answer = await fetch(ROUTE, {method: "POST", body: file, headers: {"Content-Type": file.type}});
        const told = await answer.json().catch(() => ({}));
        if (answer.ok) return told.infotext ?? "";
        const reason = told.detail ?? `the server answered ${answer.status}`;
        throw new Error(`${file.name} could not be read: ${reason}`);
    }

    // As a PNG; an empty picture where the browser cannot decode the video.
    async function firstFrame(file) {
        const video = document.createElement("video");
        const url = URL.createObjectURL(file);
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 64;
        try {
            await new Promise((resolve) => {
                ["loadeddata", "error"].forEach((event) => video.addEventListener(event, resolve, {once: true}));
                setTimeout(resolve, LOAD_MS);
                Object.assign(video, {muted: true, preload: "auto", src: url});
            });
            if (video.videoWidth) {
                Object.assign(canvas, {width: video.videoWidth, height: video.videoHeight});
                canvas.getContext("2d").drawImage(video, 0, 0);
            }
            return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
        } finally {
            URL.revokeObjectURL(url);
        }
    }

    // A PNG with one more text in it (https://www.w3.org/TR/png-3/#11iTXt), behind the header, which is 33 bytes long.
    async function withText(png, keyword, text) {
        if (!text) return png;
        const encoder = new TextEncoder();
        const typed = encoder.encode(`iTXt${keyword}\0\0\0\0\0${text}`); // uncompressed, no language, no translation
        const length = new DataView(new ArrayBuffer(4));
        length.setUint32(0, typed.length - 4);
        const check = new DataView(new ArrayBuffer(4));
        check.setUint32(0, crc32(typed));
        return new Blob([png.slice(0, 33), length, typed, check, png.slice(33)], {type: "image/png"});
    }

    function crc32(bytes) {
        let crc = 0xffffffff;
        for (const byte of bytes) {
            crc ^= byte;
            for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
        }
        return (crc ^ 0xffffffff) >>> 0;
    }

    function say(field, text, isDone) {
        let line = page.byId("animatediff-pnginfo");
        if (!line) {
            line = document.createElement("p");
            line.id = "animatediff-pnginfo";
            line.setAttribute("role", "status");
            field.after(line);
        }
        line.className = "animatediff-status";
        line.textContent = isDone && text ? `⚠ ${text}` : text;
    }

    // In front of gradio and of the WebUI, which take pictures only.
    function catchVideo(event, files) {
        const field = event.target.closest?.("#pnginfo_image");
        const file = field && videoIn(files);
        if (field && files?.length && page.byId("animatediff-pnginfo")) say(field, "", true); // of the file before
        if (!file) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        take(field, file);
    }

    document.addEventListener("drop", (event) => catchVideo(event, event.dataTransfer?.files), true);
    document.addEventListener("change", (event) => event.target.type === "file" && catchVideo(event, event.target.files), true);

    // The list of files that the field opens has videos in it, too.
    onAfterUiUpdate(function () {
        const field = page.byId("pnginfo_image");
        const input = field && page.uploadOf(field);
        if (input?.accept === "image/*") input.accept = "image/*,video/mp4,video/webm";
    });
})();
