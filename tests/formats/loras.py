"""LoRAs for tests, in the spellings that people have.

What other tools do with names is written down here once more, from their sources, in the other direction than the code
under test reads them.
"""

import re
from functools import cache

import torch

from animatediff_ext.inject.low_rank import motion_attention_layers, spatial_attention_layers
from tests.formats.building import toy
from tests.models.unets import diffusers_unet

RANK = 3
QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
PAIR = (torch.ones(2, 8), torch.ones(8, 2))


@cache
def motion(family="v2"):
    return motion_attention_layers(toy(family))


@cache
def spatial(make=diffusers_unet):
    return spatial_attention_layers(make())


def random_pairs(layers, seed=0, rank=RANK):
    """What any file here holds: down and up of each layer."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(rank, layer.num_in, generator=random),
            torch.randn(layer.num_out, rank, generator=random),
        )
        for name, layer in layers.items()
    }


def spelled(pairs, down, up, rename=lambda name: name):
    """``down`` and ``up`` are what comes behind the layer's name."""
    tensors = {}
    for name, pair in pairs.items():
        tensors |= {rename(name) + down: pair[0], rename(name) + up: pair[1]}
    return tensors


def official(pairs):
    """to_q → processor.to_q_lora, to_out.0 → processor.to_out_lora."""

    def rename(name):
        return re.sub(r"\.(to_[qkv]|to_out)(\.0)?$", r".processor.\1_lora", name)

    return spelled(pairs, ".down.weight", ".up.weight", rename)


def diffusers_layer(name):
    """The names of UNetMotionModel's layers; those of the image model are as they are."""
    if "motion_modules" not in name:
        return name
    name = name.replace(".temporal_transformer", "")
    return re.sub(r"attention_blocks\.(\d)", lambda match: f"attn{int(match[1]) + 1}", name)


def diffusers(down, up, prefix="unet."):
    return lambda pairs: spelled(pairs, down, up, lambda name: prefix + diffusers_layer(name))


def kohya(pairs, layer=lambda name: name, prefix="lora_unet_"):
    """alpha is half the rank, and ``up`` twice as large for it: the product is the same."""
    tensors = {}
    for name, (down, up) in pairs.items():
        key = prefix + layer(name).replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": 2 * up}
        tensors |= {f"{key}.alpha": torch.tensor(len(down) / 2)}
    return tensors


def motion_director(pairs):
    """ExponentialML/AnimateDiff-MotionDirector, utils/lora.py: the last part of a name goes into the processor."""

    def rename(name):
        parent, _, last = name.rpartition(".")
        return f"{parent}.processor.{last}_lora"

    return spelled(pairs, ".down.weight", ".up.weight", rename)


def motion_director_spatial(pairs):
    """The same file, for the spatial path: attention as official, every other layer without a processor."""
    attention = {name: pair for name, pair in pairs.items() if ".to_" in name}
    others = {name: pair for name, pair in pairs.items() if name not in attention}
    return official(attention) | spelled(others, "_lora.down.weight", "_lora.up.weight")


def assert_same(found, pairs):
    assert found.keys() == pairs.keys()
    for name, pair in pairs.items():
        for matrix, expected in zip(found[name], pair, strict=True):
            torch.testing.assert_close(matrix, expected, rtol=0, atol=0)


def assert_is_one_sentence(error):
    text = str(error)
    assert text.startswith("given.")
    assert text.endswith(".")
    assert "\n" not in text
