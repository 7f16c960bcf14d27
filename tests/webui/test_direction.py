"""Strength, long clips, noise, LoRAs and a second module, as requests ask for them."""

import json
import re

import pytest
import torch

from animatediff_ext.formats import save_lora, save_motion_module
from animatediff_ext.inject import motion_attention_layers
from animatediff_ext.motion import MotionModel
from animatediff_ext.motion_loras import spatial_layers
from tests.models.motion import motion_config, random_motion
from tests.webui.generations import HIRES, same, script
from tests.webui.host import NUM_FRAMES, picture
from tests.webui.test_free_init import noises

pytestmark = pytest.mark.usefixtures("unchanged")
LONG = {"video_length": 6, "batch_size": 4, "overlap": 2}


def own_entry(text):
    found = re.search(r'AnimateDiff settings: (".*?(?<!\\)"|[^,]*)', text)
    return json.loads(found[1]) if found and found[1].startswith('"') else found and found[1]


# ---- strength ----


@pytest.fixture
def stills(host, motion_modules):
    """Frames that know nothing of each other, on the motion module's noise schedule."""
    path = motion_modules / "new.safetensors"
    save_motion_module(MotionModel(motion_config("v2", widths=(32, 32), per_level=1)), path)  # changes nothing yet
    yield lambda **request: host.generate({"model": path.name}, **request).images
    path.unlink()


def test_effect_0_gives_stills(host, stills):
    assert same(host.generate({"motion_effect": 0}).images, stills())


def test_effect_may_travel_over_frames_and_over_sampling(host, stills):
    plain = host.generate({}).images
    assert same(host.generate({"motion_effect": "0: 1, 100%: 1"}).images, plain)
    assert not same(host.generate({"motion_effect": "0: 0, 3: 1"}).images, plain)
    assert same(host.generate({"motion_effect_steps": "0%: 0"}).images, stills())
    half = host.generate({"motion_effect_steps": "0%: 1, 50% step: 0"}, steps=2).images
    assert not same(half, plain)
    assert same(half, host.generate({"motion_end": 0.5}, steps=2).images)


def test_motion_from_the_end_on_is_none(host, stills):
    assert same(host.generate({"motion_start": 1, "motion_end": 1}).images, stills())


@pytest.mark.parametrize(
    ("animation", "words"),
    [
        ({"motion_effect": "much"}, r"Motion effect \(motion_effect\) is 'much'.*0: 0.2, 8 smooth: 1"),
        ({"motion_blocks": "middle: 1"}, r"Effect in blocks \(motion_blocks\) has 'middle: 1'.*down 0: 0.5"),
        ({"motion_start": 0.6, "motion_end": 0.5}, r"from 0.6 until 0.5"),
        ({"motion_loras": "zoom = 1"}, r"There is no LoRA 'zoom' \(motion_loras\)"),
        ({"second_model": "none.safetensors"}, r"'none.safetensors' was not found"),
        ({"second_model": "v1.safetensors"}, r"AnimateDiff v2 and AnimateDiff v1 cannot be blended"),
        ({"batch_size": 40, "video_length": 40}, r"takes at most 32 frames together: set it to at most 32, or choose"),
    ],
)
def test_what_cannot_be_is_said(host, animation, words):
    with pytest.raises(host.error, match=words):
        host.generate(animation)


def test_more_frames_than_positions_when_it_is_said_how(host):
    images = host.generate({"batch_size": 40, "video_length": 40, "motion_positions": "stretch"}, steps=1).images
    assert len(images) == 40


# ---- long clips ----


@pytest.mark.parametrize("way", ["views", "windows"])
def test_long_clips_in_views_and_in_windows(host, way):
    rows = []
    handle = host.unet.middle_block.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0])))
    processed = host.generate({**LONG, "long_clips": way}, cfg_scale=5.0)
    handle.remove()
    assert set(rows) == ({12} if way == "views" else {8})
    assert own_entry(processed.infotexts[0]) == f"long_clips: {way}"


def test_the_way_that_was_chosen_for_the_user_is_in_the_infotext(host, monkeypatch):
    memory = host.webui("generation").Session.__init__.__globals__["memory"]
    for free, way in ((2**40, "views"), (0, "windows"), (None, "windows")):
        monkeypatch.setattr(memory, "free_bytes", lambda _device, free=free: free)
        processed = host.generate(LONG)
        assert own_entry(processed.infotexts[0]) == f"long_clips: {way}"
    assert own_entry(host.generate({}).infotexts[0]) is None


# ---- noise ----


@pytest.mark.parametrize("request_", [{}, {"init_images": [picture()]}, HIRES], ids=["txt2img", "img2img", "hires"])
def test_kinds_of_noise_hold_for_every_pass(host, request_):
    plain, _ = noises(host, LONG, **request_)
    repeated, _ = noises(host, {**LONG, "noise_kind": "repeated"}, **request_)
    shared, _ = noises(host, {**LONG, "noise_kind": "shared"}, **request_)
    for own, again, same_for_all in zip(plain, repeated, shared, strict=True):
        assert torch.equal(again, own[[0, 1, 2, 3, 0, 1]])
        assert torch.equal(same_for_all, own[[0] * 6])


