"""What the cache gives is what would have been computed."""

import pytest
import torch

from animatediff_ext.trainer.data.cache import TensorCache
from animatediff_ext.trainer.run import train
from tests.trainer.comparing import assert_same, state_of

FIXED = {"sample__starts": 2, "run__steps": 4, "sample__caption_dropout": 0}


def test_a_run_with_a_cache_of_full_precision_is_the_run_without(runs):
    options = {"without": {}, "filling": {}, "reading": {}}
    options["filling"] = options["reading"] = {"cache__folder": runs.folder / "cache", "cache__dtype": "float32"}
    for name, cache in options.items():
        train("motion", runs.config("motion", run__output=runs.folder / name, **FIXED, **cache))
    for name in ("filling", "reading"):
        assert_same(state_of(runs.folder / "without", 4), state_of(runs.folder / name, 4))


def test_a_cache_of_half_precision_gives_the_same_loss_but_for_rounding(runs):
    losses = {}
    for dtype in ("float16", "float32"):
        trainer, material = runs.made("motion", **FIXED, cache__folder=runs.folder / dtype, cache__dtype=dtype)
        fingerprint = trainer.stage.spatial.vae_fingerprint
        (examples,) = next(material.steps(trainer.config, trainer.group, fingerprint, 0))
        losses[dtype] = trainer.loss(trainer.encoder.batch(examples)).item()
        trainer.detach()
    assert losses["float16"] == pytest.approx(losses["float32"], rel=1e-3)


def test_a_filled_cache_reads_no_video_and_encodes_nothing(runs, monkeypatch):
    cached = {"cache__folder": runs.folder / "cache", "sample__flip": "false", "sample__starts": 1}
    train("motion", runs.config("motion", run__output=runs.folder / "first", run__steps=10, **cached))

    def forbidden(*_arguments):
        raise AssertionError("the cache has it")

    monkeypatch.setattr("animatediff_ext.trainer.data.dataset.pixels_of", forbidden)
    monkeypatch.setattr("animatediff_ext.standalone.spatial.SpatialModel.encode_frames", forbidden)
    monkeypatch.setattr("animatediff_ext.standalone.spatial.SpatialModel.encode_text", forbidden)
    train("motion", runs.config("motion", run__output=runs.folder / "second", run__steps=10, **cached))


def test_what_is_put_comes_back_as_it_is_given_out_at_once(tmp_path):
    cache = TensorCache(tmp_path, "float16")
    given = cache.put("ab12", {"mean": torch.randn(3)})
    found = cache.get("ab12")
    assert torch.equal(given["mean"], found["mean"])
    assert found["mean"].dtype == torch.float16
