"""What tests of the trainer compare: states and files bit by bit, and what a UNet predicts."""

import torch

from animatediff_ext.trainer.state import load_state, states_folder


def assert_same(one, other, path=""):
    """Bit by bit, in whatever it is nested."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}.{i}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


def state_of(output, step):
    state = load_state(states_folder(output) / f"step-{step:08d}.state")
    del state["config"]
    return state


def prediction(spatial, frames=3):
    """Of 128 pixels: at 64 the lowest level has one place, whose norms over two numbers blow rounding up."""
    x = torch.randn(frames, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    conditioning = spatial.encode_text(["a red cat"]).repeat_frames(frames)
    with torch.no_grad():
        return spatial.predict(x, torch.full((frames,), 500), conditioning)
