"""Clips made by several processes are those that one process makes."""

import numpy as np
import pytest
import torch

from animatediff_ext.params import Animation
from animatediff_ext.toy.crew import Crew, Take
from animatediff_ext.toy.files import BASE, MOTION, SHIPPED
from animatediff_ext.toy.studio import Studio

pytestmark = pytest.mark.skipif(not (SHIPPED / MOTION).is_file(), reason="the toy world is not there yet")


def take(seed: int) -> Take:
    how = {"num_steps": 1, "animation": Animation(num_frames=2)}
    return Take(image_model=BASE, motion=MOTION, prompt="a red circle", seed=seed, how=how)


@pytest.fixture
def one_thread():
    """As each process of a crew has it: with more, the last bits are others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_crew_makes_the_clips_that_its_studio_makes(one_thread):
    """The one take starts one of the two processes."""
    studio = Studio()
    with Crew(studio, 2) as crew:
        (clip,) = crew.clips([take(1)])
    assert clip.shape == (2, 64, 64, 3)
    assert np.array_equal(clip, take(1).by(studio))


def test_a_crew_of_one_needs_no_process():
    studio = Studio()
    with Crew(studio) as crew:
        first, second = crew.clips([take(1), take(2)])
    assert np.array_equal(first, take(1).by(studio))
    assert not np.array_equal(first, second)


def test_a_crew_of_nobody_is_refused():
    with pytest.raises(ValueError, match="give 1 or more"):
        Crew(None, 0)
