"""Classifier-free guidance: the one caller of the UNet. Rows: the AND parts of each picture, then all negatives."""

import torch
from modules import prompt_parser, script_callbacks, sd_samplers_common, shared


class EpsDenoiser:
    """x + noise → x, with the model's schedule as it is when this is made."""

    def __init__(self, model):
        self.model = model
        self.sigmas = ((1 - model.alphas_cumprod) / model.alphas_cumprod).sqrt().float()

    def __call__(self, x, sigma, cond):
        t = (self.sigmas - sigma[0]).abs().argmin().repeat(len(x))
        scale = (sigma**2 + 1).rsqrt().view(-1, 1, 1, 1)
        return x - sigma.view(-1, 1, 1, 1) * self.model.apply_model(x * scale, t, cond)


class CFGDenoiser:
    def __init__(self, sampler):
        self.sampler = sampler
        self.model_wrap = None
        self.step, self.total_steps, self.p = 0, None, None
        self.mask = self.nmask = self.init_latent = None

    @property
    def inner_model(self):
        if self.model_wrap is None:
            self.model_wrap = EpsDenoiser(shared.sd_model)
        return self.model_wrap

    def update_inner_model(self):
        self.model_wrap = None
        self.sampler.conds = self.p.get_conds()

    def __call__(self, x, sigma):
        state, opts = shared.state, shared.opts
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        sd_samplers_common.apply_refiner(self)
        conds, unconds = self.sampler.conds
        step, steps = self.step, self.total_steps
        places, text_cond = prompt_parser.reconstruct_multicond_batch(conds, step)
        text_uncond = prompt_parser.reconstruct_cond_batch(unconds, step)
        n, counts = len(x), [len(parts) for parts in places]
        rows = [i for i, count in enumerate(counts) for _ in range(count)] + list(range(n))
        params = script_callbacks.CFGDenoiserParams(
            x[rows], x.new_zeros(len(rows), 5, 1, 1), sigma[rows], text_cond, text_uncond, self
        )
        script_callbacks.call("cfg_denoiser", params)
        x_in, sigma_in, cond, uncond = params.x, params.sigma, params.text_cond, params.text_uncond

        early = opts.skip_early_cond and step / steps <= opts.skip_early_cond
        skip_uncond = early or (step % 2 and self.p.s_min_uncond > 0 and sigma[0] < self.p.s_min_uncond)
        if skip_uncond:
            x_in, sigma_in = x_in[:-n], sigma_in[:-n]
        if cond.shape[1] == uncond.shape[1] or skip_uncond:
            text = cond if skip_uncond else torch.cat([cond, uncond])
            size = len(x_in) if opts.batch_cond_uncond else n
            calls = [(i, text[i : i + size]) for i in range(0, len(x_in), size)]
        else:  # tokens of different number cannot share a call
            size = 2 * n if opts.batch_cond_uncond else n
            calls = [(i, cond[i : i + size]) for i in range(0, len(cond), size)]
            calls.append((len(cond), uncond))
        x_out = torch.zeros_like(x_in)
        for i, text in calls:
            part = slice(i, i + len(text))
            x_out[part] = self.inner_model(x_in[part], sigma_in[part], {"c_crossattn": [text]})

        first = [sum(counts[:i]) for i in range(n)]
        negative = x_out[first] if skip_uncond else x_out[-n:]
        scale = 1.0 if skip_uncond else self.p.cfg_scale
        denoised = negative.clone()
        for i, parts in enumerate(places):
            for row, weight in parts:
                denoised[i] += (x_out[row] - negative[i]) * (weight * scale)
        if self.mask is not None:
            denoised = denoised * self.nmask + self.init_latent * self.mask
        self.sampler.last_latent = x_out[first]
        self.step += 1
        return denoised
