import os
from dataclasses import replace
from itertools import pairwise

import pytest
from PIL import Image

from animatediff_ext.media import Timeline
from animatediff_ext.trainer.config import Data, Sample
from animatediff_ext.trainer.data import Bucket, Catalogue, buckets_of, catalogue, find_clips, look, look_at
from animatediff_ext.trainer.error import TrainError
from tests.media.numbered import numbered_frame, write_numbered

from .clips import BUCKET, SAMPLE, catalogue_of, made_up, write_folder


def names(found: Catalogue) -> dict[str, list[str]]:
    return {str(bucket): [clip.name for clip in clips] for bucket, clips in found.buckets.items()}


def sort_in(clips, sizes: list[str], **facts) -> Catalogue:
    sample = Sample(buckets=tuple(sizes), **facts)
    return catalogue._sorted_in(clips, buckets_of(sample), sample, [])


class TestBuckets:
    def test_the_nearest_shape_is_chosen(self):
        clips = [
            made_up("square", width=500, height=480),
            made_up("wide", width=1920, height=1080),
            made_up("tall", width=480, height=854),
        ]
        found = sort_in(clips, ["256x256x8", "448x256x8", "256x448x8"], stride=2)
        assert names(found) == {"256x256x8": ["square"], "448x256x8": ["wide"], "256x448x8": ["tall"]}

    def test_of_one_shape_the_most_frames_that_the_clip_is_long_enough_for(self):
        clips = [made_up(str(length), length) for length in (15, 29, 30, 61)]
        found = sort_in(clips, ["64x64x8", "64x64x16"], stride=4)
        assert names(found) == {"64x64x8": ["29", "30"], "64x64x16": ["61"]}
        assert dict(found.short) == {Bucket(64, 64, 8): 1}

    def test_of_one_length_the_largest_that_needs_no_enlarging(self):
        clips = [made_up(str(side), width=side, height=side) for side in (64, 256, 300, 1000)]
        found = sort_in(clips, ["512x512x4", "128x128x4", "256x256x4"])
        assert names(found) == {"512x512x4": ["1000"], "128x128x4": ["64"], "256x256x4": ["256", "300"]}

    def test_stills_make_one_frame_of_each_bucket(self):
        sample = Sample(buckets=("64x64x8", "64x64x16", "128x64x16"))
        assert buckets_of(sample, stills=True) == (Bucket(64, 64, 1), Bucket(128, 64, 1))


class TestLook:
    def test_size_and_times_are_seen(self, tmp_path):
        write_folder(tmp_path, 1, num_frames=9, fps=30, size=(96, 64))
        ((clip,),) = catalogue_of(tmp_path).buckets.values()
        assert (clip.seen.width, clip.seen.height, clip.num_frames) == (96, 64, 9)
        assert clip.seen.timeline.times_s()[8] == pytest.approx(8 / 30)
        assert clip.seen.file_size == os.path.getsize(clip.path)

    def test_pictures_are_clips_of_one_frame(self, tmp_path):
        Image.fromarray(numbered_frame(1)).save(tmp_path / "a.png")
        clips = find_clips(Data(path=str(tmp_path), caption="a still"))
        assert look_at(clips, buckets_of(SAMPLE, stills=True), SAMPLE).num_clips == 1
        with pytest.raises(TrainError, match="1 is shorter than 7 frames and left out"):
            look_at(clips, [BUCKET], SAMPLE)

    def test_the_report_counts_and_names(self, tmp_path):
        write_folder(tmp_path, 3)
        write_numbered(tmp_path / "0.mp4", 6)
        (tmp_path / "bad.gif").write_bytes(b"hello")
        (tmp_path / "bad.txt").write_text("no clip")
        report = catalogue_of(tmp_path).report()
        assert report.startswith("2 clips in 1 bucket (64x64x4: 2); 1 is shorter than 7 frames and left out; ")
        assert f"; 1 cannot be read: {tmp_path.name}/bad.gif is no video that can be read (" in report
        assert report.endswith(".")
        assert str(tmp_path) not in report

    def test_files_that_a_list_names_but_that_are_gone_are_bad_clips(self, tmp_path):
        write_folder(tmp_path, 1)
        (tmp_path / "a.csv").write_text("path,caption\n0.mp4,a\ngone.mp4,b\n")
        report = look_at(find_clips(Data(path=str(tmp_path / "a.csv"))), [BUCKET], SAMPLE).report()
        assert "1 cannot be read: gone.mp4 cannot be read (No such file" in report

    def test_too_many_bad_clips_stop_the_run_with_the_first_ten(self, tmp_path):
        write_folder(tmp_path, 1)
        for index in range(12):
            (tmp_path / f"bad{index:02}.mp4").write_bytes(b"hello")
        clips = find_clips(Data(path=str(tmp_path), caption="c"))
        with pytest.raises(
            TrainError, match=r"^12 of 13 clips cannot be read, .*max_bad is 10: .*bad09.*; and 2 more\."
        ):
            look_at(clips, [BUCKET], SAMPLE)
        assert look_at(clips, [BUCKET], Sample(stride=2, max_bad=12)).num_clips == 1

    def test_nothing_left_is_an_error(self, tmp_path):
        with pytest.raises(TrainError, match=r"nothing to train on: 0 clips .* 1 is shorter than 23 frames"):
            catalogue_of(write_folder(tmp_path, 1), buckets=(Bucket(64, 64, 12),))

    def test_progress_is_told(self, tmp_path):
        told = []
        write_folder(tmp_path, 2)
        look_at(find_clips(Data(path=str(tmp_path))), [BUCKET], SAMPLE, progress=lambda *done: told.append(done))
        assert told == [(1, 2), (2, 2)]