def test_mixed_noise_is_partly_the_same(host):
    (own,), _ = noises(host, {})
    (mixed,), _ = noises(host, {"noise_kind": "mixed", "noise_share": 0.75})
    common = mixed - 0.25**0.5 * own
    torch.testing.assert_close(common, common[:1].expand_as(common))
    assert common.std() > 0.3


def test_what_is_drawn_later_is_of_the_same_kind(host):
    module = host.module("rng")
    animation = host.webui("arguments").parse([{"enable": True, "noise_kind": "shared"}], is_img2img=False)[0]
    generator = host.webui("noise").directed(module.ImageRNG((4, 2, 2), [1, 2, 3]), animation.resolved(3))
    alone = module.ImageRNG((4, 2, 2), [1])
    for _ in range(3):
        drawn = generator.next()
        assert torch.equal(drawn, alone.next().expand(3, -1, -1, -1))


def test_free_init_refines_noise_of_a_kind(host):
    free_init = {"freeinit_enable": True, "freeinit_iters": 2}
    rounds, _ = noises(host, {**LONG, **free_init, "noise_kind": "repeated"})
    (plain,), _ = noises(host, LONG)
    assert torch.equal(rounds[0], plain[[0, 1, 2, 3, 0, 1]])
    assert not torch.equal(rounds[1], rounds[1][[0, 1, 2, 3, 0, 1]]), "its low frequencies are those of a clip"


def test_coarse_to_fine_rounds_take_fewer_steps(host):
    seen = []
    host.callbacks.on_cfg_denoiser(lambda params: seen.append(params.denoiser.total_steps))
    host.generate({"freeinit_enable": True, "freeinit_iters": 3, "freeinit_coarse": True}, steps=6)
    assert seen == [2] * 2 + [4] * 4 + [6] * 6


def test_samplers_that_draw_by_seed_get_the_seeds_of_the_kind(host):
    """DPM++ SDE makes its noise from ``p.all_seeds``."""
    seen = []
    watch = script(host, process_before_every_sampling=lambda p, *a, **k: seen.append(list(p.all_seeds)))
    p = host.p({**LONG, "noise_kind": "repeated"}, scripts=[watch], n_iter=2)
    host.run(p)
    seeds = list(range(7, 19))
    assert seen == [[7, 8, 9, 10, 7, 8, *seeds[6:]], [*seeds[:6], 13, 14, 15, 16, 13, 14]]
    assert p.all_seeds == seeds


def test_coarse_rounds_edit_prompts_at_the_same_share_of_their_steps(host):
    """[a:b:0.5] in rounds of 2, 4 and 6 steps: b after steps 2, 3 and 4, as the WebUI counts."""
    seen = []
    host.callbacks.on_cfg_denoiser(lambda params: seen.append(params.text_cond[0].clone()))
    coarse = {"freeinit_enable": True, "freeinit_iters": 3, "freeinit_coarse": True}
    host.generate(coarse, steps=6, prompt="a [cat:dog:0.5]")
    cat, dog = seen[0], seen[-1]
    assert not torch.equal(cat, dog)
    expected = [cat] * 2 + [cat] * 3 + [dog] + [cat] * 4 + [dog] * 2
    assert [torch.equal(one, dog) for one in seen] == [one is dog for one in expected]


# ---- LoRAs and a second module ----


@pytest.fixture
def lora_file(motion_modules, tmp_path, host):
    """A motion LoRA in its official spelling, in the folder of LoRAs."""
    motion = MotionModel(motion_config("v2", widths=(32, 32), per_level=1))
    random = torch.Generator().manual_seed(3)
    matrices = {
        name: (torch.randn(2, layer.num_in, generator=random), torch.randn(layer.num_out, 2, generator=random))
        for name, layer in motion_attention_layers(motion).items()
    }
    host.shared.cmd_opts.lora_dir = str(tmp_path / "Lora")
    (tmp_path / "Lora").mkdir()
    save_lora(matrices, tmp_path / "Lora" / "zoom.safetensors")
    yield tmp_path / "Lora" / "zoom.safetensors"
    host.shared.cmd_opts.lora_dir = None


def test_a_motion_lora_works_by_its_tag_and_by_the_list(host, lora_file):
    plain = host.generate({}).images
    by_tag = host.generate({}, prompt="a cat <lora:zoom:0.5>")
    assert not same(by_tag.images, plain)
    assert same(by_tag.images, host.generate({"motion_loras": "zoom = 0.5"}).images)
    assert same(host.generate({}, prompt="a cat <lora:zoom:0>").images, plain)
    assert same(host.generate({}).images, plain)


