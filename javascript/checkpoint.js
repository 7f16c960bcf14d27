// Keeps the line under the list of motion modules true: whether one fits depends on the checkpoint that is loaded.
(function () {
    let checkpoint = null;

    function check() {
        for (const tab of ["txt2img", "img2img"]) {
            const refresh = gradioApp().getElementById(`${tab}-ad-refresh`);
            if (refresh) refresh.click();
        }
    }

    // The WebUI sends its options again when a setting, such as the checkpoint, has taken effect.
    onOptionsChanged(function () {
        if (opts.sd_model_checkpoint === checkpoint) return;
        checkpoint = opts.sd_model_checkpoint;
        check();
    });
})();
