"""Directing the motion with no WebUI: noise, rounds, long clips, LoRAs and a second module."""

import numpy as np
import pytest
import torch

from animatediff_ext.__main__ import main
from animatediff_ext.formats import load_motion_module, save_lora, save_motion_module
from animatediff_ext.inject import motion_attention_layers
from animatediff_ext.media import read_comment, read_frames
from animatediff_ext.params import Animation, Context, FreeInit, Noise
from animatediff_ext.standalone.sampling import animate, frames_noise
from tests.models.motion import motion_config, random_motion
from tests.models.spatial import WIDTHS

SIZE = {"width": 32, "height": 32, "num_steps": 3, "cfg": 1}
SHAPE = (4, 4, 4)


def animation(kind="independent", num_frames=10, **noise):
    context = Context(length=4, overlap=2)
    return Animation(num_frames=num_frames, context=context, noise=Noise(kind=kind, **noise)).resolved()


def drawn(generators):
    return torch.stack([torch.randn(SHAPE, generator=generator) for generator in generators])


@pytest.mark.parametrize("kind", ["shared", "repeated", "FreeNoise"])
def test_first_noise_and_what_samplers_draw_follow_one_rule(kind):
    own, generators = frames_noise(animation(), 3, SHAPE)
    plain = drawn(generators)
    noise, generators = frames_noise(animation(kind), 3, SHAPE)
    source = [int((own.flatten(1) == frame.flatten()).all(dim=1).nonzero()) for frame in noise]
    assert set(source) <= set(range(4))
    assert torch.equal(drawn(generators), plain[source])


def test_mixed_noise_has_a_common_part():
    own = frames_noise(animation(), 3, SHAPE)[0]
    mixed = frames_noise(animation("mixed", share=0.64), 3, SHAPE)[0]
    common = mixed - 0.6 * own
    torch.testing.assert_close(common, common[:1].expand_as(common))


def test_a_clip_of_shared_noise_is_one_picture_without_a_module(loaded):
    frames = animate(loaded["SD 1.5"], None, prompt="cat", animation=animation("shared", 3), sampler="Euler a", **SIZE)
    torch.testing.assert_close(frames, frames[:1].expand_as(frames), rtol=1e-4, atol=1e-4)


def test_rounds_from_coarse_to_fine_take_more_and_more_steps(loaded):
    seen = []
    free_init = FreeInit(enabled=True, num_iterations=3, coarse_to_fine=True)
    clip = Animation(num_frames=2, free_init=free_init)
    how = SIZE | {"num_steps": 6}
    animate(loaded["SD 1.5"], None, prompt="cat", animation=clip, on_step=lambda *count: seen.append(count), **how)
    assert seen == [(i, 2 + 4 + 6) for i in range(1, 13)]


# ---- the command ----


@pytest.fixture
def least(models, motion_file, tmp_path):
    files = ["--checkpoint", models["SD 1.5"][1], "--motion-module", motion_file]
    how = ["--size", "32x32", "--frames", 6, "--steps", 2, "--cfg", 1, "--format", "gif,txt"]
    return [*files, *how, "--set", "batch_size=4", "--output", tmp_path / "out"]


def generated(least, tmp_path, name, *settings):
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["generate", *map(str, least), "--name", name, *words]) == 0
    path = tmp_path / "out" / f"{name}.gif"
    return np.stack(list(read_frames(path))).tobytes(), read_comment(path)


def test_what_was_chosen_for_a_long_clip_is_in_its_infotext(least, tmp_path, monkeypatch):
    for free, way in ((2**40, "views"), (0, "windows")):
        monkeypatch.setattr("animatediff_ext.inject.memory.free_bytes", lambda _device, free=free: free)
        assert f"long_clips: {way}" in generated(least, tmp_path, way)[1]


def test_settings_that_cannot_be_are_one_sentence(least, capsys):
    for setting, words in (
        ("motion_effect=much", "Motion effect (motion_effect) is 'much'"),
        ("motion_loras=nowhere.safetensors = 1", "nowhere.safetensors"),
        ("second_model=nowhere.safetensors", "nowhere.safetensors"),
    ):
        assert main(["generate", *map(str, least), "--set", setting]) == 1
        assert words in capsys.readouterr().err


def test_loras_whose_weights_travel_and_a_second_module(least, tmp_path, motion_file, capsys):
    motion = load_motion_module(motion_file)
    random = torch.Generator().manual_seed(3)
    matrices = {
        name: (torch.randn(2, layer.num_in, generator=random), torch.randn(layer.num_out, 2, generator=random))
        for name, layer in motion_attention_layers(motion).items()
    }
    save_lora(matrices, tmp_path / "zoom.safetensors")
    other = random_motion(motion_config("v2", widths=WIDTHS["SD 1.5"], num_positions=16), seed=9)
    save_motion_module(other, tmp_path / "other.safetensors")
    zoom = f"motion_loras={tmp_path / 'zoom.safetensors'}"
    second = [f"second_model={tmp_path / 'other.safetensors'}", "second_model_share=0.4"]
    made = {
        name: generated(least, tmp_path, name, *settings)[0]
        for name, settings in {
            "plain": [],
            "constant": [f"{zoom} = 1"],
            "travelling": [f"{zoom} = 0: 0, 100%: 1"],
            "second": second,
            "both": [*second, f"{zoom} @ 0%: 1, 50%: 0"],
        }.items()
    }
    assert len(set(made.values())) == len(made)


def test_a_second_module_that_counts_alone_brings_its_own_noise(least, tmp_path):
    """Modules of v2 and AnimateLCM know other noise and cannot be blended, but one of them may count nothing."""
    lcm = random_motion(motion_config("animatelcm", widths=WIDTHS["SD 1.5"], num_positions=16), seed=9)
    save_motion_module(lcm, tmp_path / "lcm.safetensors")
    alone = [*least, "--motion-module", tmp_path / "lcm.safetensors"]
    second = [f"second_model={tmp_path / 'lcm.safetensors'}", "second_model_share=1"]
    assert generated(alone, tmp_path, "alone")[0] == generated(least, tmp_path, "second", *second)[0]


def test_a_sampler_that_cannot_work_with_the_family_is_said(models, tmp_path, capsys):
    motion = random_motion(motion_config("animatelcm", widths=WIDTHS["SD 1.5"]))
    save_motion_module(motion, tmp_path / "AnimateLCM_sd15_t2v.safetensors", metadata={"family": "animatelcm"})
    words = ["--checkpoint", models["SD 1.5"][1], "--motion-module", tmp_path / "AnimateLCM_sd15_t2v.safetensors"]
    how = ["--size", "32x32", "--frames", 2, "--steps", 2, "--cfg", 7, "--format", "txt", "--output", tmp_path / "out"]
    assert main(["generate", *map(str, [*words, *how])]) == 0
    error = capsys.readouterr().err
    assert "AnimateLCM: the sampler is DDIM, but it needs LCM." in error
    assert "CFG is 7, but above 2.5" in error
