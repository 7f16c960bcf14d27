"""The extension ControlNet (Mikubill/sd-webui-controlnet 1.1.455) in miniature.

Its names, signatures and order of work: units and their modes, hints with one row for each frame (twice where
*batch cond/uncond* is on), the UNet's forward that adds what the units make of their hints to any rows, and the caches
of its kinds of models. What each run added is in `Script.runs`.
"""

from __future__ import annotations

import sys
from copy import copy
from enum import Enum
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from modules import devices, processing, scripts, shared
from modules.api.api import decode_base64_to_image
from modules.prompt_parser import (
    ComposableScheduledPromptConditioning,
    MulticondLearnedConditioning,
    ScheduledPromptConditioning,
)
from PIL import Image
from torch import nn

MARK = 1024


class InputMode(Enum):
    SIMPLE = "simple"
    BATCH = "batch"
    MERGE = "merge"


class ControlModelType(Enum):
    ControlNet = "ControlNet"
    T2I_Adapter = "T2I_Adapter"
    AttentionInjection = "AttentionInjection"
    IPAdapter = "IPAdapter"
    Controlllite = "Controlllite"
    SparseCtrl = "SparseCtrl"


class ControlNetUnit:
    """The real one is a pydantic model with more fields."""

    FIELDS = {
        "is_ui": False,
        "input_mode": InputMode.SIMPLE,
        "batch_images": None,
        "enabled": False,
        "module": "none",
        "model": "canny",
        "weight": 1.0,
        "image": None,
        "guidance_start": 0.0,
        "guidance_end": 1.0,
        "mask": None,
        "control_mode": "Balanced",
        "ipadapter_input": None,
        "batch_mask_dir": None,
        "animatediff_batch": False,
        "batch_modifiers": [],
        "batch_image_files": [],
        "batch_keyframe_idx": None,
    }

    def __init__(self, **values: Any):
        vars(self).update({name: values.get(name, copy(default)) for name, default in self.FIELDS.items()})
        self.input_mode = InputMode(self.input_mode)
        if not 0 <= self.weight <= 2:
            raise ValueError("1 validation error for ControlNetUnit\nweight\n  is not from 0 to 2")

    @classmethod
    def from_dict(cls, values: dict) -> ControlNetUnit:
        return cls(**values)

    @property
    def is_ipadapter(self) -> bool:
        return self.module.startswith("ip-adapter")

    @property
    def uses_clip(self) -> bool:
        return self.is_ipadapter

    @property
    def accepts_multiple_inputs(self) -> bool:
        return self.is_ipadapter

    @property
    def is_inpaint(self) -> bool:
        return "inpaint" in self.module

    def copy(self) -> ControlNetUnit:
        return copy(self)

    def get_input_images_rgba(self) -> list[np.ndarray] | None:
        if self.image is None:
            assert self.mask is None
            return None
        images = self.image if isinstance(self.image, list) else [self.image]
        pairs = [i if isinstance(i, dict) else {"image": i, "mask": self.mask} for i in images]
        return [np.dstack([_array(i["image"]), _mask(i)]) for i in pairs]


def _mask(pair: dict) -> np.ndarray:
    if pair.get("mask") is None:
        return np.zeros(_array(pair["image"]).shape[:2], np.uint8)
    return _array(pair["mask"])[..., 0]


def _array(image) -> np.ndarray:
    if isinstance(image, str):
        image = Image.open(image) if Path(image).exists() else decode_base64_to_image(image)
    return np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)


def to_processing_unit(unit):
    if isinstance(unit, dict):
        return ControlNetUnit.from_dict(unit)
    assert isinstance(unit, ControlNetUnit)
    return unit


def get_all_units_in_processing(p) -> list[ControlNetUnit]:
    script = next(s for s in p.scripts.alwayson_scripts if s.title().lower() == "controlnet")
    args = p.script_args[script.args_from : script.args_to]
    return [to_processing_unit(arg) for arg in args if isinstance(arg, (ControlNetUnit, dict))]


