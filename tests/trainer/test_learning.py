"""Each stage learns, what is frozen stays frozen, and what is trained is all trained."""

import shutil
from functools import partialmethod

import pytest
import torch

from animatediff_ext.formats import load_motion_module, save_motion_module
from animatediff_ext.standalone import SpatialModel
from animatediff_ext.trainer.base import load_base
from animatediff_ext.trainer.config import TRAINABLE_FAMILIES, Base, Diffusion
from animatediff_ext.trainer.encode import Batch
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.noising import schedule_of
from animatediff_ext.trainer.stages import new_motion_config
from tests.models.golden import relative_error
from tests.models.spatial import sd15_unet

STAGES = ("adapter", "motion", "lora")


def options_of(stage, motion_module):
    """What a stage needs besides the common options."""
    return {
        "adapter": {"sample__buckets": '["64x64x1"]'},
        "motion": {},
        "lora": {"motion__init": motion_module},
    }[stage]


def one_batch(trainer, num_frames, num_clips=1, side=8) -> Batch:
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(num_clips, num_frames, 4, side, side, generator=random)
    keys = tuple((0, number) for number in range(num_clips))
    return Batch(latents=latents, conditioning=trainer.encoder.captions.rows(["a red cat"] * num_clips), keys=keys)


@pytest.mark.parametrize(("stage", "rate"), [("adapter", 1e-2), ("motion", 3e-3), ("lora", 1e-2)])
def test_one_batch_is_learnt_by_heart(runs, motion_module, monkeypatch, stage, rate):
    trainer = runs.trainer(stage, optim__lr=rate, lora__rank=32, run__steps=150, **options_of(stage, motion_module))
    batch = one_batch(trainer, 1 if stage == "adapter" else 2)
    monkeypatch.setattr(trainer.encoder, "batch", lambda _examples: batch)
    first = trainer.train_step([[]]).loss
    for _ in range(149):
        if trainer.train_step([[]]).loss < 0.05 * first:
            return
    pytest.fail("the loss did not fall below 5 % of its start in 150 steps")


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_a_new_motion_module_changes_nothing(runs, sdxl_base, base, family):
    """Zero-initialised: a clip is predicted as its frames by themselves, but for the norms of v1, which span it."""
    checkpoint = sdxl_base if family == "sdxl-beta" else base
    trainer = runs.trainer("motion", motion__family=family, base__checkpoint=checkpoint)
    spatial = trainer.stage.spatial
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    x = x if family != "v1" else x[:1].expand(3, -1, -1, -1)  # norms over equal frames are those of one
    timesteps = torch.full((3,), 500)
    conditioning = spatial.encode_text(["a red cat"]).repeat_frames(3)
    with torch.no_grad():
        alone = spatial.predict(x, timesteps, conditioning)
        trainer.attach(3)
        together = spatial.predict(x, timesteps, conditioning)
    assert relative_error(together, alone) < 1e-5


@pytest.mark.parametrize("stage", STAGES)
def test_only_what_is_trained_changes(runs, motion_module, monkeypatch, stage):
    trainer = runs.trainer(stage, **options_of(stage, motion_module))
    spatial = trainer.stage.spatial
    trained = {id(parameter) for parameter in trainer.parameters}
    models = [spatial.unet, spatial.vae, *spatial.text_encoders, *filter(None, [trainer.stage.motion])]
    frozen = [tensor for model in models for tensor in model.state_dict(keep_vars=True).values()]
    if stage == "motion":  # its state dict shows views of what is trained
        frozen = [tensor for model in models[:-1] for tensor in model.state_dict(keep_vars=True).values()]
    before = [tensor.detach().clone() for tensor in frozen]
    batch = one_batch(trainer, 1 if stage == "adapter" else 2)
    monkeypatch.setattr(trainer.encoder, "batch", lambda _examples: batch)
    for _ in range(2):
        trainer.train_step([[]])
    assert all(torch.equal(now, then) for now, then in zip(frozen, before, strict=True))
    assert all(tensor.grad is None and not tensor.requires_grad for tensor in frozen)
    held = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert held == trained == {id(parameter) for parameter in trainer.stage.trained.parameters()}


