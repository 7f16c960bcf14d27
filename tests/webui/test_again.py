"""Requests that other scripts copy, and requests that are generated again."""

from copy import copy

import pytest

from tests.webui.generations import same, script
from tests.webui.host import NUM_FRAMES


@pytest.mark.usefixtures("unchanged")
def test_a_script_that_runs_us_on_copies_does_no_harm(host):
    """As ADetailer does: *postprocess* with no pictures before each one, other pictures made with the model in
    between, *before_process* on a copy."""
    inner = []

    def repair(p, args, *_args):
        for pictures in ([], [args.image]):
            finished = host.processing.Processed(p, pictures)
            host.ours.AnimateDiffScript.postprocess(host.script, copy(p), finished, *p.script_args)
            assert finished.images == pictures
        inner.append(host.run(host.p(prompt="a face")).images[0])
        again = copy(p)
        host.ours.AnimateDiffScript.before_process(host.script, again, *p.script_args)
        args.image = args.image.transpose(0)

    expected = [frame.transpose(0) for frame in host.generate({}).images]
    face = host.generate(prompt="a face").images[0]
    processed = host.generate({}, scripts=[script(host, postprocess_image=repair)])
    assert same(processed.images, expected)
    assert same(inner, [face] * NUM_FRAMES)


def test_a_copy_of_a_request_can_be_generated_itself(host):
    """As the XYZ plot does, for each of its cells."""
    p = host.p({})
    cells = [copy(p), copy(p)]
    assert same(host.run(cells[0]).images, host.run(cells[1]).images)


def test_a_request_is_given_back_as_it_was(host):
    p = host.p({"format": ["GIF"]}, batch_size=3)
    before = {name: value for name, value in vars(p).items() if name.startswith(("do_not", "batch_size", "init"))}
    methods = p.sample, p.init
    host.run(p)
    assert {name: getattr(p, name) for name in before} == before
    assert (p.sample, p.init) == methods


def test_a_request_can_be_generated_again(host):
    """As *Loopback* does."""
    p = host.p({"format": ["GIF", "Frame"]})
    first, second = host.run(p), host.run(p)
    assert first.images == second.images or same(first.images[1:], second.images[1:])
    assert host.files() == ["AnimateDiff/00000-7.gif", "AnimateDiff/00001-7.gif"]


def test_a_request_can_be_generated_again_with_animatediff_off(host):
    p = host.p({})
    host.run(p)
    p.script_args = (None, *p.script_args[1:])
    processed = host.run(p)
    assert same(processed.images, host.generate().images)
    assert "AnimateDiff" not in processed.infotexts[0]


def test_a_copy_of_a_finished_request_is_a_request_of_its_own(host):
    p = host.p({})
    host.run(p)
    other = copy(p)
    other.prompt = "a dog"
    assert same(host.run(other).images, host.generate({}, prompt="a dog").images)


def test_a_request_can_be_generated_again_after_an_error(host):
    p = host.p({"fps": 0})
    with pytest.raises(host.error, match="FPS"):
        host.run(p)
    p.script_args = ({**p.script_args[0], "fps": 8}, *p.script_args[1:])
    assert len(host.run(p).images) == NUM_FRAMES
