// The WebUI's page in miniature: what extensions call, and a lightbox with its element ids.
const opts = {sd_model_checkpoint: "base"};
const callbacks = {loaded: [], updated: [], options: []};
const gradioApp = () => document;
const onUiLoaded = (callback) => callbacks.loaded.push(callback);
const onAfterUiUpdate = (callback) => callbacks.updated.push(callback);
const onOptionsChanged = (callback) => callbacks.options.push(callback);
const saved = []; // what the gallery's keys did

function buildLightbox() {
    const modal = document.createElement("div");
    const picture = document.createElement("img");
    modal.id = "lightboxModal";
    modal.tabIndex = 0;
    modal.style.cssText = "display: none; position: fixed; inset: 0; z-index: 1001; flex-direction: column; background: black";
    modal.onclick = () => (modal.style.display = "none");
    modal.addEventListener("keydown", (event) => saved.push(event.key), true);
    picture.id = "modalImage";
    picture.style.margin = "auto";
    picture.onclick = modal.onclick;
    modal.append(picture);
    document.body.append(modal);
    document.addEventListener("click", (event) => {
        if (!event.target.matches(".preview > img")) return;
        event.stopPropagation(); // or gradio goes on to the next picture
        picture.src = event.target.src;
        modal.style.display = "flex";
        modal.focus();
    }, true);
}

function begin() {
    buildLightbox();
    for (const callback of [...callbacks.loaded, ...callbacks.options, ...callbacks.updated]) callback();
    let pause = null;
    new MutationObserver(() => {
        clearTimeout(pause);
        pause = setTimeout(() => callbacks.updated.forEach((callback) => callback()), 50);
    }).observe(document.body, {childList: true, subtree: true});
}
