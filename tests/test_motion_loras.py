"""LoRAs at run time, with weights that travel, against LoRAs merged into the weights."""

import copy

import pytest
import torch

from animatediff_ext.animate import Session
from animatediff_ext.direct import loras_of
from animatediff_ext.formats import FormatError, load_lora, save_lora
from animatediff_ext.inject import motion_attention_layers, motion_layers
from animatediff_ext.motion_loras import _over_rows, spatial_layers
from animatediff_ext.params import Animation, Context, Motion
from tests.inject.test_border import inputs, traces
from tests.models.motion import motion_config, random_motion
from tests.models.unets import diffusers_unet, ldm_unet

F = 4


def matrices_for(layers, seed=0):
    random = torch.Generator().manual_seed(seed)

    def matrix(*size):
        return 0.2 * torch.randn(size, generator=random)

    return {name: (matrix(2, layer.num_in), matrix(layer.num_out, 2)) for name, layer in layers.items()}


def merged(layers, matrices, weight):
    """Into the weights themselves; layers of a copy."""
    for name, (down, up) in matrices.items():
        layer = layers[name]
        part = slice(layer.part * layer.num_out, (layer.part + 1) * layer.num_out)
        layer.module.weight.data[part] += weight * (up @ down)


def answer(unet, motion, call, loras=(), progress=(0, 1), **settings):
    settings = {"num_frames": F, "context": Context(length=F)} | settings
    animation = Animation(**settings).resolved()
    with torch.no_grad(), Session(animation, motion, loras=loras) as session:
        session.attach(unet, device=torch.device("cpu"), dtype=torch.float32)
        session.at_step(*progress, num_rows=len(call[0]), height=8, width=8)
        result = unet(*call)
    return result if isinstance(result, torch.Tensor) else result.sample


@pytest.fixture(scope="module")
def motion():
    return random_motion(motion_config("v2"))


@pytest.fixture(scope="module")
def file(motion, tmp_path_factory):
    path = tmp_path_factory.mktemp("lora") / "zoom.safetensors"
    save_lora(matrices_for(motion_attention_layers(motion)), path, dtype=torch.float32)
    return load_lora(path)


def weighted(file, text, **animation):
    settings = Animation(num_frames=F, motion=Motion(loras=f"zoom {text}"), **animation).resolved()
    return [(file, loras_of(settings)[0])]


@pytest.mark.parametrize("weight", [-1.0, 0.0, 0.5, 1.0])
def test_at_run_time_is_merged(motion, file, weight):
    unet, call = ldm_unet(), inputs(2 * F)
    twin = copy.deepcopy(motion)
    merged(motion_attention_layers(twin), matrices_for(motion_attention_layers(motion)), weight)
    before = traces(unet), traces(motion)
    actual = answer(unet, motion, call, weighted(file, f"= {weight}"))
    torch.testing.assert_close(actual, answer(unet, twin, call), atol=3e-4, rtol=3e-4)
    assert (traces(unet), traces(motion)) == before


def test_weight_0_is_no_lora(motion, file):
    unet, call = ldm_unet(), inputs(F)
    torch.testing.assert_close(answer(unet, motion, call, weighted(file, "= 0")), answer(unet, motion, call))


def test_over_sampling_the_weight_is_that_of_the_step(motion, file):
    unet, call = ldm_unet(), inputs(F)
    travelling = weighted(file, "@ 0%: 1, 50%: 0")
    half = answer(unet, motion, call, weighted(file, "= 0.5"))
    torch.testing.assert_close(answer(unet, motion, call, travelling, progress=(1, 4)), half)


@pytest.mark.parametrize("way", ["windows", "views"])
def test_over_frames_every_frame_has_its_own_in_windows_and_in_views(motion, file, way):
    """Frames 0 to 3 have none and frames 4 to 7 all of it, in contexts of four that do not overlap: two clips."""
    unet, call = ldm_unet(), inputs(8)
    context = Context(length=4, overlap=0, closed_loop="N", schedule="static", long_clips=way)
    clip = {"num_frames": 8, "context": context}
    settings = Animation(motion=Motion(loras="zoom = 0 step: 0, 4: 1"), **clip).resolved()
    actual = answer(unet, motion, call, [(file, loras_of(settings)[0])], **clip)
    halves = [[value[rows] for value in call] for rows in (slice(4), slice(4, 8))]
    first = answer(unet, motion, halves[0])
    second = answer(unet, motion, halves[1], weighted(file, "= 1"))
    torch.testing.assert_close(actual, torch.cat([first, second]), atol=3e-4, rtol=3e-4)


