"""SparseCtrl: a ControlNet with motion of its own."""

import sys
from types import ModuleType

import pytest
import torch
from PIL import Image

from animatediff_ext.animate import windows_of
from animatediff_ext.formats import FormatError
from animatediff_ext.motion.manner import Manner
from animatediff_ext.params import from_api
from tests.models.motion import motion_config, random_motion
from tests.webui.generations import at_step
from tests.webui.guided import frame_picture, told
from tests.webui.host import as_base64


@pytest.fixture
def sparse(cn, monkeypatch):
    """Random weights of a SparseCtrl's motion, and the names under which ControlNet asks for its modules."""
    ours = cn.host.webui("sparsectrl")
    names = ModuleType("scripts.animatediff_mm")
    names.MotionWrapper, names.MotionModuleType = ours.MotionWrapper, ours.MotionModuleType
    monkeypatch.setitem(sys.modules, "scripts", ModuleType("scripts"))
    monkeypatch.setitem(sys.modules, "scripts.animatediff_mm", names)
    config = motion_config("v3", widths=(32, 32, 32, 32))
    config = type(config)(**{**vars(config), "up_channels": (), "num_attentions": 1})
    motion = random_motion(config)
    cn.extension.PlugableSparseCtrlModel.weights = motion.state_dict() | {"input_hint_block.0.weight": torch.zeros(1)}
    return motion


@pytest.mark.parametrize("long_clips", ["windows", "views"])
def test_sparsectrl_moves_over_the_frames_of_each_run(cn, sparse, frames, long_clips):
    animation = {"video_length": 6, "batch_size": 4, "long_clips": long_clips, "context_schedule": "static"}
    unit = {"enabled": True, "model": "sparse", "batch_images": f"{frames}\nkeyframe:{','.join(map(str, range(12)))}"}
    assert "key frame 11" in cn.sentence(animation, unit)
    context = from_api(animation)[0].resolved().context
    noise = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0)).mul(255).byte()  # of the latent's size
    single = Image.fromarray(noise.numpy()).resize((32, 32), Image.NEAREST)
    first = noise.permute(2, 0, 1)[:1] / 255
    cn.generate(animation, {"enabled": True, "model": "sparse", "image": as_base64(single)})
    for run in cn.runs:
        rows = cn.frames_of_rows(run, 6)
        h = torch.stack([first if frame == 0 else torch.zeros_like(first) for frame in rows]).repeat(1, 32, 1, 1)
        alone = h
        in_views = Manner(num_frames=6, views=windows_of(context, 6))
        manner = in_views if long_clips == "views" else Manner(num_frames=4)
        for block in sparse.down_blocks:
            for module in block.motion_modules:
                h, alone = module(h, manner), module(alone, 1)
        torch.testing.assert_close(
            run.added[0], h[:, :4], atol=2e-3, rtol=1e-3
        )  # norms of what is blank blow up rounding
        assert (run.added[0] - alone[:, :4]).abs().max() > 0.05


def test_a_folder_has_a_picture_for_every_frame_of_a_sparsectrl(cn, sparse, frames):
    seen = []
    at_step(cn.host, 1, lambda _params: seen.append(cn.script.latest_network.control_params[0].hint_cond))
    cn.generate({}, {"enabled": True, "model": "sparse", "batch_images": frames})
    (hint,) = seen
    assert told(hint[:, :3], len(hint)) == [0, 1, 2, 3] * 2
    torch.testing.assert_close(hint[:, 3], torch.ones_like(hint[:, 3]))  # which frames have one


def test_a_single_picture_guides_the_first_frame_of_a_sparsectrl_and_alone_nothing_moves(cn, sparse):
    module = cn.extension.PlugableSparseCtrlModel().control_model.input_blocks[0]
    x = torch.randn(3, 32, 4, 4)
    torch.testing.assert_close(module(x), torch.cat([module(row[None]) for row in x]))
    assert len(cn.extension.PlugableSparseCtrlModel().control_model.input_blocks) == 8


def test_motion_of_a_sparsectrl_is_complete_or_refused(cn, sparse):
    ours = cn.host.webui("sparsectrl")
    state = dict(sparse.state_dict())
    state.pop(next(name for name in state if name.endswith("proj_in.weight")))
    with pytest.raises(FormatError, match="missing"):
        ours.MotionWrapper("", "", ours.MotionModuleType.SparseCtrl).load_state_dict(state)
    with pytest.raises(ValueError, match="AnimateDiff itself"):
        ours.MotionWrapper("", "", ours.MotionModuleType.AnimateDiffV2)


def test_a_context_beyond_a_sparsectrls_positions_is_refused(cn, sparse):
    unit = {"enabled": True, "model": "sparse", "image": as_base64(frame_picture(1))}
    for name in list(cn.extension.PlugableSparseCtrlModel.weights):
        if name.endswith(".pe"):
            cn.extension.PlugableSparseCtrlModel.weights[name] = cn.extension.PlugableSparseCtrlModel.weights[name][
                :, :3
            ]
    assert "SparseCtrl takes at most 3 frames together" in cn.sentence({}, unit)
