// Keeps the line under the list of motion modules true: whether one fits depends on the checkpoint that is loaded.
window.animateDiff ??= {};

(function () {
    const page = window.animateDiff;
    const AGAIN_MS = 3000;
    const PATIENCE_MS = 5 * 60 * 1000; // with --skip-load-model-at-start none is loaded until it is needed
    let checkpoint = null;
    let timer = null;

    function check() {
        for (const tab of page.TABS) page.byId(`${tab}-ad-refresh`)?.click();
    }

    // The WebUI loads its first checkpoint beside the page, and says nothing when it is there.
    function checkUntilSettled() {
        check();
        clearInterval(timer);
        const since = Date.now();
        timer = setInterval(() => {
            const isUnsettled = page.TABS.some((tab) => page.byId(`${tab}-ad-status`)?.querySelector("[data-unsettled]"));
            if (isUnsettled && Date.now() - since < PATIENCE_MS) check();
            else clearInterval(timer);
        }, AGAIN_MS);
    }

    // The WebUI sends its options again when a setting, such as the checkpoint, has taken effect.
    onOptionsChanged(function () {
        if (opts.sd_model_checkpoint === checkpoint) return;
        checkpoint = opts.sd_model_checkpoint;
        checkUntilSettled();
    });
})();
