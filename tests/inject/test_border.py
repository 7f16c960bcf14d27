"""Rows, windows and streams at the UNet's border, against calls made by hand; and that nothing is left behind.

In float64: kernels of float32 may add up in another order when more rows come together, and random weights make that
large.
"""

import itertools

import pytest
import torch

from animatediff_ext.animate import windows_of
from animatediff_ext.inject import RowLayoutError, frame_major, injected, stream_major
from animatediff_ext.params import Context
from tests.models.motion import motion_config, random_motion
from tests.models.unets import diffusers_unet, ldm_unet

F = 5


@pytest.fixture(scope="module")
def unet():
    return ldm_unet().double()


@pytest.fixture(scope="module", params=["v1", "v2"])
def motion(request):
    return random_motion(motion_config(request.param)).double()


def inputs(num_rows, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, 4, 8, 8, generator=generator).to(dtype)
    context = torch.randn(num_rows, 5, 32, generator=generator).to(dtype)
    return x, torch.full((num_rows,), 300), context


def exact(num_rows):
    return inputs(num_rows, dtype=torch.float64)


def traces(unet):
    """Everything that a guest could leave in a network."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()]
    return hooks, "forward" in unet.__dict__, list(unet.state_dict())


def by_hand(unet, motion, x, t, context, rows):
    """The answer for one stream whose frames are ``rows``, in that order."""
    with torch.no_grad(), injected(unet, motion, num_frames=len(rows)):
        return unet(x[rows], t[rows], context[rows])


def test_streams_of_one_call_are_independent_clips(unet, motion):
    x, t, context = exact(3 * F)
    with torch.no_grad(), injected(unet, motion, num_frames=F):
        whole = unet(x, t, context)
    for stream in range(3):
        rows = list(range(stream * F, stream * F + F))
        torch.testing.assert_close(whole[rows], by_hand(unet, motion, x, t, context, rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("conditions", [1, 2, 3])
@pytest.mark.parametrize("streams_at_once", [None, 1, 2])
def test_and_prompts_are_sorted_into_clips_and_back(unet, motion, conditions, streams_at_once):
    """The WebUI's order: the parts of a prompt frame by frame, then the negative prompt."""
    x, t, context = exact((conditions + 1) * F)
    layout = frame_major(F, conditions)
    with torch.no_grad(), injected(unet, motion, num_frames=F, rows=layout, streams_at_once=streams_at_once):
        whole = unet(x, t, context)
    streams = [[frame * conditions + part for frame in range(F)] for part in range(conditions)]
    streams.append([conditions * F + frame for frame in range(F)])
    for rows in streams:
        torch.testing.assert_close(whole[rows], by_hand(unet, motion, x, t, context, rows), atol=1e-5, rtol=1e-5)


def test_windows_are_blended_by_their_weights(unet, motion):
    n = 9
    x, t, context = exact(2 * n)
    windows = windows_of(Context(length=4, overlap=2, closed_loop="N"), n, step=3)
    with torch.no_grad(), injected(unet, motion, num_frames=n, windows=lambda: windows):
        whole = unet(x, t, context)
    for stream in range(2):
        expected = torch.zeros(n, 4, 8, 8, dtype=torch.float64)
        for frames, weights in windows:
            answer = by_hand(unet, motion, x, t, context, [stream * n + frame for frame in frames])
            for frame, weight, y in zip(frames, weights, answer, strict=True):
                expected[frame] += weight * y
        torch.testing.assert_close(whole[stream * n : stream * n + n], expected, atol=1e-5, rtol=1e-5)


def test_one_window_over_the_whole_clip_is_exactly_the_plain_call(unet, motion):
    x, t, context = exact(2 * F)
    windows = windows_of(Context(length=16), F)
    with torch.no_grad(), injected(unet, motion, num_frames=F):
        plain = unet(x, t, context)
    with torch.no_grad(), injected(unet, motion, num_frames=F, windows=lambda: windows):
        torch.testing.assert_close(unet(x, t, context), plain, rtol=0, atol=0)


def test_diffusers_calls_with_keywords_scalars_and_outputs_work():
    unet, motion = diffusers_unet().double(), random_motion(motion_config("v2")).double()
    x, _, context = exact(2 * F)
    windows = windows_of(Context(length=3, overlap=1, closed_loop="N"), F)
    with torch.no_grad(), injected(unet, motion, num_frames=F, windows=lambda: windows):
        named = unet(x, 300, encoder_hidden_states=context)
        as_tuple = unet(x, torch.tensor(300), encoder_hidden_states=context, return_dict=False)
    torch.testing.assert_close(named.sample, as_tuple[0])


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_rows_that_are_not_whole_clips_are_refused(unet, motion, rows):
    with injected(unet, motion, num_frames=F), pytest.raises(RowLayoutError, match=f"{rows} pictures"):
        unet(*exact(rows))


def test_nothing_is_left_after_success_or_failure(unet, motion):
    before = traces(unet)
    x, t, context = exact(F)
    with torch.no_grad():
        still = unet(x, t, context)
        with injected(unet, motion, num_frames=F):
            unet(x, t, context)
        assert traces(unet) == before
        with pytest.raises(RuntimeError, match="full"), injected(unet, motion, num_frames=F, before_call=out_of_memory):
            unet(x, t, context)
        assert traces(unet) == before
        torch.testing.assert_close(unet(x, t, context), still, rtol=0, atol=0)


def out_of_memory(_call):
    raise RuntimeError("memory is full")


def test_a_forward_that_another_guest_put_there_stays(motion):
    unet = ldm_unet().double()
    theirs = unet.forward
    calls = []

    def forward(*args, **kwargs):
        calls.append(len(args))
        return theirs(*args, **kwargs)

    unet.forward = forward
    with torch.no_grad(), injected(unet, motion, num_frames=F):
        unet(*exact(F))
    assert unet.forward is forward
    assert calls == [3]


def test_a_forward_that_another_guest_took_away_is_not_missed(unet, motion):
    before = traces(unet)
    with injected(unet, motion, num_frames=F):
        del unet.forward
    assert traces(unet) == before


def test_the_state_dict_of_the_host_does_not_change(unet, motion):
    before = list(unet.state_dict())
    with injected(unet, motion, num_frames=F):
        assert list(unet.state_dict()) == before


def test_one_window_that_is_a_part_of_the_clip_leaves_the_other_frames_alone(unet, motion):
    """As the windows of old numerics are at some steps."""
    x, t, context = exact(2 * F)
    part = [0, 2, 3]
    with torch.no_grad(), injected(unet, motion, num_frames=F, windows=lambda: [(part, [1.0] * len(part))]):
        whole = unet(x, t, context)
    for stream in range(2):
        rows = [stream * F + frame for frame in part]
        torch.testing.assert_close(whole[rows], by_hand(unet, motion, x, t, context, rows), atol=1e-5, rtol=1e-5)
        assert not whole[[stream * F + frame for frame in (1, 4)]].any()


def test_a_call_with_a_part_of_an_and_prompt_says_so():
    with pytest.raises(RowLayoutError, match="which are not whole clips"):
        frame_major(F, 2)(F)


def test_layouts_are_permutations():
    for conditions, streams in itertools.product([1, 2, 3], [1, 2, 4]):
        n = (conditions + streams) * F
        for layout in (stream_major(F), frame_major(F, conditions)):
            assert sorted(layout(n).flatten().tolist()) == list(range(n))
