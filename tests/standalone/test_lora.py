"""LoRAs in a whole model: as merged weights would be, and gone afterwards."""

import copy
import re

import pytest
import torch
from safetensors.torch import save_file

from animatediff_ext.formats import FormatError, save_lora
from animatediff_ext.inject import motion_attention_layers
from animatediff_ext.motion_loras import placed
from animatediff_ext.params import Animation
from animatediff_ext.standalone import animate
from animatediff_ext.standalone.lora import layers_of, load_whole_lora, loras_added
from animatediff_ext.standalone.lora_names import from_ldm
from tests.models.motion import motion_config, random_motion
from tests.models.spatial import WIDTHS, ldm_unet_tensors

RANK = 2
CPU = torch.device("cpu")
# At fewer pixels the lowest level has one place, and group norms of two numbers make much of rounding.
SIZE = {"width": 128, "height": 128, "num_steps": 1, "cfg": 2.0, "prompt": "cat", "negative": "dog"}
FAMILY = {"SD 1.5": "v2", "SDXL": "sdxl-beta"}


def motion_for(spatial, family=None):
    return random_motion(motion_config(family or FAMILY[spatial.base], widths=WIDTHS[spatial.base], num_positions=16))


def parts_of(spatial):
    """The parts of a model with kohya's prefixes and diffusers'."""
    first = "lora_te" if spatial.base == "SD 1.5" else "lora_te1"
    prefixes = [("lora_unet", "unet"), (first, "text_encoder"), ("lora_te2", "text_encoder_2")]
    return zip([spatial.unet, *spatial.text_encoders], prefixes, strict=False)


def weights_of(model):
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, kinds)}


def random_pair(weight, random):
    """down and up of a LoCon: a convolution's up is one of 1×1."""
    down = 0.5 * torch.randn(RANK, *weight.shape[1:], generator=random) / weight[0].numel() ** 0.5
    up = 0.5 * torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2), generator=random)
    return down, up


def product(down, up):
    return (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:])


def kohya(spatial, random):
    """Tensors of a file, and what is to be added to each weight: alpha is 1, so half of the product."""
    tensors, deltas = {}, []
    for model, (prefix, _) in parts_of(spatial):
        added = {}
        for name, weight in weights_of(model).items():
            down, up = random_pair(weight, random)
            stem = f"{prefix}_{name.replace('.', '_')}"
            tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            tensors[f"{stem}.alpha"] = torch.tensor(1.0)
            added[name] = product(down, up) / RANK
        deltas.append(added)
    return tensors, deltas


def diffusers(spatial, random, linear=("lora_A", "lora_B")):
    tensors, deltas = {}, []
    for model, (_, prefix) in parts_of(spatial):
        added = {}
        for name, weight in weights_of(model).items():
            if re.search(r"attn\d?\.\w+_?(q|k|v|out)", name) and weight.ndim == 2:
                down, up = random_pair(weight, random)
                tensors |= {f"{prefix}.{name}.{linear[0]}.weight": down, f"{prefix}.{name}.{linear[1]}.weight": up}
                added[name] = product(down, up)
        deltas.append(added)
    return tensors, deltas


def ldm(spatial, random):
    """The UNet under LDM's names, as sd-scripts writes LoRAs for SDXL."""
    flat_names = {tensor.data_ptr(): name for name, tensor in ldm_unet_tensors(spatial.unet).items()}
    tensors, added = {}, {}
    for name, weight in weights_of(spatial.unet).items():
        down, up = random_pair(weight, random)
        stem = "lora_unet_" + flat_names[weight.data_ptr()].removesuffix(".weight").replace(".", "_")
        tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        added[name] = product(down, up)
    return tensors, [added]


def old_diffusers(spatial, random):
    return diffusers(spatial, random, linear=("lora.down", "lora.up"))


def merged(spatial, deltas, strength):
    """A copy of the model with other weights."""
    other = copy.copy(spatial)
    other.unet, *encoders = (copy.deepcopy(model) for model in (spatial.unet, *spatial.text_encoders))
    other.text_encoders = tuple(encoders)
    for model, added in zip((other.unet, *encoders), deltas, strict=False):
        for name, delta in added.items():
            model.get_submodule(name).weight += strength * delta
    return other


