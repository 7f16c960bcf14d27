"""What this extension asks of the WebUI, in one place (checked with 1.10.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import devices, extensions, processing, sd_models, sd_samplers, sd_unet, shared
from modules.sd_samplers_common import InterruptedException

from animatediff_ext.animate import Session
from animatediff_ext.catalogue.places import OLD_EXTENSIONS, is_old_extension
from animatediff_ext.params import SETTINGS
from animatediff_ext.webui.errors import AnimateDiffError

EXTENSION = Path(__file__).resolve().parents[2]
"""The folder of this extension, whatever it is called."""
RIVALS = OLD_EXTENSIONS
"""Extensions that bring a script of the same name or packages that replace ours."""
_TWINS = RIVALS[:2]
"""Those with the script: it has our fields, and is given our requests."""


def default_formats() -> Sequence[str]:
    """What is saved where a request does not say it."""
    return setting("animatediff_default_save_formats") or SETTINGS["format"].default


def loaded_model():
    """The checkpoint in memory, or None: asking ``shared.sd_model`` would load one."""
    return sd_models.model_data.sd_model


def unet_of(sd_model) -> torch.nn.Module:
    """Raises `AnimateDiffError` where a checkpoint is no model of the WebUI's, as in its forks."""
    try:
        return sd_model.model.diffusion_model
    except AttributeError as problem:
        raise AnimateDiffError(
            f"The loaded checkpoint ({type(sd_model).__name__}) has no UNet where WebUI 1.10 keeps it: "
            "load a Stable Diffusion 1.5 or SDXL checkpoint in that WebUI."
        ) from problem


def rival() -> str | None:
    """The name of an extension that cannot live beside this one, if there is one."""
    return twin() or next((folder.name for folder in _others() if folder.name in RIVALS), None)


def twin() -> str | None:
    """That of an extension for which this one steps aside."""
    return next((folder.name for folder in _others() if folder.name in _TWINS or is_old_extension(folder)), None)


def _others() -> list[Path]:
    folders = (Path(extension.path) for extension in extensions.active())
    return [folder for folder in folders if folder.resolve() != EXTENSION]


def check_unet_is_ours_to_use() -> None:
    """Raises where another engine runs instead of the checkpoint's UNet, since no module can be attached to it."""
    if sd_unet.current_unet is not None:
        raise AnimateDiffError(
            f"The UNet engine {sd_unet.current_unet.option.label!r} is active, and motion modules cannot enter it: "
            "set SD Unet to None in the settings."
        )


def attach(session: Session, p) -> bool:
    """Put a session's modules and noise schedule into the checkpoint in use. True if the schedule was not in place."""
    model = shared.sd_model
    session.attach(unet_of(model), device=devices.device, dtype=devices.dtype_unet)
    # The settings that rescale or downcast the schedule act on ours as they would on the checkpoint's own.
    return session.use_schedule(model, lambda: sd_models.apply_alpha_schedule_override(model, p))


def checkpoint_in_use():
    """What `back_to_checkpoint` takes."""
    return shared.sd_model.sd_checkpoint_info


def back_to_checkpoint(checkpoint) -> None:
    """Load it if a refiner has replaced it. What the user has chosen in the page meanwhile stays chosen."""
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights(info=checkpoint)


def infotext_of(p, index: int) -> str:
    """That of one picture of the batch which is being made, as the WebUI writes it."""
    return processing.create_infotext(
        p, p.prompts, p.seeds, p.subseeds, index=index, all_negative_prompts=p.negative_prompts
    )


def renew_sampler(p) -> None:
    """Make the sampler again: it read the noise schedule when it was made."""
    of_hires_pass = getattr(p, "hr_sampler_name", None) if p.is_hr_pass else None
    name, before = of_hires_pass or p.sampler_name, p.sampler
    p.sampler = sd_samplers.create_sampler(name, p.sd_model)
    if p.sampler is before:  # Tiled Diffusion hands out the one that it is around
        _read_schedule_again(before, sd_samplers.find_sampler_config(name).constructor(p.sd_model))


