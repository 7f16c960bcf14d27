from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from modules import prompt_parser, shared
from torch import nn

from tests.webui.host.weights import borrowed_unet, weights


@dataclass(frozen=True)
class Checkpoint:
    name: str
    seed: int
    widths: tuple[int, ...] = (32, 32)
    brings_schedule: bool = True
    """Pruned and merged files have only weights; then the noise schedule in memory stays."""


checkpoints = {
    known.name: known
    for known in (
        Checkpoint("base", 1),
        Checkpoint("second", 2),
        Checkpoint("pruned", 2, brings_schedule=False),
        Checkpoint("other layout", 3, (32, 64)),
    )
}


def get_closet_checkpoint_match(text):
    return checkpoints.get(text)


def make_schedule():
    """Stable Diffusion's own: square roots of the betas on a line."""
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2).cumprod(0)


class LatentDiffusion(nn.Module):
    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.model = nn.Module()
        self.model.diffusion_model = borrowed_unet(checkpoint.widths)
        self.register_buffer("alphas_cumprod", make_schedule())
        self.alphas_cumprod_original = self.alphas_cumprod
        self.cond_stage_model_empty_prompt = prompt_parser.encode("")[None]
        self.load(checkpoint)

    def load(self, checkpoint: Checkpoint):
        """Weights go into the tensors that are there, the schedule's too."""
        self.model.diffusion_model.load_state_dict(weights(checkpoint.seed, checkpoint.widths))
        if checkpoint.brings_schedule:
            self.load_state_dict({"alphas_cumprod": make_schedule()}, strict=False)
        self.alphas_cumprod_original = self.alphas_cumprod
        apply_alpha_schedule_override(self)
        self.sd_checkpoint_info = checkpoint

    def apply_model(self, x, t, cond):
        return self.model.diffusion_model(x, t, context=torch.cat(cond["c_crossattn"], 1))

    def encode(self, pixels):
        """``b 3 h w`` in 0…1 → latent."""
        small = nn.functional.avg_pool2d(pixels * 2 - 1, 8)
        return torch.cat([small, small.mean(1, keepdim=True)], 1)

    def decode(self, latent):
        return nn.functional.interpolate(latent[:, :3], scale_factor=8)


model_data = SimpleNamespace(sd_model=None)


class SkipWritingToConfig:
    skip = False

    def __enter__(self):
        self.before, SkipWritingToConfig.skip = SkipWritingToConfig.skip, True

    def __exit__(self, *_exception):
        SkipWritingToConfig.skip = self.before


def reload_model_weights(info: Checkpoint | None = None):
    """Into the model in memory where the layout is the same, else into a new one."""
    wanted = info or checkpoints[shared.opts.data["sd_model_checkpoint"]]
    model = model_data.sd_model
    if model is None or model.sd_checkpoint_info.widths != wanted.widths:
        model_data.sd_model = LatentDiffusion(wanted)
    elif model.sd_checkpoint_info != wanted:
        if not SkipWritingToConfig.skip:
            shared.opts.data["sd_model_checkpoint"] = wanted.name
        model.load(wanted)


def apply_alpha_schedule_override(sd_model, p=None):
    # a copy, as on a GPU: there the original stays in main memory
    sd_model.alphas_cumprod = sd_model.alphas_cumprod_original.to(shared.device, copy=True)
    if shared.opts.use_downcasted_alpha_bar:
        sd_model.alphas_cumprod = sd_model.alphas_cumprod.half()
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR":
        roots = sd_model.alphas_cumprod.sqrt()
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
        sd_model.alphas_cumprod = (roots**2).clamp(min=4.9e-8)


@contextmanager
def weights_in_new_objects():
    """As when several checkpoints may stay in memory: a swap brings another model and UNet."""
    global reload_model_weights
    before, loaded = reload_model_weights, {}

    def reload(info=None):
        wanted = info or checkpoints[shared.opts.data["sd_model_checkpoint"]]
        if model_data.sd_model is not None:
            loaded[model_data.sd_model.sd_checkpoint_info] = model_data.sd_model
        model_data.sd_model = loaded.get(wanted) or LatentDiffusion(wanted)

    reload_model_weights = reload
    try:
        yield loaded
    finally:
        reload_model_weights = before
