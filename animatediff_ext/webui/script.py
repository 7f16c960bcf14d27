"""The script as the WebUI sees it: every hook is one call into `generation` or `output`."""

from __future__ import annotations

import gradio as gr
from modules import errors, script_callbacks, scripts

from animatediff_ext.webui import (
    aside,
    batch,
    compat,
    generation,
    grids,
    host,
    infotext,
    output,
    routes,
    settings,
    temporary,
    xyz,
)
from animatediff_ext.webui.generation import generation_of
from animatediff_ext.webui.ui import Accordion

PROMPTS = ("txt2img_prompt", "txt2img_neg_prompt", "img2img_prompt", "img2img_neg_prompt")
"""Element ids."""


class AnimateDiffScript(scripts.Script):
    """*AnimateDiff* in txt2img and img2img."""

    def __init__(self):
        super().__init__()
        self._prompts: dict[str, gr.Textbox] = {}
        twin = host.twin()
        self._aside = aside.beside(twin) if twin else None

    def title(self):
        return self._aside.title if self._aside else "AnimateDiff"

    def show(self, is_img2img):
        if not self._aside:
            xyz.register()  # with --nowebui plots are built before any callback
        return scripts.AlwaysVisible

    def after_component(self, component, **kwargs):
        """Called for every component of this script's tab; the prompts are made before the scripts are."""
        if kwargs.get("elem_id") in PROMPTS:
            self._prompts[kwargs["elem_id"]] = component

    def ui(self, is_img2img):
        if self._aside:
            return self._aside.show()
        try:
            accordion = Accordion(is_img2img, [self._prompts[name] for name in PROMPTS if name in self._prompts])
        except Exception as problem:  # with --api it would end the WebUI, which asks for fields again to read defaults
            errors.report("AnimateDiff's fields could not be made", exc_info=True)
            self._aside = aside.without_fields(problem)
            return self._aside.show()
        self.infotext_fields = accordion.paste_fields
        self.paste_field_names = [name for _, name in accordion.paste_fields]
        return accordion.components

    def before_process(self, p, *args):
        if not self._aside:  # with no fields of ours, these are the arguments of all scripts
            generation.begin(p, args, rescue=output.rescue)

    def process(self, p, *args):
        running = generation_of(p)
        if running:
            running.settle_samples()

    def before_process_batch(self, p, *args, **kwargs):
        running = generation_of(p)
        if running:
            with running.keeping_problems():
                if output.write_arrived(running):
                    running.before_batch()
                else:
                    p.prompts = []  # at which the WebUI's loop ends

    def process_before_every_sampling(self, p, *args, **kwargs):
        running = generation_of(p)
        if running:
            with running.keeping_problems():
                running.before_sampling(kwargs.get("noise"))

    def postprocess_image(self, p, pp, *args):
        running = generation_of(p)
        if running:
            running.frame_masks.before_image(p.batch_index)

    def postprocess_image_after_composite(self, p, pp, *args):
        running = generation_of(p)
        if running:
            with running.keeping_problems():
                running.frame_arrived(pp)

    def postprocess_batch(self, p, *args, **kwargs):
        running = generation_of(p)
        if running:
            running.after_batch()

    def postprocess(self, p, processed, *args):
        running = generation_of(p)
        if running:
            running.progress.now(stage="writing")
            with running.failing_on_close(processed):
                try:
                    grids.note(running, processed)
                    output.deliver(running, processed)
                finally:
                    generation.end(p)


def on_cfg_denoiser(params) -> None:
    """Callback of the WebUI before each evaluation of the model, whoever's generation it is."""
    running = generation_of(params.denoiser.p)
    if running:
        with running.keeping_problems():
            running.before_denoising(params)


def register() -> None:
    """Tell the WebUI of our callbacks. It runs the door anew on *Reload UI*, so this may be called again."""
    before_ui = (grids.register, temporary.remove_old_previews)
    others = (unregister, routes.register)
    for function in (settings.on_ui_settings, on_cfg_denoiser, infotext.pasted, *before_ui, *others):
        script_callbacks.remove_callbacks_for_function(function)
    unregister()
    if host.twin():
        return
    if not host.rival():
        compat.provide()
    batch.take_over()
    script_callbacks.on_script_unloaded(unregister)
    script_callbacks.on_ui_settings(settings.on_ui_settings)
    script_callbacks.on_before_ui(settings.on_ui_settings)  # with --nowebui settings are not asked for
    script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
    script_callbacks.on_infotext_pasted(infotext.pasted)
    for function in before_ui:
        script_callbacks.on_before_ui(function)
    script_callbacks.on_app_started(routes.register)


def unregister() -> None:
    """Callback of the WebUI when it is about to load scripts anew."""
    batch.give_back()
    compat.withdraw()
