"""Views where a whole clip fits, and windows where it does not or where nobody knows."""

from pathlib import Path

import pytest
import torch
from torch import nn

from animatediff_ext.animate import long_clips_settled
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
    assert long_clips_settled(long, ldm_unet(), [], **CALL).context.long_clips == way


def test_controlnets_count(monkeypatch):
    """What they add to the skips of a call, and their weights where these have yet to come."""
    long, unet, guest = Animation(num_frames=32, context=Context(length=16)), ldm_unet(), nn.Linear(1000, 1000)
    of_skips = 6 * NEEDED // 40
    for device, needed in (("cpu", NEEDED + of_skips), ("meta", NEEDED + of_skips + 2 * 1001 * 1000)):
        call = CALL | {"device": torch.device(device)}
        for free, way in ((needed / 0.79, "views"), (needed / 0.81, "windows")):
            monkeypatch.setattr(memory, "free_bytes", lambda _device, free=free: free)
            found = long_clips_settled(long, unet.to(device), [], guests=[guest], **call)
            assert found.context.long_clips == way


def test_what_was_chosen_stays_and_short_clips_need_no_choice():
    chosen = Animation(num_frames=32, context=Context(length=16, long_clips="windows"))
    short = Animation(num_frames=16, context=Context(length=16))
    assert long_clips_settled(chosen, ldm_unet(), [], **CALL) is chosen
    assert long_clips_settled(short, ldm_unet(), [], **CALL) is short


def test_a_cpu_says_what_is_free():
    free = memory.free_bytes(torch.device("cpu"))
    known = Path("/proc/meminfo").is_file()
    assert 2**20 < free < 2**50 if known else True


def test_a_gpu_is_asked_by_its_number(monkeypatch):
    """torch 2.1 takes no device without one, and the WebUI's has none."""

    def mem_get_info(index):
        assert index == 3
        return 1000, 9999

    facts = {"memory_reserved": 500, "memory_allocated": 200}
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    for name, value in facts.items():
        monkeypatch.setattr(torch.cuda, name, lambda index, value=value: value if index == 3 else 0)
    assert memory.free_bytes(torch.device("cuda")) == memory.free_bytes(torch.device("cuda", 3)) == 1300


def test_an_old_torch_does_not_know_what_a_mac_has(monkeypatch):
    monkeypatch.setattr(torch, "mps", object())
    assert memory.free_bytes(torch.device("mps")) is None


def test_weights_that_have_yet_to_come_are_counted(monkeypatch):
    """As with the WebUI's --medvram, where the UNet comes to the GPU with the first call."""
    unet = ldm_unet()
    weights = 2 * sum(parameter.numel() for parameter in unet.parameters())
    gpu = CALL | {"device": torch.device("cuda")}
    for free, fits in ((NEEDED / 0.79, False), ((NEEDED + weights) / 0.79, True)):
        monkeypatch.setattr(memory, "free_bytes", lambda _device, free=free: free)
        assert memory.fits(unet, **gpu) == fits