def clip(spatial, motion, loras=(), **how):
    how = {"animation": Animation(num_frames=2), "seed": 3} | SIZE | how
    with loras_added(spatial, motion, loras, device=CPU):
        return animate(spatial, motion, **how)


def assert_same_effect(actual, expected, plain):
    """Within a hundredth of what the LoRA changes."""
    effect = (expected - plain).abs().max().item()
    assert effect > 1e-3 * plain.abs().max()
    torch.testing.assert_close(actual - plain, expected - plain, rtol=0, atol=0.01 * effect)


def hooks_of(spatial, motion):
    models = [spatial.unet, *spatial.text_encoders, motion]
    return sum(len(module._forward_hooks) for model in models for module in model.modules())


@pytest.mark.parametrize("spelling", [kohya, diffusers, old_diffusers, ldm])
def test_a_lora_does_what_merged_weights_do_at_any_strength_and_nothing_at_0(spelling, spatial, tmp_path):
    motion = motion_for(spatial)
    tensors, deltas = spelling(spatial, torch.Generator().manual_seed(0))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "a.safetensors")
    lora = load_whole_lora(tmp_path / "a.safetensors")
    plain = clip(spatial, motion)
    torch.testing.assert_close(clip(spatial, motion, [(lora, 0.0)]), plain, rtol=0, atol=0)
    for strength in (1.0, -0.5):
        expected = clip(merged(spatial, deltas, strength), motion)
        assert_same_effect(clip(spatial, motion, [(lora, strength)]), expected, plain)
    torch.testing.assert_close(clip(spatial, motion), plain, rtol=0, atol=0)
    assert not hooks_of(spatial, motion)


def test_every_layer_of_a_unet_has_a_name_of_ldm(spatial):
    """Those of attention blocks are turned into diffusers' by `load_lora`."""
    names = from_ldm(spatial.unet)
    theirs = {tensor.data_ptr(): name for name, tensor in ldm_unet_tensors(spatial.unet).items()}
    for name, weight in weights_of(spatial.unet).items():
        flat = theirs[weight.data_ptr()].removesuffix(".weight").replace(".", "_")
        if ".attentions." not in name:
            assert names[flat] == name


def test_two_loras_add_up(loaded, tmp_path):
    spatial = loaded["SD 1.5"]
    motion, deltas, loras = motion_for(spatial), [], []
    for i, strength in enumerate((1.0, 0.5)):
        tensors, delta = kohya(spatial, torch.Generator().manual_seed(i))
        save_file(tensors, tmp_path / f"{i}.safetensors")
        loras.append((load_whole_lora(tmp_path / f"{i}.safetensors"), strength))
        deltas.append((delta, strength))
    expected = spatial
    for delta, strength in deltas:
        expected = merged(expected, delta, strength)
    assert_same_effect(clip(spatial, motion, loras), clip(expected, motion), clip(spatial, motion))


@pytest.mark.parametrize("family", ["v2", "v3"])
def test_a_motion_lora_does_what_merged_motion_weights_do(family, loaded, tmp_path):
    """That of v2 works on v3, which has no middle block, without the part for it."""
    spatial, random = loaded["SD 1.5"], torch.Generator().manual_seed(0)
    pairs = {}
    for name, layer in motion_attention_layers(motion_for(spatial, "v2")).items():
        pairs[name] = (
            0.1 * torch.randn(RANK, layer.num_in, generator=random),
            torch.randn(layer.num_out, RANK, generator=random),
        )
    save_lora(pairs, tmp_path / "zoom.safetensors", dtype=torch.float32)
    motion, other = motion_for(spatial, family), motion_for(spatial, family)
    for name, layer in motion_attention_layers(other).items():
        size = layer.num_out
        down, up = pairs[name]
        layer.module.weight[layer.part * size : (layer.part + 1) * size] += 0.7 * (up @ down)
    actual = clip(spatial, motion, [(load_whole_lora(tmp_path / "zoom.safetensors"), 0.7)])
    assert_same_effect(actual, clip(spatial, other), clip(spatial, motion))


def text_only(spatial, random):
    tensors, _ = kohya(spatial, random)
    return {name: tensor for name, tensor in tensors.items() if name.startswith("lora_te")}


