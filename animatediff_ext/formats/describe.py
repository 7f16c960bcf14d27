"""What can be said of a file without reading its weights, for pages that list many."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from animatediff_ext.formats.container import TensorFile, open_file
from animatediff_ext.formats.kind import MOTION_MODULE, kind_of
from animatediff_ext.formats.recognise import PositionsFrom, Recognised, recognise
from animatediff_ext.motion import MotionConfig, NoiseSchedule

_CHECKPOINTS = {"SD 1.5": "Stable Diffusion 1.5", "SDXL": "SDXL"}


@dataclass(frozen=True, kw_only=True)
class ModuleInfo:
    """What a host shows of a file. Of a file of another kind it is known what it is and where it belongs, no more."""

    path: Path
    """The file with the weights."""
    kind: str
    """``motion-module``, or the kind of another file (`animatediff_ext.formats.kind`)."""
    title: str
    """E.g. "AnimateDiff v2", or "a motion LoRA"."""
    fits: str
    """"fits Stable Diffusion 1.5 checkpoints"; of another kind, the sentence that says where it belongs."""
    size_bytes: int
    dtype: str
    """E.g. "float16"; the types in use, joined by +, where they differ."""
    num_parameters: int
    """Position tables are not counted: they are a formula."""
    metadata: Mapping[str, str]
    config: MotionConfig | None = None
    """None where the file is of another kind; the properties below are None then, too."""
    positions_from: PositionsFrom | None = None

    @property
    def is_motion_module(self) -> bool:
        return self.config is not None

    @property
    def family(self) -> str | None:
        return self.config and self.config.family.name

    @property
    def base(self) -> str | None:
        """The image model: "SD 1.5" or "SDXL"."""
        return self.config and self.config.family.base

    @property
    def modules(self) -> tuple[int, int, int] | None:
        """The number of motion modules in the down blocks, the middle block and the up blocks."""
        if self.config is None:
            return None
        config = self.config
        return sum(map(len, config.down_channels)), len(config.mid_channels), sum(map(len, config.up_channels))

    @property
    def channels(self) -> tuple[int, ...] | None:
        """Channels of each down block."""
        return self.config and tuple(block[0] for block in self.config.down_channels)

    @property
    def num_positions(self) -> int | None:
        """The longest context, in frames."""
        return self.config and self.config.num_positions

    @property
    def schedule(self) -> NoiseSchedule | None:
        return self.config and self.config.family.schedule

    @property
    def sampler_hint(self) -> str | None:
        return self.config and self.config.family.sampler_hint

    def summary(self) -> dict[str, Any]:
        """All of it in types that JSON knows."""
        common = {
            "path": str(self.path),
            "kind": self.kind,
            "title": self.title,
            "fits": self.fits,
            "size_bytes": self.size_bytes,
            "dtype": self.dtype,
            "num_parameters": self.num_parameters,
            "metadata": dict(self.metadata),
        }
        if self.config is None:
            return common
        return common | {
            "family": self.family,
            "base": self.base,
            "modules": dict(zip(("down", "mid", "up"), self.modules, strict=True)),
            "channels": list(self.channels),
            "num_positions": self.num_positions,
            "positions_from": self.positions_from,
            "schedule": asdict(self.schedule),
            "sampler_hint": self.sampler_hint,
        }


def describe(path: str | Path, *, family: str | None = None) -> ModuleInfo:
    """Looks at a file or a diffusers folder, by its header alone: milliseconds, whatever its size.

    ``family`` overrides what is detected. Raises `FormatError` for a file that cannot be read, or that is a motion
    module with something wrong; a file of another kind is described, not refused.
    """
    file = open_file(path)
    kind = kind_of(file.layout)
    if kind is MOTION_MODULE:
        return info_of(file, recognise(file, family))
    return ModuleInfo(kind=kind.name, title=kind.what, fits=kind.belongs, **_measures(file, list(file.layout)))


def info_of(file: TensorFile, module: Recognised) -> ModuleInfo:
    """The same, of a file that has been recognised as a motion module."""
    family = module.config.family
    return ModuleInfo(
        kind=MOTION_MODULE.name,
        title=family.title,
        fits=f"fits {_CHECKPOINTS[family.base]} checkpoints",
        config=module.config,
        positions_from=module.positions_from,
        **_measures(file, list(module.names.values())),
    )


_TABLES = (".pe", ".positional_encoding")


def _measures(file: TensorFile, names: list[str]) -> dict[str, Any]:
    weights = [file.layout[name] for name in names if not name.endswith(_TABLES)]
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in weights})
    return {
        "path": file.path,
        "size_bytes": file.path.stat().st_size,
        "dtype": " + ".join(dtypes),
        "num_parameters": sum(prod(tensor.shape) for tensor in weights),
        "metadata": dict(file.metadata),
    }


def sha256(path: str | Path) -> str:
    """Hex digest of the file's content: seconds for a gigabyte. Of a diffusers folder, that of its weights."""
    return sha256_of_file(open_file(path).path)


def sha256_of_file(path: Path) -> str:
    """The same, of any file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
