from collections import Counter
from itertools import chain

import pytest

from animatediff_ext.trainer.config import Sample
from animatediff_ext.trainer.data import Bucket, Catalogue, Plan, share
from animatediff_ext.trainer.error import TrainError

from .clips import BUCKET, SAMPLE, made_up, made_up_plan

WIDE = Bucket(128, 64, 8)


def one_pass(plan: Plan, number: int = 0) -> list:
    first = number * plan.steps_per_pass
    return [plan.takes(step) for step in range(first, first + plan.steps_per_pass)]


def lone_plan(clip, sample: Sample, global_batch: int = 500) -> Plan:
    return Plan(
        Catalogue(buckets={BUCKET: (clip,)}, sample=sample, short={}, bad=()),
        sample,
        seed=0,
        global_batch=global_batch,
    )


class TestPasses:
    @pytest.mark.parametrize(
        ("number", "repeats", "global_batch"), [(8, 1, 4), (8, 3, 4), (9, 1, 4), (3, 2, 4), (2, 1, 7)]
    )
    def test_each_clip_comes_as_often_as_it_repeats_apart_from_what_fills_up(self, number, repeats, global_batch):
        plan = made_up_plan({BUCKET: number}, repeats=repeats, global_batch=global_batch)
        for number_of_pass in (0, 1, 5):
            taken = [take.clip.name for takes in one_pass(plan, number_of_pass) for take in takes]
            counts = Counter(taken)
            assert len(counts) == number
            assert min(counts.values()) >= repeats
            missing = -number * repeats % global_batch
            assert len(taken) == number * repeats + missing

    def test_a_batch_is_filled_up_with_other_clips_first(self):
        plan = made_up_plan({BUCKET: 9}, global_batch=4)
        for number_of_pass in range(20):
            for takes in one_pass(plan, number_of_pass):
                assert len({take.clip.name for take in takes}) == 4

    def test_a_batch_is_of_one_bucket_and_all_buckets_are_mixed(self):
        plan = made_up_plan({BUCKET: 40, WIDE: 40})
        order = []
        for takes in one_pass(plan):
            assert len({take.bucket for take in takes}) == 1
            assert all(len(take.frames) == take.bucket.num_frames for take in takes)
            order.append(takes[0].bucket)
        assert Counter(order) == {BUCKET: 10, WIDE: 10}
        assert order != sorted(order, key=order.index)

    def test_every_pass_has_its_own_order(self):
        plan = made_up_plan({BUCKET: 16})
        orders = {tuple(take.clip.name for takes in one_pass(plan, number) for take in takes) for number in range(6)}
        assert len(orders) == 6

    def test_samples_are_numbered_through_all_steps(self):
        plan = made_up_plan({BUCKET: 9}, global_batch=4)
        assert [take.index for step in range(5) for take in plan.takes(step)] == list(range(20))


class TestKeys:
    def test_a_plan_needs_no_history(self):
        """Resume: step 7 is the same after steps 0 to 6, alone, and after any other."""
        sizes = {BUCKET: 5, WIDE: 6}
        straight = [made_up_plan(sizes).takes(step) for step in range(12)]
        plan = made_up_plan(sizes)
        for step in (7, 0, 11, 3, 7, 4):
            assert plan.takes(step) == straight[step]

    def test_seeds_differ(self):
        assert made_up_plan({BUCKET: 40}, seed=0).takes(0) != made_up_plan({BUCKET: 40}, seed=1).takes(0)

    def test_the_number_of_processes_does_not_matter(self):
        plan = made_up_plan({BUCKET: 9, WIDE: 7}, global_batch=4)
        for step in range(plan.steps_per_pass):
            takes = plan.takes(step)
            one = [share(takes, 0, 1, 4, 0)]
            two = [share(takes, rank, 2, 2, 0) for rank in (0, 1)]
            accumulated = [share(takes, 0, 1, 2, micro) for micro in (0, 1)]
            both = [share(takes, rank, 2, 1, micro) for micro in (0, 1) for rank in (0, 1)]
            for shares in (one, two, accumulated, both):
                assert list(chain(*shares)) == takes


class TestTakes:
    def test_first_frames_are_spread_over_the_whole_clip(self):
        sample = Sample(stride=2)
        counts = Counter(take.frames for take in lone_plan(made_up("a", 16), sample, 5000).takes(0))
        assert set(counts) == {(start, start + 2, start + 4, start + 6) for start in range(10)}
        assert min(counts.values()) > 400  # 500 are expected; the standard deviation is 21

    @pytest.mark.parametrize(("starts", "first"), [(1, {19}), (2, {9, 29}), (4, {4, 14, 24, 34})])
    def test_a_number_of_starts_is_spread_evenly(self, starts, first):
        sample = Sample(stride=1, starts=starts)
        taken = {take.frames[0] for take in lone_plan(made_up("a", 42), sample).takes(0)}
        assert taken == first

    def test_more_starts_than_there_are_frames_are_all_of_them(self):
        sample = Sample(stride=1, starts=50)
        assert {take.frames[0] for take in lone_plan(made_up("a", 6), sample).takes(0)} == {0, 1, 2}

    def test_half_of_the_takes_are_mirrored(self):
        flips = [take.flip for take in lone_plan(made_up("a"), Sample(), 2000).takes(0)]
        assert 900 < sum(flips) < 1100

    @pytest.mark.parametrize(
        ("caption", "sample"), [("a fox", Sample(stride=2, flip=False)), ("a fox going left", Sample(stride=2))]
    )
    def test_none_is_mirrored_without_flip_or_with_a_direction(self, caption, sample):
        assert not any(take.flip for take in lone_plan(made_up("a", caption=caption), sample).takes(0))


class TestReplacement:
    def test_others_of_the_bucket_come_in_turn_until_none_is_left(self):
        plan = made_up_plan({BUCKET: 6, WIDE: 3})
        take = next(takes[0] for takes in one_pass(plan) if takes[0].bucket == BUCKET)
        others = [plan.replacement(take, attempt) for attempt in range(5)]
        assert {other.clip.name for other in others} | {take.clip.name} == {f"{BUCKET} {n}.mp4" for n in range(6)}
        assert {(other.bucket, other.index) for other in others} == {(BUCKET, take.index)}
        assert plan.replacement(take, 2) == others[2]
        with pytest.raises(TrainError, match=f"None of the 6 clips of bucket {BUCKET} can be read any more"):
            plan.replacement(take, 5)

    def test_different_samples_get_different_ones(self):
        plan = made_up_plan({BUCKET: 50}, global_batch=50)
        names = {plan.replacement(take, 0).clip.name for take in plan.takes(0)}
        assert len(names) > 20


def test_plan_and_catalogue_share_their_settings():
    assert made_up_plan({BUCKET: 2}).sample == SAMPLE
