"""What is attached to the model while it samples, and what comes back afterwards."""

import torch

from tests.webui.generations import HIRES, at_step, script
from tests.webui.host import fingerprint


def test_between_the_passes_of_hires_fix_the_motion_modules_need_no_memory(host, monkeypatch):
    """Decoding, upscaling and encoding are done there."""
    session, order = host.webui("generation").Session, []
    rest = session.rest
    monkeypatch.setattr(session, "rest", lambda self: (order.append("rest"), rest(self)))
    at_step(host, 0, lambda _params: order.append("first pass"))
    other = script(host, before_hr=lambda *_: order.append("between"))
    host.generate({}, **HIRES, scripts=[other])
    assert order == ["first pass", "rest", "between", "rest"]


def test_nothing_is_attached_before_or_after_sampling(host):
    """Other scripts see an untouched UNet in every hook outside ``p.sample``, and can change it there."""
    before = fingerprint(host.shared.sd_model)
    seen = []

    def look(p, *_args, **_kwargs):
        seen.append(fingerprint(host.shared.sd_model) == before)

    hooks = ("before_process", "process", "before_process_batch", "process_batch", "post_sample", "postprocess")
    host.generate({}, scripts=[script(host, **dict.fromkeys(hooks, look))])
    assert seen == [True] * len(hooks)


def test_the_very_schedule_of_the_checkpoint_comes_back(host):
    """And not a copy of it, beside which the host would keep its own."""
    seen = []

    def look(p, *_args, **_kwargs):
        seen.append((id(p.sd_model.alphas_cumprod), id(p.sd_model.alphas_cumprod_original)))

    original = host.shared.sd_model.alphas_cumprod_original
    host.generate({}, n_iter=2, scripts=[script(host, post_sample=look, before_process_batch=look)])
    assert host.shared.sd_model.alphas_cumprod_original is original
    assert {place for _, place in seen} == {id(original)}


def test_a_swap_to_a_checkpoint_without_a_schedule_keeps_that_of_the_first(host):
    """Where settings or the device make the schedule in use another tensor than the original, as on a GPU."""
    for options in ({}, {"use_downcasted_alpha_bar": True}):
        host.opts.data.update(options)
        host.generate({}, **HIRES, hr_checkpoint_name="pruned")
        alphas = host.shared.sd_model.alphas_cumprod_original
        torch.testing.assert_close(alphas.float(), host.sd_models.make_schedule(), rtol=1e-3, atol=1e-5)
        host.sd_models.reload_model_weights()


def test_the_motion_module_is_on_the_device_only_while_sampling(host):
    """Seen by the dtype of the UNet, which it takes at the same time."""
    host.module("devices").dtype_unet = torch.float64
    seen = []

    def look(*_args, **_kwargs):
        (loaded,) = host.webui("models").CACHE._loaded.values()
        seen.append({value.dtype for value in loaded.motion.state_dict().values()})

    hook = host.unet.middle_block.register_forward_hook(look)
    host.generate({}, scripts=[script(host, process_batch=look, post_sample=look)], steps=1)
    hook.remove()
    assert seen == [{torch.float32}, {torch.float64}, {torch.float32}]