def listfiles(folder: str) -> list[str]:
    return [str(path) for path in sorted(Path(folder).iterdir()) if path.is_file() and path.name[0] != "."]


def add_animate_diff_batch_input(p, unit: ControlNetUnit) -> ControlNetUnit:
    folder, *lines = unit.batch_images.split("\n")
    for line in lines:
        if line.startswith("mask:"):
            unit.batch_mask_dir = line[len("mask:") :].strip()
        elif line.startswith("keyframe:"):
            unit.batch_keyframe_idx = [int(key.strip()) for key in line[len("keyframe:") :].split(",")]
    files = listfiles(folder)
    for modifier in unit.batch_modifiers:
        files = modifier(files, p)
    unit.batch_image_files = files
    masks = [None] * len(files)
    if unit.batch_mask_dir is not None:
        found = listfiles(unit.batch_mask_dir)
        masks = found if len(found) >= len(files) else found[:1] * len(files)
    unit.image = [{"image": file, "mask": mask} for file, mask in zip(files, masks, strict=False)]
    return unit


class ImageEmbed(NamedTuple):
    cond_emb: torch.Tensor
    uncond_emb: torch.Tensor

    def eval(self, cond_mark: torch.Tensor) -> torch.Tensor:
        assert len(self.uncond_emb) in (1, len(self.cond_emb))
        assert len(self.cond_emb) in (1, len(cond_mark))
        mark = cond_mark[:, :, :, 0]
        return self.cond_emb * mark + self.uncond_emb * (1 - mark)

    def average_of(*args) -> ImageEmbed:
        return ImageEmbed(*(torch.stack(parts).mean(0) for parts in zip(*args, strict=True)))


class PlugableControlModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.control_model = nn.Identity()

    def reset(self): ...

    def forward(self, x, hint, **_kwargs):
        return _small(hint, x)


class PlugableAdapter(PlugableControlModel):
    """Keeps what it made of the first hint."""

    control = None

    def reset(self):
        self.control = None

    def forward(self, x, hint, **_kwargs):
        self.control = _small(hint, x) if self.control is None else self.control
        return self.control.clone()


