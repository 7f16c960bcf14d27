"""The image model of a run."""

from __future__ import annotations

import torch

from animatediff_ext.standalone.load import load_spatial_model
from animatediff_ext.standalone.spatial import SpatialModel
from animatediff_ext.trainer.config import Base, Precision
from animatediff_ext.trainer.error import TrainError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def name_of(dtype: torch.dtype) -> str:
    """As ``precision.amp`` spells it."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def amp_dtype(options: Precision, device: torch.device) -> torch.dtype:
    """The number format of products, which is also that of the frozen UNet."""
    if options.amp != "auto":
        return DTYPES[options.amp]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def load_base(options: Base, device: torch.device, dtype: torch.dtype) -> SpatialModel:
    """Raises `TrainError` where none is named, `SpatialModelError` or `FormatError` where it cannot be read."""
    if not options.checkpoint:
        raise TrainError("base.checkpoint is empty: set it to a checkpoint of SD 1.5's or SDXL's layout.")
    spatial = load_spatial_model(
        options.checkpoint,
        vae=options.vae or None,
        tokenizer=options.tokenizer or None,
        prediction=options.prediction,
    )
    # Not the VAE and the text encoders: what they say is what is learnt from. The VAE's part is no small one (273 GFLOP
    # for a frame of 256x256, where a forward pass of SD 1.5's UNet has 180); cache.folder is what spares it.
    # Before anything moves: the UNet in float32 is what need not fit on a GPU.
    spatial.unet.to(dtype)
    return spatial.to(device)
