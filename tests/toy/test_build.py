"""The toy world is made in parts that go on where they stopped, and its files are like any other's."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from einops import rearrange
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from animatediff_ext.formats import describe, load_motion_module
from animatediff_ext.params import Animation
from animatediff_ext.standalone import load_spatial_model
from animatediff_ext.toy import build as build_module
from animatediff_ext.toy import fit as fit_module
from animatediff_ext.toy.abreast import beside
from animatediff_ext.toy.build import Recipe, build
from animatediff_ext.toy.checkpoint import write_checkpoint
from animatediff_ext.toy.files import ADAPTER, BASE, CHALK, DUSK, FILES, MOTION, ZOOM
from animatediff_ext.toy.fit import Plan, fit
from animatediff_ext.toy.install import install
from animatediff_ext.toy.learn_vae import as_pixels, training_pictures, whiten
from animatediff_ext.toy.networks import LATENT_SCALE, SCHEDULE, WIDTH, new_vae
from animatediff_ext.toy.studio import Studio
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.state import PROCESSES, load_state, states_folder, states_in

FEW = Plan(num_steps=2, lr=1e-3)
TINY = Recipe(
    vae=FEW,
    decoder=FEW,
    num_pictures=64,
    base=Plan(num_steps=2, lr=1e-3, ema=0.5),
    dusk=FEW,
    num_videos=4,
    num_zooms=4,
    num_chalks=16,
    adapter_steps=1,
    motion_steps=1,
    zoom_steps=1,
    chalk_steps=1,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, worker_id):
    """A toy world that has learnt next to nothing, once for the processes of pytest-xdist: do not change it."""
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "toy world"
    with FileLock(f"{folder}.lock", timeout=200):
        build(TINY, folder / "work", folder / "toy", say=lambda _: None)  # what is there is not made again
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """A toy world that may be changed, with what its building left."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_every_file_is_made(made):
    assert all((made / "toy" / name).is_file() for name in FILES)
    assert not list((made / "toy").rglob("*.part"))


def test_what_is_there_is_not_made_again(made):
    before = {path: path.stat().st_mtime_ns for path in (made / "toy").glob("*.safetensors")}
    build(TINY, made / "work", made / "toy")
    assert before == {path: path.stat().st_mtime_ns for path in (made / "toy").glob("*.safetensors")}


def test_only_what_is_missing_is_made_and_it_is_the_same(copied):
    """Also where its training has long been finished."""
    paths = [copied / "toy" / name for name in (DUSK, MOTION)]
    before = [load_file(path) for path in paths]
    for path in paths:
        path.unlink()
    build(TINY, copied / "work", copied / "toy", say=lambda _: None)
    for one, path in zip(before, paths, strict=True):
        again = load_file(path)
        assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())


def test_what_was_made_for_another_base_is_made_again(made, tmp_path):
    shutil.copytree(made / "toy", tmp_path / "toy")
    tensors = load_file(tmp_path / "toy" / BASE)
    name = "model.diffusion_model.out.2.bias"
    save_file(tensors | {name: tensors[name] + 1}, tmp_path / "toy" / BASE)
    made_again = []
    build(TINY, tmp_path / "work", tmp_path / "toy", say=made_again.append)
    assert [path.rpartition("/")[2] for path in made_again] == [DUSK, ADAPTER, MOTION, ZOOM, CHALK]


def test_a_stage_that_is_stopped_is_not_taken_for_finished(made, tmp_path, monkeypatch):
    shutil.copytree(made / "toy", tmp_path / "toy")
    (tmp_path / "toy" / MOTION).unlink()
    monkeypatch.setattr(build_module, "train", lambda *_, **__: [])
    with pytest.raises(TrainError, match="goes on with it"):
        build(TINY, tmp_path / "work", tmp_path / "toy", say=lambda _: None)
    assert not (tmp_path / "toy" / MOTION).exists()


def test_a_stage_is_trained_by_several_processes(copied):
    (copied / "toy" / MOTION).unlink()
    build(replace(TINY, motion_steps=2), copied / "work", copied / "toy", say=lambda _: None, num_processes=2)
    assert describe(copied / "toy" / MOTION).kind == "motion-module"
    (run,) = (copied / "work").glob("motion-*-2")
    state = load_state(states_in(states_folder(run))[-1])
    assert (state["step"], state["config"][PROCESSES], state["config"]["sample.batch"]) == (2, 2, 2)