class LLLiteModule(nn.Module):
    def set_cond_image(self, cond_image):
        self.cond_image, self.cond_emb = cond_image, None

    def forward(self, x):
        if self.cond_emb is None:
            self.cond_emb = _small(self.cond_image / 2 + 0.5, x)
        cx = self.cond_emb
        return cx if len(cx) == len(x) else cx.repeat(len(x) // len(cx), 1, 1, 1)


class PlugableControlLLLite(nn.Module):
    def __init__(self):
        super().__init__()
        self.modules = {"first": LLLiteModule()}

    def reset(self): ...

    def hook(self, cond):
        for module in self.modules.values():
            module.set_cond_image(cond * 2.0 - 1.0)


class PlugableIPAdapter(nn.Module):
    """Keeps the values of the first call."""

    disable_memory_management = True

    def __init__(self):
        super().__init__()
        self.ipadapter, self.cache = self, {}

    def get_image_emb(self, preprocessed: torch.Tensor) -> ImageEmbed:
        return ImageEmbed(preprocessed.mean().view(1, 1, 1), torch.full((1, 1, 1), -1.0))

    def reset(self):
        self.cache = {}

    def hook(self, outputs):
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        self.image_emb = ImageEmbed.average_of(*[self.get_image_emb(output) for output in outputs])

    def values(self, cond_mark):
        if "v" not in self.cache:
            self.cache["v"] = self.image_emb.eval(cond_mark)
        return self.cache["v"].view(len(cond_mark), 1, 1, 1)


class SparseCtrl(nn.Module):
    use_simplified_condition_embedding = False

    def load_state_dict(self, state_dict, strict=False):
        from scripts.animatediff_mm import MotionModuleType, MotionWrapper

        wrapper = MotionWrapper("", "", MotionModuleType.SparseCtrl)
        wrapper.load_state_dict({k: v for k, v in state_dict.items() if "motion_modules" in k}, strict=True)
        blocks = [module for block in wrapper.down_blocks for module in block.motion_modules]
        self.input_blocks = nn.ModuleList(blocks)

    @staticmethod
    def create_cond_mask(index: list[int], images: torch.Tensor, video_length: int) -> torch.Tensor:
        hint = torch.zeros(video_length, images.shape[1] + 1, *images.shape[2:])
        hint[index, :-1], hint[index, -1] = images[: len(index)], 1.0
        return hint

    def forward(self, x, hint, **_kwargs):
        h = _small(hint, x)[:, :1].repeat(1, 32, 1, 1)
        for block in self.input_blocks:
            h = block(h)
        return h[:, :4]


class PlugableSparseCtrlModel(PlugableControlModel):
    weights: dict[str, torch.Tensor]

    def __init__(self):
        super().__init__()
        self.control_model = SparseCtrl()
        self.control_model.load_state_dict(self.weights)

    def forward(self, **kwargs):
        return self.control_model(**kwargs)


MODELS = {
    "canny": (PlugableControlModel, ControlModelType.ControlNet),
    "t2i": (PlugableAdapter, ControlModelType.T2I_Adapter),
    "reference": (None, ControlModelType.AttentionInjection),
    "ip": (PlugableIPAdapter, ControlModelType.IPAdapter),
    "lllite": (PlugableControlLLLite, ControlModelType.Controlllite),
    "sparse": (PlugableSparseCtrlModel, ControlModelType.SparseCtrl),
}


def _small(hint: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Hint → as large as the latent."""
    return F.interpolate(hint, size=x.shape[-2:], mode="area")


class ControlParams:
    def __init__(self, control_model, preprocessor, hint_cond, hr_hint_cond, control_model_type, cfg_injection):
        self.control_model, self.preprocessor = control_model, preprocessor
        self._hint_cond, self.hr_hint_cond = hint_cond, hr_hint_cond
        self.control_model_type, self.cfg_injection = control_model_type, cfg_injection
        self.control_context_override = self.vision_hint_count = None
        self.used_hint_cond = self.used_hint_cond_latent = None

    @property
    def hint_cond(self):
        return self._hint_cond

    @hint_cond.setter
    def hint_cond(self, new_hint_cond):
        self._hint_cond = new_hint_cond
        self.used_hint_cond = self.used_hint_cond_latent = None


class Run(NamedTuple):
    """One call of the UNet: its rows, which of them are positive, and what each unit added to them."""

    x: torch.Tensor
    is_positive: list[bool]
    added: list[torch.Tensor]
    is_hires: bool


class UnetHook:
    num_encoded = 0

    def __init__(self, runs: list[Run]):
        self.runs, self.model, self.control_params = runs, None, None

    @staticmethod
    def call_vae_using_process(p, x, batch_size=None, mask=None):
        UnetHook.num_encoded += len(x)
        latent = p.sd_model.encode(x[:, :3])
        if batch_size is not None and len(latent) != batch_size:
            latent = torch.cat([latent.clone() for _ in range(batch_size)])
        return latent

    def hook(self, model, control_params, process):
        self.model, self.control_params = model, control_params

        def process_sample(*args, **kwargs):
            mark_prompt_context(kwargs.get("conditioning", []), positive=True)
            mark_prompt_context(kwargs.get("unconditional_conditioning", []), positive=False)
            mark_prompt_context(getattr(process, "hr_c", []), positive=True)
            mark_prompt_context(getattr(process, "hr_uc", []), positive=False)
            return process.sample_before_CN_hack(*args, **kwargs)

        def forward(_model, x, timesteps=None, context=None, y=None, **_kwargs):
            return self._forward(process, x, timesteps, context)

        if getattr(process, "sample_before_CN_hack", None) is None:
            process.sample_before_CN_hack = process.sample
        process.sample = process_sample
        model._original_forward = model.forward
        model.forward = MethodType(forward, model)

    def _forward(self, process, x, timesteps, context):
        mark = torch.ones(len(x), 1, 1, 1)
        if bool((context[:, 0].abs() == MARK).all()):  # without marks, all are positive
            mark, context = (context[:, 0].mean(1) > 0).float()[:, None, None, None], context[:, 1:]
        is_hires, added = False, []
        for param in self.control_params:
            if param.used_hint_cond is None:
                param.used_hint_cond, param.used_hint_cond_latent = param.hint_cond, None
            if isinstance(param.hr_hint_cond, torch.Tensor) and param.hint_cond.ndim == 4:
                h = 8 * x.shape[2]
                is_hires = abs(h - param.hint_cond.shape[2]) >= abs(h - param.hr_hint_cond.shape[2])
                wanted = param.hr_hint_cond if is_hires else param.hint_cond
                if param.used_hint_cond is not wanted:
                    param.used_hint_cond, param.used_hint_cond_latent = wanted, None
            kind = param.control_model_type
            if kind is ControlModelType.AttentionInjection and param.used_hint_cond_latent is None:
                param.used_hint_cond_latent = self.call_vae_using_process(process, param.used_hint_cond, len(x))
        for param in self.control_params:
            kind = param.control_model_type
            if kind is ControlModelType.AttentionInjection:
                added.append(param.used_hint_cond_latent[:, :1] / 2 + 0.5)
            elif kind is ControlModelType.IPAdapter:
                added.append(param.control_model.values(mark))
            elif kind is ControlModelType.Controlllite:
                added.append(next(iter(param.control_model.modules.values()))(x))
            else:
                assert param.used_hint_cond.device == x.device
                added.append(param.control_model(x=x, hint=param.used_hint_cond, timesteps=timesteps, context=context))
        for item in added:
            assert len(item) in (1, len(x)), (len(item), len(x))
        self.runs.append(Run(x.clone(), mark.flatten().bool().tolist(), added, is_hires))
        total = sum(item.mean(dim=(1, 2, 3), keepdim=True) for item in added)
        return self.model._original_forward(x, timesteps, context=context) + total

    def restore(self):
        self.control_params = None
        if hasattr(self.model, "_original_forward"):
            del self.model.forward, self.model._original_forward  # the real one leaves the class's method on the object


def mark_prompt_context(x, positive):
    if isinstance(x, list):
        x[:] = [mark_prompt_context(item, positive) for item in x]
    elif isinstance(x, MulticondLearnedConditioning):
        x.batch = mark_prompt_context(x.batch, positive)
    elif isinstance(x, ComposableScheduledPromptConditioning):
        x.schedules = mark_prompt_context(x.schedules, positive)
    elif isinstance(x, ScheduledPromptConditioning) and not bool((x.cond[0].abs() == MARK).all()):
        mark = torch.full_like(x.cond[:1], MARK if positive else -MARK)
        return ScheduledPromptConditioning(x.end_at_step, torch.cat([mark, x.cond]))
    return x


class Script(scripts.Script):
    def __init__(self):
        self.latest_network, self.enabled_units, self.runs, self.noise_modifier = None, [], [], None

    def title(self):
        return "ControlNet"

    def process(self, p, *args, **kwargs):
        if getattr(p, "refiner_checkpoint", None) is None:
            self.controlnet_main_entry(p)

    def before_process_batch(self, p, *args, **kwargs):
        if getattr(p, "refiner_checkpoint", None) is not None:
            self.controlnet_main_entry(p)

    def controlnet_main_entry(self, p):
        if self.latest_network is not None:
            self.latest_network.restore()
        self.enabled_units = [unit for unit in get_all_units_in_processing(p) if unit.enabled]
        if not self.enabled_units:
            self.latest_network = None
            return
        params = [self._param(p, unit) for unit in self.enabled_units]
        for param in params:
            if param.control_model_type is ControlModelType.IPAdapter:
                param.control_model.hook(param.hint_cond)
            if param.control_model_type is ControlModelType.Controlllite:
                param.control_model.hook(param.hint_cond)
        self.latest_network = UnetHook(self.runs)
        self.latest_network.hook(p.sd_model.model.diffusion_model, params, p)

    @staticmethod
    def _param(p, unit):
        if unit.model not in MODELS:
            raise RuntimeError("model not found: None (of another script)")  # that is all that the real one says
        if unit.module == "broken":
            raise RuntimeError  # with nothing to say, as starlette's HTTPException
        build, kind = MODELS[unit.model]
        model = build() if build else None
        controls, hr_controls = _get_control(p, unit)
        control, hr_control = controls, hr_controls
        if len(controls) == 1 and kind is not ControlModelType.SparseCtrl:
            control, hr_control = controls[0], hr_controls[0]
        elif unit.animatediff_batch or kind is ControlModelType.SparseCtrl:
            assert not unit.is_ipadapter, "ImageEmbed takes two values (of another script)"

            def ad_process_control(cc, keys=unit.batch_keyframe_idx):
                c = torch.cat(cc)
                if kind is ControlModelType.SparseCtrl:
                    c = SparseCtrl.create_cond_mask(keys or [0], c, p.batch_size)
                elif keys is not None:
                    c_full = torch.zeros(p.batch_size, *c.shape[1:])
                    c_full[keys] = c
                    c = c_full
                return torch.cat([c, c]) if shared.opts.batch_cond_uncond else c

            control = ad_process_control(controls)
            hr_control = ad_process_control(hr_controls) if hr_controls[0] is not None else None
            kind = ControlModelType.ControlNet if kind is ControlModelType.SparseCtrl else kind
        is_cfg = unit.control_mode == "ControlNet is more important"
        return ControlParams(model, {"name": unit.module}, control, hr_control, kind, is_cfg)

    def postprocess(self, p, processed, *args):
        self.enabled_units = []
        if self.latest_network is not None:
            self.latest_network.restore()
            self.latest_network = None


def _get_control(p, unit):
    if unit.animatediff_batch:
        unit = add_animate_diff_batch_input(p, unit)
    images = unit.get_input_images_rgba()
    if images is None and getattr(p, "init_images", None):
        images = [np.dstack([_array(p.init_images[0]), _mask({"image": p.init_images[0]})])]
    if images is None:
        raise ValueError("controlnet is enabled but no input image is given (of another script)")
    assert len(images) == 1 or unit.accepts_multiple_inputs or unit.animatediff_batch
    hires = getattr(p, "enable_hr", False)
    low = [_control(unit, image, p.height) for image in images]
    return low, [_control(unit, image, int(p.height * p.hr_scale)) if hires else None for image in images]


def _control(unit, image: np.ndarray, size: int) -> torch.Tensor:
    """``1 c h w`` in 0…1; inpaint units have the mask as the fourth channel."""
    image = image if unit.is_inpaint else image[..., :3]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    control = F.interpolate(pixels, size=(size, size), mode="area")
    return control.cpu() if unit.animatediff_batch else control.to(devices.get_device_for("controlnet"))


def install(host, monkeypatch) -> Script:
    """The extension in this WebUI: its interface under its name, and its way of catching generations in batch mode."""
    for name in ("internal_controlnet", "internal_controlnet.external_code"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["internal_controlnet.external_code"].to_processing_unit = to_processing_unit
    original = processing.process_images_inner

    def process_images_inner(p):
        units = [unit for unit in get_all_units_in_processing(p) if unit.enabled] if _is_with(p) else []
        batches = [listfiles(unit.batch_images) for unit in units if unit.input_mode is InputMode.BATCH]
        for _ in range(min(map(len, batches), default=1)):  # in batch mode, once for each picture
            processed = original(p)
        return processed

    monkeypatch.setattr(processing, "process_images_inner", process_images_inner)
    UnetHook.num_encoded = 0
    return Script()


def _is_with(p) -> bool:
    return any(script.title() == "ControlNet" for script in p.scripts.alwayson_scripts)


__all__ = ["ControlNetUnit", "InputMode", "PlugableSparseCtrlModel", "Run", "Script", "UnetHook", "install"]