def test_a_lora_for_the_text_encoder_alone_changes_the_clip(spatial, tmp_path):
    save_file(text_only(spatial, torch.Generator().manual_seed(0)), tmp_path / "a.safetensors")
    lora = load_whole_lora(tmp_path / "a.safetensors")
    motion = motion_for(spatial)
    assert (clip(spatial, motion, [(lora, 1.0)]) - clip(spatial, motion)).abs().max() > 1e-3


def test_layers_that_are_not_here_are_counted_in_one_sentence(loaded, tmp_path):
    tensors, _ = kohya(loaded["SD 1.5"], torch.Generator().manual_seed(0))
    for i in range(2):
        stem = f"lora_unet_down_blocks_7_attentions_{i}_proj_in"
        tensors |= {f"{stem}.lora_down.weight": torch.ones(1, 4), f"{stem}.lora_up.weight": torch.ones(4, 1)}
    save_file(tensors, tmp_path / "a.safetensors")
    sentences = []
    lora = load_whole_lora(tmp_path / "a.safetensors")
    with loras_added(loaded["SD 1.5"], None, [(lora, 1.0)], device=CPU, warn=sentences.append):
        pass
    num_layers = len(layers_of(loaded["SD 1.5"], None))
    assert sentences == [
        f"a.safetensors: 2 of its {num_layers + 2} layers, down_blocks_7_attentions_0_proj_in among them, are not in "
        "this model and have no effect."
    ]


def test_a_lora_that_does_not_fit_says_so(loaded, tmp_path):
    sd15, sdxl = loaded["SD 1.5"], loaded["SDXL"]
    tensors, _ = kohya(sdxl, torch.Generator().manual_seed(0))
    save_file(tensors, tmp_path / "xl.safetensors")
    save_file(text_only(sdxl, torch.Generator()), tmp_path / "words.safetensors")
    save_file(
        {"lora_unet_x.lora_down.weight": torch.ones(1, 4), "lora_unet_x.lora_up.weight": torch.ones(4, 1)},
        tmp_path / "x.safetensors",
    )
    for name, sentence in (("xl", "was made for another model"), ("x", "was made for another kind of model: none of")):
        with (
            pytest.raises(FormatError, match=sentence) as caught,
            loras_added(sd15, None, [(load_whole_lora(tmp_path / f"{name}.safetensors"), 1.0)], device=CPU),
        ):
            pass
        assert "\n" not in str(caught.value)
    assert not hooks_of(sd15, sd15.vae)


def test_a_motion_lora_without_a_motion_module_says_so(loaded, tmp_path):
    motion = motion_for(loaded["SD 1.5"])
    pairs = {n: (torch.ones(1, x.num_in), torch.ones(x.num_out, 1)) for n, x in motion_attention_layers(motion).items()}
    save_lora(pairs, tmp_path / "zoom.safetensors")
    lora = load_whole_lora(tmp_path / "zoom.safetensors")
    with (
        pytest.raises(FormatError, match=r"is a motion LoRA, but there is no motion module: give --motion-module too"),
        loras_added(loaded["SD 1.5"], None, [(lora, 1.0)], device=CPU),
    ):
        pass


def test_what_is_no_plain_lora_says_so(tmp_path):
    tensors = {"lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a": torch.ones(2, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match=r"LyCORIS .* are not supported"):
        load_whole_lora(tmp_path / "a.safetensors")


def test_alpha_and_pefts_scale_are_read_for_text_encoders(tmp_path):
    stem = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    tensors = {f"{stem}.lora_A.weight": torch.ones(2, 3), f"{stem}.lora_B.weight": torch.ones(4, 2)}
    for settings, scale in (("{}", 1.0), ('{"text_encoder.lora_alpha": 8}', 4.0)):
        save_file(tensors, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": settings})
        ((name, (_, up)),) = load_whole_lora(tmp_path / "a.safetensors").matrices.items()
        assert name == stem.replace(".", "_")
        assert up.unique().tolist() == [scale]


def test_half_precision_keeps_small_scales(loaded, tmp_path):
    """alpha / rank of 1/128 on small matrices is nothing in float16, if it is not spread over both."""
    down, up = torch.full((2, 4), 1.0), torch.full((4, 2), 3e-8)
    a, b = placed((down, up), CPU, torch.float16)
    torch.testing.assert_close(b.float() @ a.float(), up @ down, rtol=2e-3, atol=0)
