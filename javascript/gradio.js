// Where gradio keeps things in its page: all that differs between its versions 3 and 4 is here.
window.animateDiff ??= {};

Object.assign(window.animateDiff, {
    TABS: ["txt2img", "img2img"],

    byId(id) {
        return gradioApp().getElementById(id);
    },

    gallery(tab) {
        return this.byId(`${tab}_gallery`);
    },

    // The large picture of a gallery, if one is open.
    largePicture(tab) {
        return this.gallery(tab)?.querySelector(".preview [data-testid='detailed-image']") ?? null;
    },

    // What the WebUI knows of the pictures of a gallery, as JSON.
    generationInfo(tab) {
        return this.byId(`generation_info_${tab}`)?.querySelector("textarea")?.value ?? "";
    },

    // The path of a served file, with slashes. null for what is no file: data:, blob: …
    pathOf(url) {
        const place = url.search(/\/file=/);
        if (place < 0) return null;
        const path = url.slice(place + "/file=".length).replace(/\?[\d.]*$/, "");
        try {
            return this.withSlashes(decodeURI(path));
        } catch {
            return this.withSlashes(path); // a percent sign of its own
        }
    },

    withSlashes(path) {
        return path.replaceAll("\\", "/");
    },

    // The address of a file that is served from where another one is.
    urlOf(path, other) {
        const base = other.slice(0, other.search(/\/file=/) + "/file=".length);
        return base + this.withSlashes(path).split("/").map(encodeURIComponent).join("/").replaceAll("%3A", ":");
    },

    // The bar of an accordion, which opens and closes it.
    header(accordion) {
        return accordion.querySelector(":scope > .label-wrap, :scope > * > .label-wrap");
    },

    // The accordion that a field is folded into.
    groupOf(field) {
        let place = field.parentElement;
        while (!this.header(place)) place = place.parentElement;
        return place;
    },

    isOpen(header) {
        return header.classList.contains("open");
    },

    uploadOf(image) {
        return image.querySelector("input[type=file]");
    },

    // Give a picture to a field for pictures, as if the user had chosen it, in place of what is there.
    async upload(image, file) {
        if (!this.uploadOf(image)) image.querySelector("button[aria-label='Clear'], button[aria-label='Remove Image']")?.click();
        for (let tries = 0; !this.uploadOf(image) && tries < 100; tries++) {
            await new Promise((resolve) => setTimeout(resolve, 20));
        }
        const input = this.uploadOf(image);
        if (!input) throw new Error("The field for pictures cannot be emptied: remove its picture, and try again.");
        const files = new DataTransfer();
        files.items.add(file);
        input.files = files.files;
        input.dispatchEvent(new Event("change", {bubbles: true}));
    },
});
