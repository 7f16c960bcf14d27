"""Low-rank additions do what merged weights do, and are gone after their ``with``."""

from contextlib import ExitStack
from itertools import combinations

import pytest
import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from torch import nn

from animatediff_ext.formats import load_lora, save_lora
from animatediff_ext.inject import (
    LowRank,
    injected,
    low_rank_added,
    motion_attention_layers,
    spatial_attention_layers,
)
from animatediff_ext.inject.low_rank import Layer, motion_layers
from animatediff_ext.motion import MotionModel
from tests.models.ldm_unet import diffusers_name
from tests.models.motion import motion_config, random_motion
from tests.models.unets import diffusers_sdxl_unet, diffusers_unet, ldm_unet

SITE = "down_blocks.1.motion_modules.0"
ATTENTION = f"{SITE}.temporal_transformer.transformer_blocks.0.attention_blocks.0"
PARTS = ("to_q", "to_k", "to_v")
SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(PARTS, size)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def motion():
    return random_motion(motion_config("v2", per_level=1))


def random_additions(layers, seed=0, rank=3, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)

    def matrix(rows, columns):
        return (0.3 * torch.randn(rows, columns, generator=random)).to(dtype)

    return {name: LowRank.of(matrix(rank, x.num_in), matrix(x.num_out, rank)) for name, x in layers.items()}


def linear(num_in=8, num_out=5, **options):
    torch.manual_seed(0)
    module = nn.Linear(num_in, num_out, **options).requires_grad_(False)
    return module, {"layer": Layer(module=module, num_in=num_in, num_out=num_out)}


def product(additions, name):
    """up down, in double precision."""
    return additions[name].up.detach().double() @ additions[name].down.detach().double()


def merged(module, additions, strength):
    """A copy with the products in its weights: what every other tool does with a LoRA."""
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name in additions:
        weight = weights[f"{name}.weight"]
        weights[f"{name}.weight"] = (weight.double() + strength * product(additions, name)).to(weight.dtype)
    return weights


def merged_motion(motion, additions, strength):
    copy = random_motion(motion.config)
    copy.load_state_dict(merged(motion, additions, strength))
    return copy


def some_input(channels=64, frames=3, seed=1, **options):
    return torch.randn(2 * frames, channels, 2, 2, generator=torch.Generator().manual_seed(seed), **options)


def hooks_in(*models):
    return [hook for model in models for module in model.modules() for hook in module._forward_hooks.values()]


# ---- the sum ----


