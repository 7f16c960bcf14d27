import torch

from animatediff_ext.inject import Placement
from tests.models.motion import motion_config, random_motion


def places(motion):
    return [
        (tensor.data_ptr(), tensor.device.type, tensor.dtype) for tensor in motion.state_dict(keep_vars=True).values()
    ]


def test_weights_go_and_come_back_as_the_same_memory():
    motion = random_motion(motion_config("v3"))
    before = places(motion)
    placement = Placement(motion)
    placement.to("meta", torch.float16)
    placement.to("meta", torch.bfloat16)
    assert {place[1:] for place in places(motion)} == {("meta", torch.bfloat16)}
    placement.back()
    assert places(motion) == before
    placement.back()
    assert places(motion) == before
