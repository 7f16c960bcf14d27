"""The accordion in txt2img and img2img."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from animatediff_ext.formats import describe
from animatediff_ext.inject import misfit
from animatediff_ext.media import MediaError, probe
from animatediff_ext.params import VIDEO_FORMATS
from animatediff_ext.setting import Setting
from animatediff_ext.webui import get_models, host, models, module_list, preview, summary
from animatediff_ext.webui.arguments import page_fields
from animatediff_ext.webui.errors import EXPECTED, AnimateDiffError
from animatediff_ext.webui.gradio_versions import in_the_page
from animatediff_ext.webui.infotext import FromInfotext
from animatediff_ext.webui.status_line import status_line


class Accordion:
    """Builds the page's fields. `components` are the script's arguments, `paste_fields` what infotexts fill in.

    ``prompts`` are the page's own fields of the prompt and the negative prompt, as far as they are known.
    """

    def __init__(self, is_img2img: bool, prompts: Sequence[gr.Textbox] = ()):
        self._prompts = prompts
        self._prefix = "img2img-ad-" if is_img2img else "txt2img-ad-"
        self._fields = {field.api: field for field in page_fields(is_img2img)}
        self._built: dict[str, gr.components.Component] = {}
        request = gr.State(None)  # where the API puts its dictionary
        with gr.Accordion("AnimateDiff", open=False, elem_id=f"{self._prefix}accordion"):
            if host.rival():
                gr.Markdown(
                    f"**{host.rival()} is installed too, and only one of the two can animate. Disable one of them.**"
                )
            self._build(is_img2img)
        self.components = [request, *(self._built[name] for name in self._fields)]
        self.paste_fields = [(self._built[name], FromInfotext(name)) for name in self._fields]

    def _build(self, is_img2img: bool) -> None:
        with gr.Row():
            self._checkbox("enable")
            with gr.Row():
                refresh = self._motion_module()
        status = gr.HTML(_status(self._built["model"].value), elem_id=f"{self._prefix}status")
        with gr.Row():
            self._number("video_length")
            self._number("fps")
            self._number("loop_number")
            duration = gr.HTML(elem_id=f"{self._prefix}duration")
        with gr.Row():
            self._radio("closed_loop")
            self._slider("batch_size")
        self._checks("format")
        with gr.Accordion("Long videos", open=False):
            with gr.Row():
                self._number("stride")
                self._number("overlap")
            with gr.Row():
                self._dropdown("context_schedule")
                self._dropdown("context_weights")
            with gr.Row():
                self._dropdown("long_clips")
                self._dropdown("motion_positions")
            self._checkbox("old_numerics")
        with gr.Accordion("Prompt travel", open=False):
            self._dropdown("prompt_blend")
            self._preview()
        with gr.Accordion("Motion strength", open=False):
            with gr.Row():
                for name in ("motion_effect", "motion_effect_steps", "motion_scale"):
                    self._text(name)
            with gr.Row():
                self._slider("motion_start")
                self._slider("motion_end")
            self._text("motion_blocks")
        with gr.Accordion("Motion LoRAs and a second motion module", open=False):
            self._text("motion_loras", lines=2)
            with gr.Row():
                self._dropdown("second_model", choices=["", *models.names()])
                self._slider("second_model_share")
        with gr.Accordion("Noise", open=False), gr.Row():
            self._dropdown("noise_kind")
            self._slider("noise_share")
        with gr.Accordion("FreeInit Params", open=False):
            self._checkbox("freeinit_enable")
            self._dropdown("freeinit_filter")
            for name in ("freeinit_ds", "freeinit_dt", "freeinit_iters"):
                self._slider(name)
            self._checkbox("freeinit_coarse")
        with gr.Accordion("Frame interpolation (smoother motion)", open=False), gr.Row():
            self._radio("interp")
            self._number("interp_x")
        with gr.Accordion("Smaller GIFs", open=False), gr.Row():
            self._number("gif_max_mb")
            self._number("gif_max_width")
        with gr.Accordion("Video source", open=False):
            source = self._fields["video_source"]
            self._built["video_source"] = gr.Video(label=source.label, elem_id=self._id(source))
            self._text("video_path")
            self._text("mask_path", visible=False)
        if is_img2img:
            with gr.Accordion("Image to video", open=False):
                with gr.Row():
                    for name in ("latent_power", "latent_scale", "latent_power_last", "latent_scale_last"):
                        self._slider(name)
                last = self._fields["last_frame"]
                self._built["last_frame"] = gr.Image(label=last.label, type="pil", elem_id=self._id(last))
        # Not where it is copied with the other fields, from tab to tab, which bring their own values.
        self._built["video_source"].upload(
            fn=_frames_and_rate,
            inputs=[self._built["video_source"]],
            outputs=[self._built["video_length"], self._built["fps"]],
            queue=False,
        )
        remove = gr.Button("Remove motion module from memory", elem_id=f"{self._prefix}remove")
        remove.click(fn=models.CACHE.clear, queue=False)
        model = self._built["model"]
        # javascript/checkpoint.js presses this too, when the checkpoint has changed
        lists = [model, self._built["second_model"]]
        refresh.click(fn=_refreshed, inputs=lists, outputs=[*lists, status], queue=False, show_progress=False)
        get_models.section(self._prefix, _refreshed, inputs=lists, outputs=[*lists, status])
        for event in (model.change, self._built["enable"].change):
            event(fn=_status_with_hash, inputs=[model], outputs=[status], queue=False, show_progress=False)
        self._summary(duration)

    def _summary(self, duration: gr.HTML) -> None:
        """javascript/accordion.js asks by a hidden button when something was changed, and shows what it is told."""
        tab = self._prefix.removesuffix("-ad-")
        fields = [self._built[name] for name in summary.DEPENDS_ON]
        facts = gr.JSON(visible=False)
        ask = gr.Button(visible=False, elem_id=f"{self._prefix}ask")
        ask.click(
            fn=summary.facts,
            inputs=[*self._prompts, *fields],
            outputs=[facts, duration],
            queue=False,
            show_progress=False,
        ).then(**in_the_page(f"(facts) => window.animateDiff?.show('{tab}', facts)", [facts]))
        changed = in_the_page(f"() => window.animateDiff?.ask('{tab}')")
        for event in (*(prompt.change for prompt in self._prompts), *(field.change for field in fields)):
            event(**changed)

    def _preview(self) -> None:
        """What the frames will be told, drawn when a prompt is left, and when what it depends on has been changed."""
        shown = gr.HTML(preview.HINT, elem_id=f"{self._prefix}travel")
        if not self._prompts:
            return
        fields = [self._built[name] for name in preview.DEPENDS_ON]
        draw = {"fn": preview.drawn, "inputs": [*self._prompts, *fields], "outputs": [shown]}
        for event in (*(prompt.blur for prompt in self._prompts), *(field.change for field in fields)):
            event(**draw, queue=False, show_progress=False)

    def _motion_module(self) -> gr.Button:
        field = self._fields["model"]
        # A text in any case: an infotext's value gets the type of this one.
        value = module_list.proposed(field.default) or ""
        model = gr.Dropdown(choices=models.names(), value=value, label=field.label, elem_id=self._id(field))
        refresh = gr.Button("\U0001f504", elem_id=f"{self._prefix}refresh", elem_classes=["tool"], variant="tool")
        self._built["model"] = model
        return refresh

    def _id(self, field: Setting) -> str:
        return f"{self._prefix}{field.elem_id}"

    def _common(self, name: str) -> dict:
        field = self._fields[name]
        info = {"info": field.info} if field.info else {}
        return {"value": field.default, "label": field.label, "elem_id": self._id(field), **info}

    def _number(self, name: str) -> None:
        field = self._fields[name]
        # An infotext's value gets the type of this one: the API makes 7 of 7.5 where it is a whole number.
        kind = {"precision": 0} if field.kind is int else {"value": float(field.default)}
        # No minimum: gradio would refuse a still for it, without naming the field, with AnimateDiff off as well.
        self._built[name] = gr.Number(**{**self._common(name), **kind})

    def _slider(self, name: str) -> None:
        low, high, step = self._fields[name].slider
        self._built[name] = gr.Slider(**self._common(name), minimum=low, maximum=high, step=step)

    def _checkbox(self, name: str) -> None:
        self._built[name] = gr.Checkbox(**self._common(name))

    def _radio(self, name: str) -> None:
        self._built[name] = gr.Radio(**self._common(name), choices=list(self._fields[name].choices), scale=2)

    def _dropdown(self, name: str, choices: Sequence[str] = ()) -> None:
        self._built[name] = gr.Dropdown(**self._common(name), choices=list(choices or self._fields[name].choices))

    def _text(self, name: str, **how) -> None:
        self._built[name] = gr.Textbox(**self._common(name), **how)

    def _checks(self, name: str) -> None:
        common = {**self._common(name), "value": list(host.default_formats())}
        self._built[name] = gr.CheckboxGroup(**common, choices=list(VIDEO_FORMATS))


def _refreshed(current: str | None, second: str | None):
    known, chosen = models.names(), module_list.proposed(current)
    others = gr.update(choices=["", *known], value=second if second in known else "")
    return gr.update(choices=known, value=chosen), others, _status(chosen)


def _frames_and_rate(video: str | None):
    """Number of frames and frames a second of a video that was chosen; nothing changes without one."""
    if not video:
        return gr.update(), gr.update()
    try:
        clip = probe(video)
    except MediaError as problem:
        raise gr.Error(str(problem)) from problem
    return clip.num_frames, round(clip.fps, 3)


def _status_with_hash(name: str | None) -> str:
    return _status(name, with_hash=True)


def _status(name: str | None, with_hash: bool = False) -> str:
    """One line on a motion module: its family, its hash, and whether it fits the checkpoint that is loaded."""
    if not name:
        return status_line(
            f"No motion module in {models.folders()[0]}: download one below, under Download motion modules, or put "
            "one there and press 🔄."
        )
    try:
        path = models.find(name)
        known = describe(path)
        model = host.loaded_model()
        problem = misfit(host.unet_of(model), known.config) if model and known.is_motion_module else None
    except (AnimateDiffError, *EXPECTED) as problem:
        return status_line(str(problem))
    if not known.is_motion_module:
        return status_line(f"This is {known.title}. {known.fits}")
    parts = [known.title, f"for {known.base}"]
    digest = models.short_hash(name, path) if with_hash else None
    if digest:
        parts.append(f"hash {digest}")
    if model is None:
        parts.append("no checkpoint is loaded yet")
    elif not problem:
        parts.append("fits the loaded checkpoint")
    if known.config.family.sampler_hint:
        parts.append(f"use {known.config.family.sampler_hint}")
    return status_line(problem or " · ".join(parts), good=not problem, settled=model is not None)