@pytest.mark.parametrize("make", [ldm_unet, diffusers_unet])
def test_a_domain_adapter_is_found_in_both_kinds_of_unet(motion, make, tmp_path):
    """One file, in diffusers' names, is in either UNet what it is merged."""
    by_dots = {name.replace(".", "_"): name for name, _ in diffusers_unet().named_modules()}
    unet, call = make(), inputs(2 * F)
    layers = spatial_layers(unet)
    matrices = {by_dots[name]: pair for name, pair in matrices_for(layers, seed=4).items()}
    save_lora(matrices, tmp_path / "adapter.safetensors", dtype=torch.float32)
    file = load_lora(tmp_path / "adapter.safetensors")
    assert file.kind == "domain-adapter"
    actual = answer(unet, motion, call, weighted(file, "= 0.7"))
    merged(layers, matrices_for(layers, seed=4), 0.7)
    torch.testing.assert_close(actual, answer(unet, motion, call), atol=3e-4, rtol=3e-4)


def test_with_two_modules_each_gets_it(file):
    one, other = (random_motion(motion_config("v2"), seed=seed) for seed in (1, 2))
    unet, call = ldm_unet(), inputs(F)
    actual = answer(unet, [(one, 0.5), (other, 0.5)], call, weighted(file, "= 1"))
    for model in (one, other):
        merged(motion_attention_layers(model), matrices_for(motion_attention_layers(model)), 1.0)
    torch.testing.assert_close(actual, answer(unet, [(one, 0.5), (other, 0.5)], call), atol=3e-4, rtol=3e-4)


def test_a_lora_with_a_middle_works_in_a_blend_with_a_module_that_has_none(file):
    """v2 and v3, in either order: the middle gets its part where there is one."""
    v2, v3 = random_motion(motion_config("v2")), random_motion(motion_config("v3"), seed=2)
    unet, call = ldm_unet(), inputs(F)
    one = answer(unet, [(v2, 0.5), (v3, 0.5)], call, weighted(file, "= 1"))
    torch.testing.assert_close(
        answer(unet, [(v3, 0.5), (v2, 0.5)], call, weighted(file, "= 1")), one, atol=3e-4, rtol=3e-4
    )
    for model in (v2, v3):
        layers = motion_attention_layers(model)
        known = matrices_for(motion_attention_layers(v2))
        merged(layers, {name: known[name] for name in layers}, 1.0)
    torch.testing.assert_close(answer(unet, [(v2, 0.5), (v3, 0.5)], call), one, atol=3e-4, rtol=3e-4)


def test_a_module_blended_with_itself_is_one(motion, file):
    unet, call = ldm_unet(), inputs(F)
    alone = answer(unet, motion, call, weighted(file, "= 1"))
    twice = answer(unet, [(motion, 0.25), (motion, 0.75)], call, weighted(file, "= 1"))
    torch.testing.assert_close(twice, alone)


def test_rows_that_were_cut_into_tiles_keep_their_frames_weight(motion):
    """As Hypertile does inside the UNet, between its blocks and their attention."""
    unet, call = ldm_unet(), inputs(2 * F)
    animation = Animation(num_frames=F, context=Context(length=F), motion=Motion(loras="a = 0: 0, 3: 3")).resolved()
    with torch.no_grad(), Session(animation, motion) as session:
        session.attach(unet, device=torch.device("cpu"), dtype=torch.float32)
        unet(*call)
        strength = _over_rows(loras_of(animation)[0], session._injection, lambda: 0.0)
        assert strength(torch.zeros(2 * F, 5, 3)).flatten().tolist() == [0, 1, 2, 3] * 2
        assert strength(torch.zeros(4 * F, 5, 3)).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 2


def test_a_lora_for_images_is_sent_to_the_prompt(motion, tmp_path):
    layers = {name: layer for name, layer in spatial_layers(diffusers_unet()).items() if "attn1_to_q" in name}
    by_dots = {name.replace(".", "_"): name for name, _ in diffusers_unet().named_modules()}
    path = tmp_path / "style.safetensors"
    save_lora({by_dots[name]: pair for name, pair in matrices_for(layers).items()}, path, spelling="webui")
    with pytest.raises(FormatError, match="is a LoRA for images: put it into the prompt"):
        answer(ldm_unet(), motion, inputs(F), weighted(load_lora(path), "= 1"))


def test_a_lora_of_motiondirector_has_feed_forwards_too(motion, tmp_path):
    layers = {name: layer for name, layer in motion_layers(motion).items() if ".ff." in name}
    save_lora(matrices_for(layers), tmp_path / "md.safetensors", dtype=torch.float32)
    unet, call = ldm_unet(), inputs(F)
    twin = copy.deepcopy(motion)
    merged(motion_layers(twin), matrices_for(layers), 1.0)
    actual = answer(unet, motion, call, weighted(load_lora(tmp_path / "md.safetensors"), "= 1"))
    torch.testing.assert_close(actual, answer(unet, twin, call), atol=3e-4, rtol=3e-4)
