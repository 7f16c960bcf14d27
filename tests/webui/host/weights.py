"""UNets of the host's checkpoints. Not part of ``modules``, so that they are made once and not for each test."""

from functools import cache

import torch

from tests.models.ldm_unet import UNetModel

_FREE: dict[tuple[int, ...], UNetModel] = {}


def borrowed_unet(widths: tuple[int, ...]) -> UNetModel:
    """A UNet with whatever weights, that nobody else uses."""
    if widths in _FREE:
        return _FREE.pop(widths)
    return UNetModel(widths=widths, attention=(True, False), layers=1, heads=4).eval().requires_grad_(False)


def give_back(unet: UNetModel, widths: tuple[int, ...]) -> None:
    """It must be as it was borrowed, but for its weights."""
    for name, module in unet.named_modules():
        assert not module._forward_hooks, name
        assert not module._forward_pre_hooks, name
        assert "forward" not in vars(module), name
    _FREE[widths] = unet


@cache
def weights(seed: int, widths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    unet = borrowed_unet(widths)
    shapes = {name: parameter.shape for name, parameter in unet.named_parameters()}
    give_back(unet, widths)
    return {name: _random(shape, "weight" in name, generator) for name, shape in shapes.items()}


def _random(shape: torch.Size, is_weight: bool, generator: torch.Generator) -> torch.Tensor:
    if len(shape) > 1:
        return torch.randn(shape, generator=generator) / shape[1:].numel() ** 0.5
    return float(is_weight) + 0.1 * torch.randn(shape, generator=generator)
