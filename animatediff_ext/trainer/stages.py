"""The three stages of the paper (arXiv 2307.04725, section 4): what each one trains, and what is in place meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import nn

from animatediff_ext.formats import load_lora, load_motion_module
from animatediff_ext.inject import (
    LowRank,
    MisfitError,
    injected,
    low_rank_added,
    misfit,
    motion_attention_layers,
    sites_of,
    spatial_attention_layers,
)
from animatediff_ext.inject.low_rank import Layer
from animatediff_ext.motion import FAMILIES, MotionConfig, MotionModel, NoiseSchedule
from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.trainer.config import TRAINABLE_FAMILIES, Config, Lora
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.noising import schedule_of

Additions = dict[str, LowRank]

NEW_FAMILIES = {"SD 1.5": "v3", "SDXL": "sdxl-beta"}
"""Of new modules, where the user names none."""


class Stage:
    """What one run trains."""

    name: str
    trained: nn.Module
    """Its parameters have gradients and are float32; its ``state_dict()`` is what a state of the run keeps."""
    motion: MotionModel | None = None
    """The motion module with which the result is seen; None for stills."""
    schedule: NoiseSchedule

    def __init__(self, spatial: SpatialModel):
        self.spatial = spatial

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move all that the stage has: what is trained in float32, a motion module that is not in ``dtype``."""
        self.trained.to(device, torch.float32)
        if self.motion is not None and self.motion is not self.trained:
            self.motion.to(device, dtype)

    @contextmanager
    def in_training(self, num_frames: int) -> Iterator[None]:
        """Everything attached to the base model's UNet as it is trained."""
        raise NotImplementedError

    @contextmanager
    def in_use(self, spatial: SpatialModel) -> Iterator[None]:
        """The result attached as its user has it, with any checkpoint; `motion` is up to the host."""
        raise NotImplementedError


class AdapterStage(Stage):
    """Low-rank matrices on the spatial attention, from stills."""

    name = "adapter"

    def __init__(self, spatial: SpatialModel, config: Config):
        super().__init__(spatial)
        self.schedule = schedule_of(config.diffusion, spatial.schedule)
        self.layers = spatial_attention_layers(spatial.unet)
        self.trained = LowRankSet(self.layers, config.lora, config.run.seed)

    @contextmanager
    def in_training(self, num_frames: int) -> Iterator[None]:
        with low_rank_added(self.layers, self.trained.additions):
            yield

    @contextmanager
    def in_use(self, spatial: SpatialModel) -> Iterator[None]:
        layers = spatial_attention_layers(spatial.unet)
        if _sizes(layers) != _sizes(self.layers):
            raise MisfitError(
                f"{spatial.path.name} has other layers than {self.spatial.path.name}, which the adapter is for."
            )
        with low_rank_added(layers, self.trained.additions):
            yield


def _sizes(layers: Mapping[str, Layer]) -> dict[str, tuple[int, int]]:
    return {name: (layer.num_in, layer.num_out) for name, layer in layers.items()}


class MotionStage(Stage):
    """A motion module, with the adapter in place."""

    name = "motion"

    def __init__(self, spatial: SpatialModel, config: Config):
        super().__init__(spatial)
        self.motion = self.trained = _trainable_motion(spatial, config)
        self.schedule = self.motion.config.family.schedule
        self._adapter = _Adapter(spatial, config)

    @contextmanager
    def in_training(self, num_frames: int) -> Iterator[None]:
        with self._adapter.attached(), injected(self.spatial.unet, self.motion, num_frames=num_frames):
            yield

    @contextmanager
    def in_use(self, spatial: SpatialModel) -> Iterator[None]:
        yield


class LoraStage(Stage):
    """Low-rank matrices on the temporal attention of a motion module that stays as it is."""

    name = "lora"

    def __init__(self, spatial: SpatialModel, config: Config):
        super().__init__(spatial)
        if not config.motion.init:
            raise TrainError(
                "A motion LoRA is made for a motion module, but motion.init is empty: set it to a motion module's file."
            )
        self.motion = _with_schedule(_loaded(spatial, config), config)
        self.schedule = self.motion.config.family.schedule
        self.layers = motion_attention_layers(self.motion)
        self.trained = LowRankSet(self.layers, config.lora, config.run.seed)
        self._adapter = _Adapter(spatial, config)

    @contextmanager
    def in_training(self, num_frames: int) -> Iterator[None]:
        with ExitStack() as attached:
            attached.enter_context(self._adapter.attached())
            attached.enter_context(low_rank_added(self.layers, self.trained.additions))
            attached.enter_context(injected(self.spatial.unet, self.motion, num_frames=num_frames))
            yield

    @contextmanager
    def in_use(self, spatial: SpatialModel) -> Iterator[None]:
        with low_rank_added(self.layers, self.trained.additions):
            yield


