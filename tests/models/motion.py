"""Small random motion models for any small UNet."""

import torch

from animatediff_ext.motion import FAMILIES, MotionConfig, MotionModel


def motion_config(family: str, *, widths=(32, 64, 64, 64), per_level=2, mid=None, num_positions=None) -> MotionConfig:
    """The layout of SD 1.5 (four widths) or SDXL (three), with other sizes."""
    facts = FAMILIES[family]
    has_mid = family in ("v2", "animatelcm", "lightning") if mid is None else mid
    return MotionConfig(
        family=facts,
        down_channels=tuple((c,) * per_level for c in widths),
        mid_channels=(widths[-1],) if has_mid else (),
        up_channels=tuple((c,) * (per_level + 1) for c in reversed(widths)),
        num_positions=num_positions or facts.num_positions,
    )


def random_motion(config: MotionConfig, seed: int = 0) -> MotionModel:
    """A motion model whose every weight is random and whose output projection is not zero."""
    generator = torch.Generator().manual_seed(seed)
    motion = MotionModel(config).eval().requires_grad_(False)
    for name, parameter in motion.named_parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        centre = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    return motion