@pytest.mark.parametrize("stage", STAGES)
def test_everything_that_is_trained_changes_within_two_steps(runs, motion_module, monkeypatch, stage):
    """In the first step only what stands behind the zeros has a gradient: the output projection, or ``up``."""
    trainer = runs.trainer(stage, optim__weight_decay=0, **options_of(stage, motion_module))
    # Large enough for several places in the middle block: where there is one, its queries and keys say nothing.
    batch = one_batch(trainer, 1 if stage == "adapter" else 2, side=16)
    monkeypatch.setattr(trainer.encoder, "batch", lambda _examples: batch)
    last = {"motion": "proj_out.", "adapter": "up", "lora": "up"}[stage]

    def changed_in_a_step():
        before = {name: tensor.detach().clone() for name, tensor in trainer.stage.trained.named_parameters()}
        trainer.train_step([[]])
        after = dict(trainer.stage.trained.named_parameters())
        return {name for name in before if not torch.equal(before[name], after[name])}

    names = {name for name, _ in trainer.stage.trained.named_parameters()}
    assert changed_in_a_step() == {name for name in names if last in name}
    assert changed_in_a_step() == names


def test_gradient_checkpointing_changes_no_gradient(runs, motion_module):
    gradients = []
    for on in ("false", "true"):
        trainer = runs.trainer("motion", precision__gradient_checkpointing=on, motion__init=motion_module)
        batch = one_batch(trainer, 3, num_clips=2)
        trainer.loss(batch).backward()
        gradients.append([parameter.grad for parameter in trainer.parameters])
        trainer.detach()
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-4, atol=1e-7)


