"""The YAML file beside a checkpoint, with the same stem: LDM's description of the model, as the WebUI reads it.

Only what tensors cannot tell is taken from it: numbers of attention heads, the prediction, the betas, the latent scale,
and where the text encoder's configuration and tokenizer lie (``version``, when that is a folder).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from animatediff_ext.motion import IMAGE_SCHEDULE, NoiseSchedule
from animatediff_ext.standalone.error import SpatialModelError
from animatediff_ext.standalone.ldm_layout import HeadCount

CHANNELS_PER_HEAD = 64
"""Of SDXL's UNet, and of every CLIP text encoder."""


@dataclass(frozen=True)
class LdmYaml:
    """What is known of a checkpoint beside its tensors; empty where there is no file."""

    path: Path
    params: dict[str, Any] = field(default_factory=dict)
    """``model.params``"""

    def get(self, *names: str | int) -> Any:
        """The value at the end of nested keys; None where one of them is not there."""
        value: Any = self.params
        for name in names:
            try:
                value = value[name]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    @property
    def predicts_v(self) -> bool:
        # LDM says it in one word; sgm names a class
        scaling = self.get("denoiser_config", "params", "scaling_config", "target")
        return self.get("parameterization") == "v" or str(scaling).endswith("VScaling")

    @property
    def schedule(self) -> NoiseSchedule:
        """The betas, ``linear_start`` to ``linear_end``. Raises `SpatialModelError` where they are none."""
        try:
            return NoiseSchedule(
                kind=IMAGE_SCHEDULE.kind,  # LDM's "linear", the only kind that its Stable Diffusion has
                beta_start=self.params.get("linear_start", IMAGE_SCHEDULE.beta_start),
                beta_end=self.params.get("linear_end", IMAGE_SCHEDULE.beta_end),
            )
        except ValueError as error:
            raise SpatialModelError.about(
                self.path, f"has a noise schedule that is none: {error}. Correct linear_start and linear_end."
            ) from error

    @property
    def latent_scale(self) -> float | None:
        return self.get("scale_factor")

    def unet_heads(self, usual: HeadCount) -> HeadCount:
        """The UNet's number of heads; ``usual`` unless the file says otherwise."""
        params = self.get("unet_config", "params") or self.get("network_config", "params") or {}
        if params.get("num_heads", -1) > 0:  # LDM writes -1 for "by channels"
            return lambda channels: params["num_heads"]
        if params.get("num_head_channels", -1) > 0:
            return lambda channels: channels // params["num_head_channels"]
        return usual

    def text_heads(self, index: int) -> HeadCount:
        """The number of heads of a text encoder: ``num_heads`` of its parameters, or of the configuration in its
        ``version`` folder, or one for each 64 channels."""
        given = self._text_params(index).get("num_heads") or self._version_config(index).get("num_attention_heads")
        return lambda channels: given or max(1, channels // CHANNELS_PER_HEAD)

    def version_folder(self, index: int) -> Path | None:
        """The folder with the configuration (and mostly the tokenizer) of a text encoder, if there is one."""
        version = self._text_params(index).get("version")
        folder = self.path.parent / str(version)  # an absolute path stays what it is
        return folder if version and folder.is_dir() else None

    def _text_params(self, index: int) -> dict[str, Any]:
        sdxl = self.get("conditioner_config", "params", "emb_models", index, "params")
        sd15 = self.get("cond_stage_config", "params") if index == 0 else None
        return sdxl or sd15 or {}

    def _version_config(self, index: int) -> dict[str, Any]:
        folder = self.version_folder(index)
        if not folder or not (folder / "config.json").is_file():
            return {}
        try:
            return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SpatialModelError(
                f"{folder.name}/config.json is no configuration of a text encoder: correct it, or correct version in "
                f"{self.path.name}."
            ) from error


def yaml_beside(checkpoint: Path) -> LdmYaml:
    """Raises `SpatialModelError` where there is a file that cannot be understood."""
    path = checkpoint.with_suffix(".yaml")
    if not path.is_file():
        return LdmYaml(path)
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        return LdmYaml(path, dict(params))
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise SpatialModelError.about(
            path,
            f"is not LDM's description of a model ({type(error).__name__}): it needs model.params. "
            "Correct it, or move it away from the checkpoint.",
        ) from error
