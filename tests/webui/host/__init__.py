"""The WebUI in miniature, with this extension in it."""

from __future__ import annotations

import base64
import importlib
import io
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image
from torch import nn

MODULES = Path(__file__).parent
"""The folder that holds the stub package ``modules``."""
NUM_FRAMES = 4


def is_fresh_in_each_test(name: str) -> bool:
    """Whether a Python module keeps state of the host, or was imported from it."""
    ours = ("animatediff_ext.webui", "scripts.animatediff_", f"{__name__}.controlnet")
    return name.partition(".")[0] == "modules" or name.startswith(ours)


class Host:
    """What a test does with the WebUI: generate, and look at what is left behind."""

    def __init__(self, output: Path, motion_modules: Path):
        self.output = output
        self.shared, self.errors, self.sd_models = (self.module(name) for name in ("shared", "errors", "sd_models"))
        self.processing, self.callbacks = self.module("processing"), self.module("script_callbacks")
        self.ours = importlib.import_module("animatediff_ext.webui.script")
        self.ours.register()
        self.callbacks.call("ui_settings")
        self.shared.opts.data["animatediff_model_path"] = str(motion_modules)
        self.sd_models.reload_model_weights()
        self.script = self.ours.AnimateDiffScript()

    @staticmethod
    def module(name: str) -> ModuleType:
        return importlib.import_module(f"modules.{name}")

    @staticmethod
    def webui(name: str) -> ModuleType:
        """A module of ``animatediff_ext.webui``."""
        return importlib.import_module(f"animatediff_ext.webui.{name}")

    @property
    def error(self) -> type[Exception]:
        """What a user meets. It depends on the host, so that it is another class in each test."""
        return self.webui("errors").AnimateDiffError

    @property
    def opts(self):
        return self.shared.opts

    @property
    def unet(self) -> nn.Module:
        return self.shared.sd_model.model.diffusion_model

    def p(self, animation: dict | None = None, *, scripts=(), api=True, args=None, **fields: Any):
        """A request, as the API makes it, or the page (``api=False``). ``animation`` None is a plain one."""
        cls = "StableDiffusionProcessing" + ("Img2Img" if "init_images" in fields else "Txt2Img")
        p = getattr(self.processing, cls)(outpath_samples=str(self.output), **fields)
        p.is_api = api
        page = self.webui("arguments").page_fields("init_images" in fields)
        if args is None and api:
            asked = None if animation is None else request(**animation)
            args = [asked, *(field.default for field in page)]
        elif args is None:
            asked = {} if animation is None else request(**animation)
            args = [None, *(asked.get(field.api, field.default) for field in page)]
        p.script_args = tuple(args)
        self.script.args_to = len(args)
        p.scripts = self.module("scripts").ScriptRunner([self.script, *scripts])
        return p

    def run(self, p):
        self.shared.state.begin()
        try:
            with closing(p):
                return self.processing.process_images(p)
        finally:
            self.shared.state.end()

    def generate(self, animation: dict | None = None, **request):
        return self.run(self.p(animation, **request))

    def still(self) -> list[bytes]:
        """A plain picture, without any of our doing."""
        return [image.tobytes() for image in self.generate(batch_size=2, do_not_save_samples=True).images[1:]]

    def files(self) -> list[str]:
        """Everything in the output folder, without the folder of the date."""
        found = (path.relative_to(self.output) for path in self.output.rglob("*") if path.is_file())
        return sorted("/".join(part for part in path.parts if not part.startswith("20")) for path in found)


def request(**changes) -> dict:
    return {"enable": True, "model": "v2.safetensors", "video_length": NUM_FRAMES, "format": ["Frame"], **changes}


def picture(colour="red", corner="lime", size=32) -> Image.Image:
    image = Image.new("RGB", (size, size), colour)
    image.paste(corner, (0, 0, size // 2, size // 2))
    return image


def as_base64(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def sent(image: Image.Image, samples_format: str = "PNG") -> bytes:
    """What the WebUI's API makes of a picture before it encodes it: `modules.api.api.encode_pil_to_base64`."""
    data = io.BytesIO()
    if samples_format != "PNG" and image.mode in ("RGBA", "P"):
        image = image.convert("RGB")
    image.save(data, format=samples_format)
    return data.getvalue()


def is_file(image: Image.Image) -> bool:
    """Whether the API sends something else than this one picture."""
    return not sent(image).startswith(b"\x89PNG")


def opened(image: Image.Image) -> Image.Image:
    """The picture that a client of the API sees."""
    return Image.open(io.BytesIO(sent(image)))


def fingerprint(model: nn.Module) -> dict:
    """Everything in the host's model that a guest could have left changed."""
    parts = dict(model.named_modules())
    return {
        "hooks": {name: (list(m._forward_hooks), list(m._forward_pre_hooks)) for name, m in parts.items()},
        "attributes": {name: sorted(vars(m)) for name, m in parts.items()},
        "forwards": {name: m.forward.__func__ for name, m in parts.items()},
        "names": list(model.state_dict()),
        "parameters": {name: id(value) for name, value in model.named_parameters()},
        "schedules": (model.alphas_cumprod.tolist(), model.alphas_cumprod_original.tolist()),
    }


def forget_the_host() -> None:
    for name in [name for name in sys.modules if is_fresh_in_each_test(name)]:
        del sys.modules[name]
    vars(importlib.import_module("animatediff_ext")).pop("webui", None)