def test_a_batch_that_cannot_be_shared_is_refused(copied):
    (copied / "toy" / MOTION).unlink()
    with pytest.raises(TrainError, match="3 processes cannot share a batch of 4"):
        build(replace(TINY, motion_steps=2), copied / "work", copied / "toy", num_processes=3)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_job_is_done_beside_another(tmp_path, num_processes):
    with beside(os.mkdir, tmp_path / "made", num_processes=num_processes):
        pass
    assert (tmp_path / "made").is_dir()
    with pytest.raises(FileExistsError), beside(os.mkdir, tmp_path / "made", num_processes=num_processes):
        pass


def test_its_image_models_are_checkpoints_of_sd_15s_layout(made):
    spatial = load_spatial_model(made / "toy" / BASE)
    assert (spatial.base, spatial.prediction, spatial.vae_factor) == ("SD 1.5", "v", 8)
    assert spatial.latent_scale == LATENT_SCALE
    assert len(spatial.unet.down_blocks) == 4
    assert spatial.encode_text(["a red circle moving left"]).tokens.shape == (1, 77, WIDTH)
    names = load_file(made / "toy" / BASE)
    assert {name.split(".")[2] for name in names if ".input_blocks." in name} == {"input_blocks"}
    assert len({name.split(".")[3] for name in names if ".input_blocks." in name}) == 12
    assert len({name.split(".")[3] for name in names if ".output_blocks." in name}) == 12


def test_a_checkpoint_is_what_was_learnt_but_for_halves(made, tmp_path):
    """Names go to LDM's by our rule and come back by diffusers' converters."""
    spatial = load_spatial_model(made / "toy" / BASE)
    path = write_checkpoint(tmp_path / BASE, spatial.unet, spatial.vae, spatial.text_encoders[0])
    first, again = load_file(made / "toy" / BASE), load_file(path)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert path.with_suffix(".yaml").read_text() == (made / "toy" / BASE).with_suffix(".yaml").read_text()
    learnt = load_file(made / "work" / "vae-sharp.safetensors")
    for name, tensor in spatial.vae.state_dict().items():
        torch.testing.assert_close(tensor, learnt[name], rtol=1e-3, atol=1e-5)


def test_dusk_is_another_unet_with_the_same_vae_and_text_encoder(made):
    base, dusk = (load_file(made / "toy" / name) for name in (BASE, DUSK))
    assert base.keys() == dusk.keys()
    changed = {name for name in base if not torch.equal(base[name], dusk[name])}
    assert changed
    assert all(name.startswith("model.diffusion_model.") for name in changed)


def test_its_motion_module_and_loras_are_told_for_what_they_are(made):
    motion = load_motion_module(made / "toy" / MOTION)
    assert motion.config.family.name == "v3"
    assert motion.config.family.schedule == SCHEDULE == load_spatial_model(made / "toy" / BASE).schedule
    assert describe(made / "toy" / ZOOM).kind == "motion-lora"
    assert describe(made / "toy" / CHALK).kind == "lora"


def test_a_clip_can_be_made_of_them_all_together(made):
    studio = Studio(made / "toy")
    how = {"num_steps": 2, "animation": Animation(num_frames=3)}
    clip = studio.clip(DUSK, MOTION, "a red circle", 1, loras=[(CHALK, 0.5), (ZOOM, 1.0)], **how)
    assert clip.shape == (3, 64, 64, 3)
    assert clip.dtype == np.uint8


def test_installing_copies_the_files_where_a_webui_looks(made, tmp_path):
    (tmp_path / "models/Stable-diffusion").mkdir(parents=True)
    (tmp_path / "extensions/ours/animatediff_ext").mkdir(parents=True)
    files = list(install(made / "toy", tmp_path))
    assert tmp_path / "extensions/ours/model" / MOTION in files
    assert all(path.is_file() for path in files)
    assert {path.name for path in files} >= {BASE, DUSK, MOTION, CHALK, ZOOM}
    description = yaml.safe_load((tmp_path / "models/Stable-diffusion" / BASE).with_suffix(".yaml").read_text())
    version = description["model"]["params"]["cond_stage_config"]["params"]["version"]
    assert version == str((made / "toy" / "clip").resolve())
    spatial = load_spatial_model(tmp_path / "models/Stable-diffusion" / BASE)
    assert spatial.encode_text(["a red circle"]).tokens.shape == (1, 77, WIDTH)