class TestIndex:
    @pytest.fixture
    def looked_at(self, monkeypatch):
        """Paths that were really looked into."""
        seen = []
        real = look._seen
        monkeypatch.setattr(look, "_seen", lambda clip, *stat: seen.append(clip.name) or real(clip, *stat))
        return seen

    def look(self, folder, index):
        return look_at(find_clips(Data(path=str(folder))), [BUCKET], SAMPLE, index=index)

    def test_a_second_start_reads_no_video(self, tmp_path, looked_at):
        folder, index = write_folder(tmp_path / "clips", 3), tmp_path / "run" / "index.json"
        first = self.look(folder, index)
        assert len(looked_at) == 3
        assert self.look(folder, index) == first
        assert len(looked_at) == 3

    def test_what_changed_is_looked_into_again(self, tmp_path, looked_at):
        folder, index = write_folder(tmp_path / "clips", 3), tmp_path / "index.json"
        self.look(folder, index)
        looked_at.clear()
        write_numbered(folder / "1.mp4", 20)
        os.utime(folder / "2.mp4", ns=(1, 1))
        found = self.look(folder, index)
        assert sorted(looked_at) == ["clips/1.mp4", "clips/2.mp4"]
        assert found.buckets[BUCKET][1].num_frames == 20

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", '{"version": 0, "clips": {}}', '{"version": 1, "clips": {"a": 3}}']
    )
    def test_a_damaged_index_is_as_none(self, tmp_path, looked_at, content):
        folder, index = write_folder(tmp_path / "clips", 1), tmp_path / "index.json"
        index.write_text(content)
        assert self.look(folder, index).num_clips == 1
        looked_at.clear()
        self.look(folder, index)
        assert looked_at == []

    def test_varying_rates_survive_it(self, tmp_path):
        folder, index = tmp_path / "clips", tmp_path / "index.json"
        write_numbered(folder / "a.mkv", 9, starts_ms=[0, 40, 60, 200, 210, 300, 333, 366, 400])
        (folder / "a.txt").write_text("a")
        self.look(folder, index)
        ((clip,),) = self.look(folder, index).buckets.values()
        assert clip.seen.timeline == Timeline.of([0, 40, 60, 200, 210, 300, 333, 366, 400], 1000)

    def test_a_long_index_is_written_less_often(self, tmp_path, monkeypatch):
        """Each write is of all of it: at even distances the time would grow with the square of the clips."""
        written, whole = [], made_up("a")
        monkeypatch.setattr(look, "_KEPT_EVERY", 2)
        monkeypatch.setattr(look, "_look", lambda clip, known: whole.seen)
        monkeypatch.setattr(look, "write_index", lambda path, index: written.append(len(index)))
        look.look_into([made_up(f"{number}") for number in range(201)], tmp_path / "index.json")
        *written, last = written
        assert written[:3] == [2, 4, 6]
        assert all(after - before >= before // 10 for before, after in pairwise(written))
        assert last == 201

    def test_an_index_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(TrainError, match="cannot be written"):
            self.look(write_folder(tmp_path / "clips", 1), tmp_path / "file" / "index.json")


class TestDigest:
    def test_it_is_another_for_other_clips_captions_repeats_or_order(self):
        clips = [made_up(f"{index}.mp4") for index in range(3)]
        others = [
            clips[:2],
            clips[::-1],
            [*clips[:2], replace(clips[2], caption="another")],
            [*clips[:2], replace(clips[2], repeats=2)],
            [*clips[:2], replace(clips[2], place=(512, 10))],
        ]
        digests = {sort_in(some, ["64x64x4"], stride=2).digest() for some in (clips, *others)}
        assert len(digests) == 6
        moved = [replace(clip, path=f"/elsewhere/{clip.name}") for clip in clips]
        assert sort_in(moved, ["64x64x4"], stride=2).digest() in digests


class TestHoldOut:
    def catalogue(self, num_clips: int) -> Catalogue:
        return sort_in([made_up(f"{index}.mp4") for index in range(num_clips)], ["64x64x4"], stride=2)

    def test_clips_are_trained_on_or_held_out_never_both(self):
        rest, held = self.catalogue(20).hold_out(5, seed=0)
        kept = {clip.name for clips in rest.buckets.values() for clip in clips}
        assert len(held) == 5
        assert len(kept) == 15
        assert not kept & {take.clip.name for take in held}

    def test_a_video_with_several_captions_is_held_out_with_all_of_them(self):
        videos = [made_up(f"{index}.mp4", caption="one") for index in range(20)]
        clips = [replace(video, caption=caption) for video in videos for caption in ("one", "two", "three")]
        rest, held = sort_in(clips, ["64x64x4"], stride=2).hold_out(5, seed=0)
        assert len({take.clip.path for take in held}) == len(held) == 5
        assert {take.clip.caption for take in held} == {"one"}
        assert rest.num_clips == 45
        assert not {clip.path for of in rest.buckets.values() for clip in of} & {take.clip.path for take in held}

    def test_clips_of_one_tar_are_different_videos(self):
        clips = [replace(made_up(f"{index}.mp4"), path="/a.tar", place=(index, 1)) for index in range(6)]
        rest, held = sort_in(clips, ["64x64x4"], stride=2).hold_out(2, seed=0)
        assert (rest.num_clips, len(held)) == (4, 2)

    def test_held_out_takes_are_the_middles_and_not_mirrored(self):
        _, held = self.catalogue(20).hold_out(5, seed=0)
        assert {(take.frames, take.flip) for take in held} == {((16, 18, 20, 22), False)}
        assert [take.index for take in held] == [0, 1, 2, 3, 4]

    def test_it_is_stable_when_clips_are_added(self):
        before = {take.clip.name for take in self.catalogue(20).hold_out(5, seed=0)[1]}
        after = {take.clip.name for take in self.catalogue(21).hold_out(5, seed=0)[1]}
        assert len(before & after) >= 4
        assert after - before <= {"20.mp4"}

    def test_the_seed_decides(self):
        drawn = {tuple(take.clip.name for take in self.catalogue(20).hold_out(5, seed)[1]) for seed in range(5)}
        assert len(drawn) == 5

    def test_none_are_held_out_where_none_are_wanted(self):
        whole = self.catalogue(3)
        assert whole.hold_out(0, seed=0) == (whole, [])

    def test_something_must_be_left(self):
        with pytest.raises(TrainError, match=r"validate\.clips is 3, but there are only 3 different clips"):
            self.catalogue(3).hold_out(3, seed=0)
