"""The script as the WebUI sees it: every hook is one call into `generation` or `output`."""

from __future__ import annotations

import gradio as gr
from modules import script_callbacks, scripts

from animatediff_ext.webui import generation, infotext, output, settings, xyz
from animatediff_ext.webui.generation import generation_of
from animatediff_ext.webui.ui import Accordion

PROMPTS = ("txt2img_prompt", "txt2img_neg_prompt", "img2img_prompt", "img2img_neg_prompt")
"""Element ids."""


class AnimateDiffScript(scripts.Script):
    """*AnimateDiff* in txt2img and img2img."""

    def __init__(self):
        super().__init__()
        self._prompts: dict[str, gr.Textbox] = {}

    def title(self):
        return "AnimateDiff"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def after_component(self, component, **kwargs):
        """Called for every component of this script's tab; the prompts are made before the scripts are."""
        if kwargs.get("elem_id") in PROMPTS:
            self._prompts[kwargs["elem_id"]] = component

    def ui(self, is_img2img):
        accordion = Accordion(is_img2img, [self._prompts[name] for name in PROMPTS if name in self._prompts])
        self.infotext_fields = accordion.paste_fields
        self.paste_field_names = [name for _, name in accordion.paste_fields]
        return accordion.components

    def before_process(self, p, *args):
        generation.begin(p, args)

    def process(self, p, *args):
        running = generation_of(p)
        if running:
            running.settle_samples()

    def before_process_batch(self, p, *args, **kwargs):
        running = generation_of(p)
        if running:
            with running.keeping_problems():
                running.before_batch()

    def process_before_every_sampling(self, p, *args, **kwargs):
        running = generation_of(p)
        if running:
            with running.keeping_problems():
                running.before_sampling(kwargs.get("noise"))

    def postprocess_batch(self, p, *args, **kwargs):
        running = generation_of(p)
        if running:
            running.after_batch()

    def postprocess(self, p, processed, *args):
        running = generation_of(p)
        if running:
            with running.failing_on_close(processed):
                output.deliver(running, processed)
            generation.end(p)


def on_cfg_denoiser(params) -> None:
    """Callback of the WebUI before each evaluation of the model, whoever's generation it is."""
    running = generation_of(params.denoiser.p)
    if running:
        with running.keeping_problems():
            running.before_denoising(params)


def register() -> None:
    """Tell the WebUI of our callbacks. It runs the door anew on *Reload UI*, so this may be called again."""
    for function in (settings.on_ui_settings, on_cfg_denoiser, infotext.pasted, xyz.register):
        script_callbacks.remove_callbacks_for_function(function)
    script_callbacks.on_ui_settings(settings.on_ui_settings)
    script_callbacks.on_before_ui(settings.on_ui_settings)  # with --nowebui settings are not asked for
    script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
    script_callbacks.on_infotext_pasted(infotext.pasted)
    script_callbacks.on_before_ui(xyz.register)
