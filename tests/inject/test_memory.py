"""Views where a whole clip fits, and windows where it does not or where nobody knows."""

import pytest
import torch

from animatediff_ext.animate import settled
from animatediff_ext.inject import memory
from animatediff_ext.params import Animation, Context
from tests.models.unets import diffusers_unet, ldm_unet

CALL = {"num_rows": 64, "height": 8, "width": 8, "device": torch.device("cpu"), "dtype": torch.float16}
NEEDED = 40 * 64 * 32 * 8 * 8 * 2


@pytest.mark.parametrize("make", [ldm_unet, diffusers_unet])
def test_a_call_is_estimated_by_its_rows_and_the_first_level(make):
    size = {name: CALL[name] for name in ("num_rows", "height", "width", "dtype")}
    assert memory.bytes_of_call(make(), **size) == NEEDED


@pytest.mark.parametrize(("free", "way"), [(NEEDED / 0.79, "views"), (NEEDED / 0.81, "windows"), (None, "windows")])
def test_long_clips_go_where_there_is_memory(monkeypatch, free, way):
    monkeypatch.setattr(memory, "free_bytes", lambda _device: free)
    long = Animation(num_frames=32, context=Context(length=16))
    assert settled(long, ldm_unet(), **CALL).context.long_clips == way


def test_what_was_chosen_stays_and_short_clips_need_no_choice():
    chosen = Animation(num_frames=32, context=Context(length=16, long_clips="windows"))
    short = Animation(num_frames=16, context=Context(length=16))
    assert settled(chosen, ldm_unet(), **CALL) is chosen
    assert settled(short, ldm_unet(), **CALL) is short


def test_a_cpu_says_what_is_free():
    free = memory.free_bytes(torch.device("cpu"))
    assert free is None or free > 2**20