def test_installing_where_no_webui_is_says_so(made, tmp_path):
    with pytest.raises(FileNotFoundError, match="give the folder of a Stable Diffusion WebUI"):
        list(install(made / "toy", tmp_path))
    (tmp_path / "models/Stable-diffusion").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="install this one there first"):
        list(install(made / "toy", tmp_path))


def test_whitened_latents_have_unit_covariance_and_the_vae_is_what_it_was():
    torch.manual_seed(0)
    vae = new_vae().eval()
    pictures = torch.cat([training_pictures(0, i) for i in range(8)])
    with torch.no_grad():
        before = vae.encode(pictures).latent_dist
        decoded = vae.decode(before.mean).sample
        whiten(vae, pictures)
        after = vae.encode(pictures).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, decoded, rtol=1e-3, atol=1e-4)
    latents = rearrange(after.mean * LATENT_SCALE, "b c h w -> c (b h w)")
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(latents.cov(), torch.eye(4), rtol=0, atol=1e-2)
    assert after.std.amax(dim=(0, 2, 3)).equal(after.std.amin(dim=(0, 2, 3)))


def test_pixels_go_from_minus_one_to_one():
    pixels = as_pixels(np.array([[[[0, 127, 255]]]], np.uint8))
    torch.testing.assert_close(pixels.flatten(), torch.tensor([-1, -0.0039, 1]), rtol=0, atol=1e-3)


class TestFit:
    """Stopped at any step, a part goes on as if it had not been."""

    def fitted(self, folder, stop_at=None):
        torch.manual_seed(0)
        network = nn.Linear(3, 2)

        def loss(step):
            if step == stop_at:
                raise KeyboardInterrupt
            return (network(torch.full((4, 3), float(step))) - 1).square().mean()

        fit("line", network, loss, Plan(num_steps=8, lr=1e-2, ema=0.9), folder)
        return network.state_dict()

    def test_it_goes_on_to_the_same_weights(self, tmp_path, monkeypatch):
        monkeypatch.setattr(fit_module, "SAVE_EVERY", 2)
        straight = self.fitted(tmp_path / "straight")
        with pytest.raises(KeyboardInterrupt):
            self.fitted(tmp_path / "stopped", stop_at=5)
        assert [path.stem for path in states_in(tmp_path / "stopped")] == ["step-00000004"]
        resumed = self.fitted(tmp_path / "stopped")
        assert all(torch.equal(straight[name], resumed[name]) for name in straight)

    def test_it_learns(self, tmp_path):
        torch.manual_seed(0)
        before = nn.Linear(3, 2)
        weights = self.fitted(tmp_path)
        x = torch.full((1, 3), 4.0)
        after = functional.linear(x, weights["weight"], weights["bias"])
        assert (after - 1).square().mean() < 0.9 * (before(x) - 1).square().mean()

    def test_the_state_of_another_plan_is_not_gone_on_from(self, tmp_path, monkeypatch):
        monkeypatch.setattr(fit_module, "SAVE_EVERY", 2)
        with pytest.raises(KeyboardInterrupt):
            self.fitted(tmp_path, stop_at=5)
        with pytest.raises(TrainError, match="another plan for line"):
            fit("line", nn.Linear(3, 2), lambda _: None, Plan(num_steps=9, lr=1e-2), tmp_path)


def test_data_that_was_half_written_is_written_again(tmp_path, monkeypatch):
    half = build_module.Build(TINY, tmp_path / "work", tmp_path / "toy", print)

    def fail(folder, *_args, **_options):
        (folder / "00000.mp4").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "write_videos", fail)
    with pytest.raises(KeyboardInterrupt):
        half._videos()
    monkeypatch.undo()
    index = half._videos()
    assert len(index.read_text().splitlines()) == TINY.num_videos
    assert (index.parent / "00000.mp4").stat().st_size > 1000