STAGES: dict[str, Callable[[SpatialModel, Config], Stage]] = {
    stage.name: stage for stage in (AdapterStage, MotionStage, LoraStage)
}


class LowRankSet(nn.Module):
    """One trainable addition for each layer."""

    def __init__(self, layers: dict[str, Layer], options: Lora, seed: int):
        super().__init__()
        self.scale = (options.alpha or options.rank) / options.rank
        with _random_from(seed):
            parts = [LowRank(layer.num_in, layer.num_out, options.rank, self.scale) for layer in layers.values()]
        self.names = list(layers)
        self.parts = nn.ModuleList(parts)

    @property
    def additions(self) -> Additions:
        return dict(zip(self.names, self.parts, strict=True))


class _Adapter:
    """A domain adapter that was trained before, or none."""

    def __init__(self, spatial: SpatialModel, config: Config):
        self._layers = spatial_attention_layers(spatial.unet)
        self._strength = config.adapter.strength
        self._additions: Additions = {}
        if config.adapter.path:
            matrices = load_lora(config.adapter.path).for_layers(self._layers)
            to = {"device": spatial.unet.device, "dtype": torch.float32}
            self._additions = {name: LowRank.of(down.to(**to), up.to(**to)) for name, (down, up) in matrices.items()}

    def attached(self):
        return low_rank_added(self._layers, self._additions, self._strength)


def new_motion_config(unet: nn.Module, family: str, num_positions: int = 0) -> MotionConfig:
    """The configuration of a family's motion module for this UNet, whatever its sizes."""
    channels: dict[str, dict[int, dict[int, int]]] = {}
    for site in sites_of(unet):
        block, level, place = re.fullmatch(r"(\w+?_blocks?)\.?(\d*)\.motion_modules\.(\d+)", site.name).groups()
        channels.setdefault(block, {}).setdefault(int(level or 0), {})[int(place)] = site.channels
    blocks = {name: tuple(tuple(block.values()) for block in levels.values()) for name, levels in channels.items()}
    return MotionConfig(
        family=FAMILIES[family],
        down_channels=blocks["down_blocks"],
        mid_channels=blocks["mid_block"][0] if family == "v2" else (),  # the only one of these with a module there
        up_channels=blocks["up_blocks"],
        num_positions=num_positions or FAMILIES[family].num_positions,
    )


def _trainable_motion(spatial: SpatialModel, config: Config) -> MotionModel:
    if config.motion.init:
        motion = _loaded(spatial, config)
    else:
        family = NEW_FAMILIES[spatial.base] if config.motion.family == "auto" else config.motion.family
        _check_base(spatial, family)
        with _random_from(config.run.seed):
            motion = MotionModel(new_motion_config(spatial.unet, family, config.motion.positions))
    return _with_schedule(motion, config).float().requires_grad_(True)


def _loaded(spatial: SpatialModel, config: Config) -> MotionModel:
    options = config.motion
    motion = load_motion_module(options.init, family=None if options.family == "auto" else options.family)
    problem = misfit(spatial.unet, motion.config)
    if problem:
        raise TrainError(problem)
    if options.positions:
        raise TrainError(
            f"motion.positions is {options.positions}, but {options.init} brings its own table of "
            f"{motion.config.num_positions}: set motion.positions to 0."
        )
    return motion


def _check_base(spatial: SpatialModel, family: str) -> None:
    if FAMILIES[family].base != spatial.base:
        fitting = ", ".join(name for name in TRAINABLE_FAMILIES if FAMILIES[name].base == spatial.base)
        raise TrainError(
            f"motion.family is {family}, which is for {FAMILIES[family].base}, but {spatial.title} is of "
            f"{spatial.base}'s layout: choose one of {fitting}, or another checkpoint."
        )


def _with_schedule(motion: MotionModel, config: Config) -> MotionModel:
    """The betas that the module is trained on are part of it: they go into its file, and samplers follow them."""
    family = motion.config.family
    schedule = schedule_of(config.diffusion, family.schedule)
    motion.config = replace(motion.config, family=replace(family, schedule=schedule))
    return motion


@contextmanager
def _random_from(seed: int) -> Iterator[None]:
    """Initial weights come from torch's global generator; this one is ours for a moment, and the same everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