def test_compiled_blocks_have_the_same_gradients_and_are_let_alone_for_clips(runs, motion_module, monkeypatch):
    """Traced by torch.compile, but not translated: that would take a C++ compiler, and minutes."""
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="aot_eager"))
    torch._dynamo.utils.counters.clear()
    gradients, predictions = [], []
    for on in ("false", "true"):
        torch.compiler.reset()
        trainer = runs.trainer("motion", precision__compile=on, motion__init=motion_module)
        batch = one_batch(trainer, 2)
        trainer.loss(batch).backward()
        gradients.append([parameter.grad for parameter in trainer.parameters])
        spatial, call = trainer.stage.spatial, (batch.latents[0], torch.full((2,), 500))
        with trainer.as_exported(), torch.no_grad():
            predictions.append(spatial.predict(*call, batch.conditioning.repeat_frames(2)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch.compiler.reset()
    for plain, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, compiled, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(*predictions)


def test_bf16_learns_what_full_precision_does(runs, motion_module, monkeypatch):
    """At 128 pixels: the lowest level of 64 has one place, whose group norm has two numbers, rounded to 8 bits."""
    losses = []
    for amp in ("fp32", "bf16"):
        trainer = runs.trainer("motion", precision__amp=amp, motion__init=motion_module, optim__lr=1e-3)
        batch = one_batch(trainer, 2, side=16)
        monkeypatch.setattr(trainer.encoder, "batch", lambda _examples, batch=batch: batch)
        losses.append([trainer.train_step([[]]).loss for _ in range(10)])
        assert {parameter.dtype for parameter in trainer.parameters} == {torch.float32}
        trainer.detach()
    full, half = torch.tensor(losses)
    assert full[-1] < 0.9 * full[0]
    torch.testing.assert_close(half, full, rtol=0.03, atol=0)


@pytest.mark.parametrize(("family", "mid"), [("v1", 0), ("v2", 1), ("v3", 0)])
def test_new_modules_have_the_layout_of_their_family(family, mid):
    config = new_motion_config(sd15_unet(), family)
    assert [len(block) for block in config.down_channels] == [2, 2, 2, 2]
    assert [len(block) for block in config.up_channels] == [3, 3, 3, 3]
    assert len(config.mid_channels) == mid
    assert config.num_positions == {"v1": 24, "v2": 32, "v3": 32}[family]


def test_the_adapter_is_in_place_while_motion_is_learnt(runs, motion_module):
    adapter = runs.trainer("adapter", sample__buckets='["64x64x1"]', run__name="look")
    for part in adapter.stage.trained.parts:
        torch.nn.init.normal_(part.up, std=0.1)
    from animatediff_ext.trainer.export import export

    path, _ = export(adapter.stage, adapter.config, 1)
    losses = []
    for adapter_options in ({}, {"adapter__path": path}, {"adapter__path": path, "adapter__strength": 0}):
        trainer = runs.trainer("motion", **adapter_options)
        losses.append(trainer.loss(one_batch(trainer, 2)).item())
        trainer.detach()
    assert losses[0] == losses[2] != losses[1]


def test_an_adapter_is_learnt_on_the_betas_of_its_image_model(runs, base, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    (other / "scheduler").mkdir(exist_ok=True)
    (other / "scheduler" / "scheduler_config.json").write_text('{"beta_end": 0.03}')
    alphas = [runs.trainer("adapter", base__checkpoint=path).noising.alphas_cumprod for path in (base, other)]
    expected = [schedule_of(Diffusion(beta_end=end, schedule="scaled_linear"), None) for end in (0.012, 0.03)]
    for actual, schedule in zip(alphas, expected, strict=True):
        assert torch.equal(actual, schedule.alphas_cumprod())


def test_prompts_of_different_length_go_into_one_batch(runs):
    trainer = runs.trainer("adapter", base__text_chunks=3)
    short, long = "red cat", "red cat dog " * 60
    together = trainer.encoder.captions.rows([short, long])
    expected = trainer.stage.spatial.encode_text([short, long])
    assert expected.tokens.shape[1] == 3 * 77
    torch.testing.assert_close(together.tokens, expected.tokens, rtol=0, atol=1e-6)


def test_sdxl_is_told_zeros_where_a_caption_was_dropped(runs, sdxl_base):
    """As it is when clips are made; what fills a caption up is still the empty text."""
    rows = runs.trainer("adapter", base__checkpoint=sdxl_base, base__text_chunks=2).encoder.captions.rows
    told = rows(["a red cat", ""])
    assert not told.tokens[1].any()
    assert not told.pooled[1].any()
    assert told.tokens[0, 77:].any()
    assert rows([""]).tokens.shape == (1, 2 * 77, told.tokens.shape[2])


def test_a_caption_is_read_as_it_is_written(runs):
    """Brackets are somebody's way of writing, and no weights, as they are in a prompt."""
    trainer = runs.trainer("adapter")
    spatial, caption = trainer.stage.spatial, "red cat (cat:1.5) [dog]"
    words = spatial.tokenizer(caption)["input_ids"]
    ids = torch.tensor([words + [spatial.tokenizer.eos_token_id] * (77 - len(words))])
    with torch.no_grad():
        expected = spatial.text_encoders[0](ids).last_hidden_state
    torch.testing.assert_close(trainer.encoder.captions.rows([caption]).tokens, expected)


def test_a_caption_is_read_alike_whatever_is_beside_it(runs):
    """Else what is learnt from a clip would depend on how a step is shared among processes."""
    rows = runs.trainer("adapter").encoder.captions.rows
    alone, beside = rows(["red cat"]), rows(["red cat", "red cat dog " * 60])
    assert torch.equal(alone.tokens, beside.tokens[:1])
    assert beside.tokens.shape[1] == 77


def test_all_of_a_stage_is_on_the_device_in_the_format_of_the_run(runs, motion_module):
    """A device without memory stands in for a GPU."""
    stage = runs.trainer("lora", motion__init=motion_module).stage
    stage.to(torch.device("meta"), torch.bfloat16)
    for tensor in (*stage.motion.parameters(), *stage.motion.buffers()):
        assert (tensor.device.type, tensor.dtype) == ("meta", torch.bfloat16)
    for tensor in stage.trained.parameters():
        assert (tensor.device.type, tensor.dtype) == ("meta", torch.float32)


def test_a_unet_moves_in_the_format_of_the_run(base, monkeypatch):
    """In float32 it may be more than a GPU has room for."""
    moved = []
    original = SpatialModel.to

    def to(self, device=None, dtype=None):
        moved.append((torch.device(device).type, self.unet.dtype))
        return original(self, device, dtype)

    monkeypatch.setattr(SpatialModel, "to", to)
    spatial = load_base(Base(checkpoint=str(base)), torch.device("meta"), torch.bfloat16)
    assert moved[-1] == ("meta", torch.bfloat16)
    assert {(part.device.type, part.dtype) for part in (spatial.vae, *spatial.text_encoders)} == {
        ("meta", torch.float32)
    }


def test_a_half_precision_module_is_trained_in_full(runs, motion_module, tmp_path):
    half = tmp_path / "half.safetensors"
    save_motion_module(load_motion_module(motion_module), half)
    for stage in ("motion", "lora"):
        trainer = runs.trainer(stage, motion__init=half)
        assert {tensor.dtype for tensor in trainer.stage.motion.parameters()} == {torch.float32}


def test_the_family_of_a_module_to_start_from_is_its_own(runs, motion_module):
    assert runs.trainer("motion", motion__init=motion_module).stage.motion.config.family.name == "v3"
    assert runs.trainer("motion").stage.motion.config.family.name == "v3"
    with pytest.raises(TrainError, match="brings its own table of 32"):
        runs.trainer("motion", motion__init=motion_module, motion__positions=16)
