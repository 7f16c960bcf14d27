import pytest

from animatediff_ext.travel import TravelError, values_over_frames, values_over_sampling


def over(text, num_frames=9, fps=8.0):
    return values_over_frames(text, name="Motion effect", num_frames=num_frames, fps=fps).over(num_frames)


def test_a_number_is_the_same_everywhere():
    assert over("0.8") == [0.8] * 9
    assert over(" -1 ") == [-1.0] * 9
    assert over("1e-05") == over("0: 1E-05") == [1e-5] * 9


def test_between_keys_values_follow_the_easing():
    assert over("0: 0, 8: 1") == [i / 8 for i in range(9)]
    assert over("0 smooth: 0, 8: 1") == [(i / 8) ** 2 * (3 - 2 * i / 8) for i in range(9)]
    assert over("0 step: 0; 8: 1") == [0.0] * 8 + [1.0]


def test_before_the_first_key_and_behind_the_last_values_stay():
    assert over("2: 1, 4: 2") == [1, 1, 1, 1.5, 2, 2, 2, 2, 2]


def test_keys_may_be_shares_and_times_in_any_order():
    assert over("100%: 1\n0: 0") == over("0: 0, 8: 1") == over("1s: 1, 0: 0")


def test_of_two_keys_at_one_place_the_later_counts():
    assert over("0: 1, 0: 2, 8: 2") == [2.0] * 9


def test_over_sampling_keys_are_shares_of_the_steps():
    values = values_over_sampling("0%: 1, 0.5: 0", name="x")
    assert [values.at(share) for share in (0, 0.25, 0.5, 0.9)] == [1, 0.5, 0, 0]


@pytest.mark.parametrize("num_frames", range(2, 130))
def test_the_key_at_the_end_is_that_of_the_last_frame(num_frames):
    assert over("0% step: 1, 100%: 0", num_frames) == [1.0] * (num_frames - 1) + [0.0]


def test_a_key_of_seconds_is_that_of_its_frame():
    assert over("0 step: 1, 1.1s: 0", num_frames=13, fps=10) == [1.0] * 11 + [0.0, 0.0]


@pytest.mark.parametrize("num_steps", [10, 20, 25, 30, 50, 100])
def test_over_sampling_a_key_is_that_of_its_step(num_steps):
    for percent in range(1, 100):
        values = values_over_sampling(f"0% step: 1, {percent}%: 0", name="x")
        first = -(-percent * num_steps // 100)
        assert [values.at(step / num_steps) for step in range(num_steps)] == [1] * first + [0] * (num_steps - first)


@pytest.mark.parametrize("text", ["", "fast", "0: a", "0 slowly: 1", "0=1", "1, 2", "0: 1 2"])
def test_what_cannot_be_read_is_said_with_an_example(text):
    with pytest.raises(TravelError, match=r"^Motion effect is .*keys such as 0: 0.2, 8 smooth: 1"):
        over(text)


def test_a_key_beyond_all_steps_is_said():
    with pytest.raises(TravelError, match="x has a key at 10, beyond the end: give keys such as 0%: 1"):
        values_over_sampling("0: 1, 10: 0", name="x")


def test_sampling_has_no_seconds():
    with pytest.raises(TravelError, match=r"x is '1s: 1': give a number, or keys such as 0%: 1"):
        values_over_sampling("1s: 1", name="x")
