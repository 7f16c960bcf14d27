"""Files that are no whole LoRA say why."""

import pytest
import torch

from animatediff_ext.formats import FormatError, load_lora
from animatediff_ext.formats.lora_file import flat
from tests.formats.building import toy, weights, write
from tests.formats.loras import (
    QUERY,
    assert_is_one_sentence,
    motion,
    official,
    random_pairs,
    spelled,
)


def of_query(**tensors):
    return {f"lora_unet_{flat(QUERY)}.{name.replace('__', '.')}": tensor for name, tensor in tensors.items()}


DOWN, UP = torch.ones(4, 8), torch.ones(8, 4)
KEY = flat(QUERY)
DAMAGED = {
    "no up": (of_query(lora_down__weight=DOWN), f"has no up matrix for {KEY}, only down: download it again"),
    "no down": (of_query(lora_up__weight=UP, alpha=torch.tensor(1.0)), "has no down matrix"),
    "alpha alone": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP) | {"lora_unet_mid_block_1_to_q.alpha": torch.tensor(1.0)},
        "has no down matrix for mid_block_1_to_q, only alpha",
    ),
    "ranks that differ": (
        of_query(lora_down__weight=DOWN, lora_up__weight=torch.ones(8, 5)),
        f"has matrices of 4×8 and 8×5 for {KEY}, which do not fit each other: download it again",
    ),
    "a vector": (of_query(lora_down__weight=torch.ones(8), lora_up__weight=UP), "matrices of 8 and 8×4"),
    "a vector for up": (of_query(lora_down__weight=DOWN, lora_up__weight=torch.ones(4)), "matrices of 4×8 and 4"),
    "a number": (of_query(lora_down__weight=torch.ones(()), lora_up__weight=UP), "matrices of one number and 8×4"),
    "rank zero": (of_query(lora_down__weight=torch.ones(0, 8), lora_up__weight=torch.ones(8, 0)), "of 0×8 and 8×0"),
    "many alphas": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP, alpha=torch.ones(4)),
        "has an alpha of 4 for",
    ),
    "two spellings": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP)
        | {f"{QUERY}.lora_A.weight": DOWN + 1, f"{QUERY}.lora_B.weight": UP + 1},
        "has two LoRAs in it: ",
    ),
    "two adapters of PEFT": (
        {f"{QUERY}.lora_{m}.{adapter}.weight": t.clone() for m, t in (("A", DOWN), ("B", UP)) for adapter in "xy"},
        "has two LoRAs in it: ",
    ),
    "LoHa": (of_query(hada_w1_a=UP, hada_w1_b=DOWN), "hada_w1_a in it, which is not one of a LoRA's two matrices"),
    "LoKr": (of_query(lokr_w1=UP, lokr_w2=DOWN), "lokr_w1 in it"),
    "LoCon in three": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP, lora_mid__weight=torch.ones(4, 4, 3, 3)),
        "lora_mid.weight in it",
    ),
    "DoRA": (of_query(lora_down__weight=DOWN, lora_up__weight=UP, dora_scale=torch.ones(8, 1)), "DoRA"),
    "DoRA of PEFT": (
        {f"unet.{QUERY}.lora_A.weight": DOWN, f"unet.{QUERY}.lora_magnitude_vector": torch.ones(8)},
        "lora_magnitude_vector in it",
    ),
    "a difference of the whole weight": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP) | {"diffusion_model.input_blocks.0.0.diff": DOWN},
        "diffusion_model.input_blocks.0.0.diff in it",
    ),
    "an unknown spelling": (
        of_query(lora_down__weight=DOWN, lora_up__weight=UP) | {f"unet.{QUERY}.low.rank.one": DOWN},
        "low.rank.one in it, which is not one of a LoRA's two matrices",
    ),
    "text encoder only": (
        {
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": DOWN,
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": UP,
        },
        "has no matrices for the image model or its motion module, only such as lora_te_text_model",
    ),
    "motion module": (lambda: weights(toy("v2")), "given.safetensors is a motion module, not a LoRA."),
    "checkpoint": (
        {"model.diffusion_model.input_blocks.0.0.weight": DOWN},
        "is a whole Stable Diffusion checkpoint, not a LoRA. It belongs in models/Stable-diffusion",
    ),
}


@pytest.mark.parametrize("example", DAMAGED)
def test_a_file_that_is_no_whole_lora_says_why(example, tmp_path):
    tensors, words = DAMAGED[example]
    tensors = tensors() if callable(tensors) else tensors
    path = write(tmp_path / "given.safetensors", {name: tensor.clone() for name, tensor in tensors.items()})
    with pytest.raises(FormatError) as refusal:
        load_lora(path)
    assert words in str(refusal.value)
    assert refusal.value.path == path
    assert_is_one_sentence(refusal.value)


def test_a_file_of_no_known_kind_gets_no_advice_about_motion_modules(tmp_path):
    path = write(tmp_path / "given.safetensors", {"layers.0.weight": DOWN})
    with pytest.raises(FormatError, match=r"^given\.safetensors is of a kind that is not known here, not a LoRA\.$"):
        load_lora(path)


@pytest.mark.parametrize("text", ["{", "[]", "null", '"words"'])
def test_settings_of_peft_that_cannot_be_read_are_an_error(text, tmp_path):
    tensors = spelled({QUERY: (DOWN, UP)}, ".lora_A.weight", ".lora_B.weight")
    path = write(tmp_path / "given.safetensors", tensors, metadata={"lora_adapter_metadata": text})
    with pytest.raises(FormatError, match="settings of PEFT") as refusal:
        load_lora(path)
    assert_is_one_sentence(refusal.value)


def test_files_cut_short_or_missing_are_told_as_for_motion_modules(tmp_path):
    path = write(tmp_path / "given.safetensors", official(random_pairs(motion())))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="cut short or damaged"):
        load_lora(path)
    with pytest.raises(FormatError, match="is not there"):
        load_lora(tmp_path / "given.ckpt")