@pytest.mark.parametrize("strength", [-1.0, 0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_gains_strength_up_down_x(bias, strength):
    module, layers = linear(bias=bias)
    additions = random_additions(layers)
    x = torch.randn(2, 7, 8)
    plain = module(x)
    with low_rank_added(layers, additions, strength):
        added = module(x)
    down, up = (matrix.detach().tolist() for matrix in (additions["layer"].down, additions["layer"].up))
    for place in (0, 0), (1, 3), (1, 6):
        inner = [sum(w * value for w, value in zip(row, x[place].tolist(), strict=True)) for row in down]
        gained = [strength * sum(w * value for w, value in zip(row, inner, strict=True)) for row in up]
        torch.testing.assert_close(added[place], plain[place] + torch.tensor(gained))


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_any_of_q_k_and_v_gain_theirs_and_the_others_nothing(subset, motion):
    layers = motion_attention_layers(motion)
    chosen = {f"{ATTENTION}.{part}": layers[f"{ATTENTION}.{part}"] for part in subset}
    additions = random_additions(chosen)
    joint = layers[f"{ATTENTION}.to_q"].module
    x = torch.randn(5, 3, 64)
    plain = dict(zip(PARTS, joint(x).chunk(3, dim=-1), strict=True))
    with low_rank_added(layers, additions, 0.5):
        added = dict(zip(PARTS, joint(x).chunk(3, dim=-1), strict=True))
    for part in PARTS:
        if part in subset:
            gain = 0.5 * x.double() @ product(additions, f"{ATTENTION}.{part}").T
            torch.testing.assert_close(added[part], (plain[part].double() + gain).float())
        else:
            assert torch.equal(added[part], plain[part])


@pytest.mark.parametrize("strength", [-1.0, 0.0, 0.7, 1.0])
@pytest.mark.parametrize("layers_of", [motion_attention_layers, motion_layers])
def test_a_motion_module_does_what_one_with_merged_weights_does(layers_of, strength, motion):
    layers = layers_of(motion)
    additions = random_additions(layers)
    x = some_input()
    plain = motion.at(SITE)(x, 3)
    expected = merged_motion(motion, additions, strength).at(SITE)(x, 3)
    with low_rank_added(layers, additions, strength):
        added = motion.at(SITE)(x, 3)
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(added, plain) == (strength == 0)


def prediction(unet, seed=0):
    random = torch.Generator().manual_seed(seed)
    x, text = torch.randn(3, 4, 8, 8, generator=random), torch.randn(3, 5, 32, generator=random)
    with torch.no_grad():
        result = unet(x, torch.full((3,), 500), text)
    return result if isinstance(result, torch.Tensor) else result.sample


@pytest.mark.parametrize("make", [diffusers_unet, diffusers_sdxl_unet])
def test_an_image_model_does_what_one_with_merged_weights_does(make):
    unet, copy = make(), make()
    layers = spatial_attention_layers(unet)
    additions = random_additions(layers)
    copy.load_state_dict(merged(unet, additions, 0.7))
    plain = prediction(unet)
    with low_rank_added(layers, additions, 0.7):
        torch.testing.assert_close(prediction(unet), prediction(copy), rtol=1e-4, atol=1e-4)
    assert torch.equal(prediction(unet), plain)
    assert not torch.allclose(prediction(copy), plain, atol=1e-2)


def test_our_file_merged_into_ldms_unet_does_what_the_additions_do(tmp_path):
    unet, ldm = diffusers_unet(), ldm_unet()
    layers = spatial_attention_layers(unet)
    additions = random_additions(layers)
    with low_rank_added(layers, additions):
        expected = prediction(unet)
    pairs = {name: (part.down, part.up) for name, part in additions.items()}
    save_lora(pairs, tmp_path / "x.safetensors", spelling="webui", dtype=torch.float32)
    matrices = load_lora(tmp_path / "x.safetensors").for_layers(layers)
    weights = {diffusers_name(name): weight for name, weight in ldm.named_parameters()}
    with torch.no_grad():
        for name, (down, up) in matrices.items():
            weights[f"{name}.weight"] += up @ down
    torch.testing.assert_close(prediction(ldm), expected, rtol=1e-4, atol=1e-4)


def test_motion_and_image_layers_take_additions_in_one_go_in_an_injected_unet():
    unet = diffusers_unet()
    motion = random_motion(motion_config("v3"))
    layers = motion_attention_layers(motion) | spatial_attention_layers(unet)
    additions = random_additions(layers)
    twin = diffusers_unet()
    twin.load_state_dict(merged(unet, {n: a for n, a in additions.items() if "motion" not in n}, 1.0))
    twin_motion = merged_motion(motion, {n: a for n, a in additions.items() if "motion" in n}, 1.0)
    with injected(twin, twin_motion, num_frames=3):
        expected = prediction(twin)
    with low_rank_added(layers, additions), injected(unet, motion, num_frames=3):
        torch.testing.assert_close(prediction(unet), expected, rtol=1e-3, atol=1e-3)
    with injected(unet, motion, num_frames=3), low_rank_added(layers, additions):
        torch.testing.assert_close(prediction(unet), expected, rtol=1e-3, atol=1e-3)
    assert not hooks_in(unet, motion)


# ---- several at once ----


def test_two_loras_at_once_add_up_in_either_order(motion):
    layers = motion_attention_layers(motion)
    one = random_additions(layers, seed=1)
    other = random_additions({name: layers[name] for name in list(layers)[::3]}, seed=2, rank=2)
    x = some_input()
    half_way = merged_motion(motion, one, 0.5)
    expected = merged_motion(half_way, other, -0.7).at(SITE)(x, 3)
    results = []
    for order in ([(one, 0.5), (other, -0.7)], [(other, -0.7), (one, 0.5)]):
        with ExitStack() as both:
            for additions, strength in order:
                both.enter_context(low_rank_added(layers, additions, strength))
            results.append(motion.at(SITE)(x, 3))
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_the_order_of_names_does_not_matter(motion):
    layers = motion_attention_layers(motion)
    additions = random_additions(layers)
    x = some_input()
    results = []
    for names in (list(additions), list(reversed(additions))):
        with low_rank_added(layers, {name: additions[name] for name in names}):
            results.append(motion.at(SITE)(x, 3))
    assert torch.equal(*results)


def test_the_inner_of_two_leaves_the_outer_in_place(motion):
    layers = motion_attention_layers(motion)
    one, other = random_additions(layers, seed=1), random_additions(layers, seed=2)
    x = some_input()
    with low_rank_added(layers, one):
        alone = motion.at(SITE)(x, 3)
        with low_rank_added(layers, other):
            assert not torch.equal(motion.at(SITE)(x, 3), alone)
        assert torch.equal(motion.at(SITE)(x, 3), alone)


# ---- nothing left ----


class Interruption(Exception):
    pass


@pytest.mark.parametrize("how", ["in peace", "by an exception", "by an exception in the layer"])
def test_nothing_is_left_behind_however_it_ends(how, motion):
    layers = motion_attention_layers(motion)
    x = some_input()
    plain = motion.at(SITE)(x, 3)
    weights = {name: tensor.clone() for name, tensor in motion.state_dict().items()}
    others = motion.at(SITE).register_forward_hook(lambda *_: None)
    try:
        with low_rank_added(layers, random_additions(layers)):
            motion.at(SITE)(x, 3)
            if how == "by an exception":
                raise Interruption
            if how == "by an exception in the layer":
                motion.at(SITE)(x[:, :7], 3)
    except (Interruption, RuntimeError):
        assert how != "in peace"
    assert len(hooks_in(motion)) == 1  # of someone else
    others.remove()
    assert torch.equal(motion.at(SITE)(x, 3), plain)
    for name, tensor in motion.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_without_additions_nothing_is_attached(motion):
    with low_rank_added(motion_attention_layers(motion), {}):
        assert not hooks_in(motion)


def test_an_unknown_layer_is_our_mistake_named_before_anything_is_attached(motion):
    layers = motion_attention_layers(motion)
    additions = random_additions(layers)
    additions["down_blocks.7.to_q"] = LowRank(8, 8, 2)
    with pytest.raises(AssertionError, match=r"down_blocks\.7\.to_q is not among the layers"):
        low_rank_added(layers, additions).__enter__()
    with pytest.raises(AssertionError, match="such as none"):
        low_rank_added({}, additions).__enter__()
    assert not hooks_in(motion)


def test_wrong_sizes_are_our_mistake_named_before_anything_is_attached():
    module, layers = linear(8, 5)
    with pytest.raises(AssertionError, match=r"layer has sizes \(8, 5\), not \(5, 8\)"):
        low_rank_added(layers, {"layer": LowRank(5, 8, 2)}).__enter__()
    assert not hooks_in(module)


# ---- gradients ----


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_additions_only_and_are_those_of_the_product(checkpointing, motion):
    layers = motion_attention_layers(motion)
    additions = random_additions(layers)
    here = {name: part for name, part in additions.items() if name.startswith(SITE)}
    nn.ModuleList(here.values()).requires_grad_(True)
    x, target = some_input(), some_input(seed=2)

    deltas = {name: (part.up @ part.down).detach().requires_grad_(True) for name, part in here.items()}
    copy = random_motion(motion.config)
    changed = dict(copy.state_dict())
    for name, delta in deltas.items():
        changed[f"{name}.weight"] = motion.state_dict()[f"{name}.weight"] + 0.5 * delta
    joint = {f"{SITE}.{name}": p for name, p in copy.at(SITE).named_parameters()}
    for name in [name for name in joint if name.endswith("to_qkv.weight")]:
        joint[name] = torch.cat([changed[name.replace("to_qkv", part)] for part in PARTS])
    joint |= {name: changed[name] for name in joint if name in changed}
    arguments = {name.removeprefix(f"{SITE}."): tensor for name, tensor in joint.items()}
    expected = torch.func.functional_call(copy.at(SITE), arguments, (x, 3))
    (expected - target).square().sum().backward()

    motion.use_gradient_checkpointing(checkpointing)
    with low_rank_added(layers, additions, 0.5):
        (motion.at(SITE)(x, 3) - target).square().sum().backward()
    assert all(parameter.grad is None for parameter in motion.parameters())
    for name, part in here.items():
        gradient = deltas[name].grad  # of W; with W = … + up down, up gets it times downᵀ, down upᵀ times it
        torch.testing.assert_close(part.up.grad, gradient @ part.down.detach().T, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(part.down.grad, part.up.detach().T @ gradient, rtol=1e-3, atol=1e-3)
    elsewhere = [part for name, part in additions.items() if name not in here]
    assert all(parameter.grad is None for part in elsewhere for parameter in part.parameters())


def test_a_new_addition_changes_nothing_and_learns_through_up_first():
    module, layers = linear()
    torch.manual_seed(3)
    addition = LowRank(8, 5, 2, scale=0.5)
    x = torch.randn(4, 8)
    plain = module(x)
    with low_rank_added(layers, {"layer": addition}):
        added = module(x)
    assert torch.equal(added, plain)
    added.sum().backward()
    assert addition.up.grad.abs().min() > 0
    assert not addition.down.grad.any()
    assert addition.down.std() > 0.2


def test_the_scale_of_an_addition_multiplies_the_strength():
    module, layers = linear()
    (addition,) = random_additions(layers).values()
    scaled = LowRank(8, 5, 3, scale=0.25)
    scaled.load_state_dict(addition.state_dict())
    x = torch.randn(4, 8)
    with low_rank_added(layers, {"layer": addition}, 0.5 * 0.25):
        expected = module(x)
    with low_rank_added(layers, {"layer": scaled}, 0.5):
        torch.testing.assert_close(module(x), expected)


# ---- dtypes ----


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("of_addition", [torch.float32, torch.bfloat16, torch.float16])
def test_an_addition_of_another_dtype_keeps_that_of_its_layer(of_addition, dtype, motion):
    motion.to(dtype)
    layers = motion_attention_layers(motion)
    chosen = {name: layers[name] for name in (f"{ATTENTION}.to_k", f"{ATTENTION}.to_out.0")}
    additions = random_additions(chosen, dtype=of_addition)
    x = torch.randn(5, 3, 64).to(dtype)
    for name, layer in chosen.items():
        with low_rank_added(layers, additions):
            added = layer.module(x)
        assert added.dtype == dtype
        expected = layer.module(x).chunk(layer.num_parts, dim=-1)[layer.part].double()
        expected = expected + x.double() @ product(additions, name).T
        error = (added.chunk(layer.num_parts, dim=-1)[layer.part].double() - expected).abs().max()
        assert error < 0.03 * expected.abs().max()


def test_additions_in_float32_are_exact_up_to_the_sum_with_a_half_layer():
    """Small gains are not lost before the sum: only its result is rounded."""
    module, layers = linear(dtype=torch.bfloat16)
    module.weight.zero_()
    module.bias.zero_()
    additions = random_additions(layers)
    x = torch.randn(9, 8).bfloat16()
    with low_rank_added(layers, additions):
        added = module(x)
    assert torch.equal(added, (x.double() @ product(additions, "layer").T).bfloat16())


@pytest.mark.parametrize("of_motion", [torch.float32, torch.bfloat16])
def test_autocast_takes_additions_in_float32_and_gives_them_gradients(of_motion, motion):
    motion.to(of_motion)
    layers = motion_attention_layers(motion)
    additions = random_additions({name: layer for name, layer in layers.items() if name.startswith(SITE)})
    nn.ModuleList(additions.values()).requires_grad_(True)
    x = some_input()
    exact = random_motion(motion.config)
    expected = merged_motion(exact, additions, 1.0).at(SITE)(x, 3)
    change = expected - exact.at(SITE)(x, 3)
    with torch.autocast("cpu", torch.bfloat16), low_rank_added(layers, additions):
        added = motion.at(SITE)(x.to(of_motion), 3)
        added.float().square().mean().backward()
    assert (added - expected).abs().mean() < 0.1 * change.abs().mean()
    for part in additions.values():
        for parameter in part.parameters():
            assert parameter.grad.dtype == torch.float32
            assert parameter.grad.any()


# ---- names ----


@pytest.mark.parametrize(("family", "sites"), [("v1", 12), ("v2", 13), ("sdxl-beta", 9)])
def test_the_motion_layers_are_those_of_the_weights_in_files(family, sites):
    widths = (32, 64, 64) if family == "sdxl-beta" else (32, 64, 64, 64)
    motion = random_motion(motion_config(family, widths=widths, per_level=1))
    state = motion.state_dict()
    every = {name.removesuffix(".weight") for name, tensor in state.items() if tensor.ndim == 2}
    assert motion_layers(motion).keys() == every
    attention = motion_attention_layers(motion)
    assert attention.keys() == {name for name in every if ".to_" in name}
    assert len(attention) == sites * 2 * 4  # attentions, layers
    for name, layer in motion_layers(motion).items():
        assert state[f"{name}.weight"].shape == (layer.num_out, layer.num_in)


def test_the_attention_layers_of_real_models_give_the_sizes_of_the_official_files():
    """Official motion LoRAs: 77.3 MB in float32 at rank 64; v3_sd15_adapter: 25.51 M numbers at rank 128."""
    with torch.device("meta"):
        motion = MotionModel(motion_config("v2", widths=(320, 640, 1280, 1280)))
        unet = UNet2DConditionModel(cross_attention_dim=768)
    of_motion, of_image = (
        sum(layer.num_in + layer.num_out for layer in layers.values())
        for layers in (motion_attention_layers(motion), spatial_attention_layers(unet))
    )
    assert round(4 * 64 * of_motion / 1e6, 1) == 77.3
    assert round(128 * of_image / 1e6, 2) == 25.51


@pytest.mark.parametrize(("make", "count"), [(diffusers_unet, 16), (diffusers_sdxl_unet, 11)])
def test_the_spatial_layers_are_those_of_every_attention(make, count):
    unet = make()
    layers = spatial_attention_layers(unet)
    assert len(layers) == count * 2 * 4
    expected = {
        name
        for name, module in unet.named_modules()
        if type(module) is nn.Linear and name.split(".")[-1] in ("to_q", "to_k", "to_v", "0") and "attn" in name
    }
    assert layers.keys() == expected
    for name, layer in layers.items():
        assert unet.get_submodule(name).weight.shape == (layer.num_out, layer.num_in)


def test_motion_modules_of_diffusers_own_video_model_are_no_spatial_layers():
    with torch.device("meta"):
        video = UNetMotionModel(
            block_out_channels=(32, 64),
            down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
            num_attention_heads=8,
            motion_num_attention_heads=8,
        )
    layers = spatial_attention_layers(video)
    assert len(layers) == 6 * 2 * 4
    assert not any("motion" in name for name in layers)
    assert any("motion_modules" in name and name.endswith("attn1.to_q") for name, _ in video.named_modules())


def test_matrices_of_a_file_become_an_addition_without_copies_or_gradients():
    down, up = torch.randn(2, 8).half(), torch.randn(5, 2).half()
    addition = LowRank.of(down, up)
    assert addition.down.data_ptr() == down.data_ptr()
    assert addition.up.data_ptr() == up.data_ptr()
    assert not any(parameter.requires_grad for parameter in addition.parameters())
    torch.testing.assert_close(addition(torch.ones(1, 8)), (torch.ones(1, 8).half() @ down.T) @ up.T)
