"""The number format in which motion modules compute, under the host's autocast."""

import pytest
import torch

from animatediff_ext.inject import Direction, Injection, LowRank, low_rank_added, motion_attention_layers
from animatediff_ext.inject.precision import own_precision
from animatediff_ext.motion.layers import JointProjection
from tests.models.motion import motion_config, random_motion

F = 3
SITE = "down_blocks.0.motion_modules.0"


def hooked(dtype, effect=()):
    """A forward hook, and a list that is told at each call of the module whether autocast was on."""
    module = random_motion(motion_config("v2")).to(dtype).at(SITE)
    seen = []
    module.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    injection = Injection(None, F, direction=lambda: Direction(effect=effect))
    hook = injection.motion_hook(SITE, [(module, 1.0)])

    def forward(x):
        injection._forward = lambda x: hook(None, (), x)
        with torch.no_grad():
            return injection.forward(x)

    return forward, seen


@pytest.mark.parametrize("effect", [(), (0.5,) * F], ids=["whole", "half the effect"])
@pytest.mark.parametrize("of_block", [torch.float32, torch.bfloat16])
def test_half_precision_computes_the_same_under_autocast(of_block, effect):
    forward, seen = hooked(torch.bfloat16, effect)
    x = torch.randn(F, 32, 4, 4).to(of_block)
    plain = forward(x)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = forward(x)
    assert plain.dtype == under_autocast.dtype == of_block
    assert torch.equal(plain, under_autocast)
    assert seen == [False, False]


def test_weights_in_float32_leave_it_to_autocast():
    """As a trainer has them."""
    forward, seen = hooked(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert forward(torch.randn(F, 32, 4, 4)).dtype == torch.float32
    assert seen == [True]


def test_devices_that_know_no_autocast_are_not_asked():
    """torch 2.4 refuses the question for Apple's GPUs, as this one does for other kinds."""
    with pytest.raises(RuntimeError):
        torch.is_autocast_enabled("meta")
    with own_precision("meta", torch.float16):
        pass


def test_float32_from_norms_meets_weights_of_half_precision():
    """As the WebUI's own norms give it, with weights in FP8 and --precision full."""
    projection = JointProjection(8).to(torch.bfloat16)
    assert projection(torch.randn(2, 8)).dtype == torch.bfloat16


def test_where_gradients_are_wanted_half_precision_leaves_it_to_autocast():
    """A LoRA that is trained is in float32, beside a module that is not."""
    module = random_motion(motion_config("v2")).to(torch.bfloat16).requires_grad_(False)
    layers = {name: layer for name, layer in motion_attention_layers(module).items() if name.startswith(SITE)}
    additions = {name: LowRank(layer.num_in, layer.num_out, 2) for name, layer in layers.items()}
    for addition in additions.values():
        torch.nn.init.normal_(addition.up)
    seen = []
    next(iter(additions.values())).register_forward_hook(lambda _module, _args, output: seen.append(output.dtype))
    injection = Injection(None, F)
    hook = injection.motion_hook(SITE, [(module.at(SITE), 1.0)])
    injection._forward = lambda x: hook(None, (), x)
    x = torch.randn(F, 32, 4, 4)

    def gradients(checkpointing):
        module.use_gradient_checkpointing(checkpointing)
        with torch.autocast("cpu", torch.bfloat16):
            answer = injection.forward(x)
        return torch.autograd.grad(answer.square().sum(), [addition.down for addition in additions.values()])

    with low_rank_added(layers, additions):
        plain, checkpointed = gradients(False), gradients(True)
    assert set(seen) == {torch.bfloat16}
    for one, other in zip(plain, checkpointed, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
        assert one.any()
