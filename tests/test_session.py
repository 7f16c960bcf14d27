"""What a session changes is as it was afterwards."""

from types import SimpleNamespace

import pytest
import torch

from animatediff_ext.animate import Session
from animatediff_ext.motion.families import IMAGE_SCHEDULE
from animatediff_ext.params import Animation
from tests.inject.test_border import traces
from tests.inject.test_placement import places
from tests.models.motion import motion_config, random_motion
from tests.models.unets import ldm_unet


def test_all_is_undone_even_where_a_part_of_it_fails():
    unet, motion = ldm_unet(), random_motion(motion_config("v2"))
    alphas = IMAGE_SCHEDULE.alphas_cumprod()
    model = SimpleNamespace(alphas_cumprod=alphas)
    before = traces(unet), places(motion)

    def fail():
        raise RuntimeError("a hook is lost")

    session = Session(Animation().resolved(), motion)
    session.attach(unet, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert session.use_schedule(model)
    session._attached.callback(fail)
    with pytest.raises(RuntimeError, match="a hook is lost"), session:
        pass
    assert (traces(unet), places(motion)) == before
    assert model.alphas_cumprod is alphas


def test_a_session_that_rests_has_no_weights_on_the_device_and_takes_them_again():
    unet, motion = ldm_unet(), random_motion(motion_config("v2"))
    before, where = places(motion), {"device": torch.device("cpu"), "dtype": torch.bfloat16}
    with Session(Animation().resolved(), motion) as session:
        session.attach(unet, **where)
        hooks, formats = traces(unet), [place[1:] for place in places(motion)]
        session.rest()
        assert places(motion) == before
        session.attach(unet, **where)
        assert (traces(unet), [place[1:] for place in places(motion)]) == (hooks, formats)
        session.rest()
    assert places(motion) == before