def _read_schedule_again(sampler, new) -> None:
    """Give a sampler what a new one has read: those of k-diffusion keep sigmas, those by timestep alphas."""
    for kept, read in ((sampler.model_wrap, new.model_wrap), (sampler.model_wrap_cfg, new.model_wrap_cfg)):
        for name in ("sigmas", "log_sigmas", "alphas"):
            if hasattr(read, name):
                setattr(kept, name, getattr(read, name))


def fewest_steps(p) -> int:
    """That its sampler can do, at most those which ``p`` has: UniPC fails with fewer timesteps than its order."""
    if p.sampler_name != "UniPC":
        return 1
    enough = (steps for steps in range(1, p.steps) if _num_timesteps(p, steps) >= shared.opts.uni_pc_order)
    return next(enough, p.steps)


def _num_timesteps(p, steps: int) -> int:
    """By the WebUI's ``setup_img2img_steps``."""
    if not isinstance(p, processing.StableDiffusionProcessingImg2Img):
        return steps
    return steps - 1 if shared.opts.img2img_fix_steps else int(min(p.denoising_strength, 0.999) * steps)


def stop_if_interrupted() -> None:
    """Ends the sampling between two runs of the UNet, as the WebUI does between two steps."""
    if shared.state.interrupted or shared.state.skipped:
        raise InterruptedException


def streams_at_once() -> int | None:
    """The user's wish to run positive and negative prompt one after the other, which saves memory."""
    return None if shared.opts.batch_cond_uncond else 1


@contextmanager
def all_rows_in_one_call() -> Iterator[None]:
    """Let the WebUI hand over positive and negative prompts together; the session separates them again as needed.

    Left to itself it may cut the rows of an AND prompt in the middle of a clip.
    """
    with _shadowed({"batch_cond_uncond": True}):
        yield


def stop_sampling() -> bool:
    """End the sampling that runs now; the callbacks that call this cannot raise. True if nobody had ended it before."""
    was_running = not shared.state.interrupted
    shared.state.interrupted = True
    return was_running


def take_back_stop() -> None:
    """The problem that ended a sampling is raised now; what comes after it, such as the next cell of a plot, may
    run."""
    shared.state.interrupted = False


@contextmanager
def overrides_in_force(p) -> Iterator[None]:
    """Settings as a request wants them, where the WebUI has not set them yet or has set them back already.

    It does so for the time between *before_process* and *postprocess* alone. Checkpoint and VAE are left to the WebUI,
    which has to load them.
    """
    known = shared.opts.data_labels
    wanted = {
        name: value
        for name, value in p.override_settings.items()
        if name in known and name not in ("sd_model_checkpoint", "sd_vae")
    }
    wanted = {name: value for name, value in wanted.items() if not getattr(known[name], "restrict_api", False)}
    with _shadowed(wanted):
        yield


@contextmanager
def _shadowed(values: Mapping[str, Any]) -> Iterator[None]:
    """Settings with these values, on this one object: they are not in the data that *Apply settings* saves."""
    shadow = shared.opts.__dict__
    before = {name: shadow[name] for name in values if name in shadow}
    shadow.update(values)
    try:
        yield
    finally:
        for name in values:
            shadow.pop(name, None)
        shadow.update(before)


def setting(name: str, default=None):
    """A setting of ours, also while the WebUI does not know of it yet."""
    return getattr(shared.opts, name, default)


def temporary_folder() -> Path | None:
    """The one of the settings, or the system's."""
    if not shared.opts.temp_dir:
        return None
    folder = Path(shared.opts.temp_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def selected_script(p) -> str:
    """The title of the script that was chosen in the list *Script*, empty if none."""
    selectable = getattr(p.scripts, "selectable_scripts", None) or ()
    chosen = p.script_args[0] if p.script_args else 0
    return str(selectable[chosen - 1].title()) if isinstance(chosen, int) and 0 < chosen <= len(selectable) else ""


def script_titled(title: str, p):
    """The script of that title, in whichever case and version, among those that take part in a request of its tab; or
    None."""
    scripts = getattr(p.scripts, "alwayson_scripts", None) or ()
    titled = re.compile(re.escape(title) + r"( v\S+)?", re.IGNORECASE)
    return next((script for script in scripts if titled.fullmatch(str(script.title()))), None)
