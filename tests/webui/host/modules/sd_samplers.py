from itertools import pairwise
from types import SimpleNamespace

import torch
from modules import sd_samplers_common, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser


class Euler:
    """Samples along the model's sigmas, evenly spaced in time. Reads the noise schedule when it is made."""

    def __init__(self, _model):
        self.model_wrap_cfg = CFGDenoiser(self)
        self.model_wrap = self.model_wrap_cfg.inner_model
        self.conds = self.last_latent = None

    def get_sigmas(self, steps):
        known = self.model_wrap.sigmas
        t = torch.linspace(len(known) - 1, 0, steps + 1)[:-1].round().long()
        return torch.cat([known[t], torch.zeros(1)])

    def sample(self, p, x, c, uc):
        sigmas = self.get_sigmas(p.steps)
        return self._launch(p, x * sigmas[0], x, sigmas, c, uc)

    def sample_img2img(self, p, x, noise, c, uc, steps=None):
        steps = steps or p.steps
        sigmas = self.get_sigmas(steps)[steps - int(min(p.denoising_strength, 0.999) * steps) - 1 :]
        return self._launch(p, x + noise * sigmas[0], x, sigmas, c, uc)

    def _launch(self, p, x, latent, sigmas, c, uc):
        denoiser = self.model_wrap_cfg
        denoiser.p, denoiser.step, denoiser.total_steps = p, 0, len(sigmas) - 1
        denoiser.init_latent, denoiser.mask, denoiser.nmask = (
            latent,
            getattr(p, "mask", None),
            getattr(p, "nmask", None),
        )
        self.conds, self.last_latent = (c, uc), latent
        return self.launch_sampling(len(sigmas) - 1, lambda: self._steps(denoiser, x, sigmas))

    def _steps(self, denoiser, x, sigmas):
        for i, (sigma, following) in enumerate(pairwise(sigmas)):
            shared.state.sampling_step = i
            denoised = denoiser(x, sigma.repeat(len(x)))
            x = x + (x - denoised) / sigma * (following - sigma)
        return x

    def launch_sampling(self, _steps, func):
        try:
            return func()
        except sd_samplers_common.InterruptedException:
            return self.last_latent


class UniPC(Euler):
    def launch_sampling(self, steps, func):
        assert steps >= shared.opts.uni_pc_order, "UniPC order must be < sampling steps"
        return super().launch_sampling(steps, func)


SAMPLERS = {"Euler": Euler, "UniPC": UniPC}


def find_sampler_config(name):
    assert name in SAMPLERS, f"bad sampler name: {name}"
    return SimpleNamespace(constructor=SAMPLERS[name])


def create_sampler(name, model):
    return find_sampler_config(name).constructor(model)