def test_the_webui_is_not_told_of_a_lora_that_is_ours(host, lora_file):
    p = host.p({}, prompt="a cat <lora:zoom:0.5><lora:other:1>")
    host.run(p)
    assert [params.items[0] for params in p.extra_network_data["lora"]] == ["other"]


def test_the_other_name_of_loras_is_one_too(host, lora_file):
    by_tag = host.generate({}, prompt="a cat <lora:zoom:0.5>").images
    assert same(host.generate({}, prompt="a cat <lyco:zoom:0.5>").images, by_tag)


def test_a_weight_that_is_none_is_one_sentence(host, lora_file):
    with pytest.raises(host.error, match="The weight of <lora:zoom> is 'abc'"):
        host.generate({}, prompt="a cat <lora:zoom:abc>")
    with pytest.raises(host.error, match=r"The weight of zoom \(motion_loras\) is 'abc'"):
        host.generate({"motion_loras": "zoom = abc"})


def test_a_motion_lora_of_the_hires_prompt_alone_is_pointed_out(host, lora_file):
    p = host.p({}, hr_prompt="a cat <lora:zoom:1>", **HIRES)
    assert "Motion LoRAs of the hires prompt are ignored" in host.run(p).comments


def test_images_loras_are_not_read(host, lora_file, monkeypatch):
    matrices = {"down_blocks.0.attentions.0.proj_in": (torch.zeros(2, 4), torch.zeros(4, 2))}
    save_lora(matrices, lora_file.with_name("style.safetensors"), spelling="webui")
    monkeypatch.setattr(host.webui("loras"), "load_lora", None)
    p = host.p({}, prompt="a cat <lora:style:1>")
    host.run(p)
    assert [params.items[0] for params in p.extra_network_data["lora"]] == ["style"]


def test_with_animatediff_off_the_webui_is_told_of_all(host, lora_file):
    p = host.p(None, prompt="a cat <lora:zoom:0.5>")
    host.run(p)
    assert [params.items[0] for params in p.extra_network_data["lora"]] == ["zoom"]


def test_its_weight_may_travel(host, lora_file):
    constant, plain = host.generate({"motion_loras": "zoom = 1"}).images, host.generate({}).images
    assert same(host.generate({"motion_loras": "zoom = 0: 1, 100%: 1"}).images, constant)
    over_frames = host.generate({"motion_loras": "zoom = 0: 0, 100%: 1"}).images
    assert not same(over_frames, constant)
    assert not same(over_frames, plain)
    assert same(host.generate({"motion_loras": "zoom @ 0%: 0"}).images, plain)
    assert not same(host.generate({"motion_loras": "zoom @ 0%: 1, 50% step: 0"}).images, constant)


def test_a_domain_adapter_works_in_the_webuis_unet(host, lora_file):
    layers, matrices = spatial_layers(host.unet), {}
    assert layers, "the host's UNet has attention"
    for name, layer in layers.items():
        dotted = name.replace("_attentions_", ".attentions.").replace("_to_", ".to_").replace("to_out_0", "to_out.0")
        random = torch.Generator().manual_seed(1)
        matrices[dotted] = (
            torch.randn(2, layer.num_in, generator=random),
            torch.randn(layer.num_out, 2, generator=random),
        )
    save_lora(matrices, lora_file.with_name("adapter.safetensors"))
    plain = host.generate({}).images
    assert not same(host.generate({}, prompt="a cat <lora:adapter:1>").images, plain)


def test_two_modules_are_blended(host, motion_modules):
    other = motion_modules / "v2 other.safetensors"
    save_motion_module(random_motion(motion_config("v2", widths=(32, 32), per_level=1), seed=5), other)
    try:
        first, second = (host.generate({"model": name}).images for name in ("v2.safetensors", other.name))
        blend = {"second_model": other.name}
        assert same(host.generate({**blend, "second_model_share": 0}).images, first)
        assert same(host.generate({**blend, "second_model_share": 1}).images, second)
        both = host.generate({**blend, "second_model_share": 0.5}).images
        assert not same(both, first)
        assert not same(both, second)
    finally:
        other.unlink()


# ---- families ----


def test_what_cannot_work_with_a_family_is_said(host, motion_modules):
    lightning = motion_modules / "animatediff_lightning_4step_comfyui.safetensors"
    save_motion_module(random_motion(motion_config("lightning", widths=(32, 32), per_level=1)), lightning)
    try:
        said = host.generate({"model": lightning.name}, steps=3, cfg_scale=7.0).comments
    finally:
        lightning.unlink()
    assert "the sampler is Euler, but it needs Euler SGM Uniform" in said
    assert "CFG is 7, but above 1.5" in said
    assert "there are 3 steps, but it was made for 1, 2, 4, 8" in said


def test_the_number_of_frames_is_still_what_was_asked(host):
    assert len(host.generate({}).images) == NUM_FRAMES
