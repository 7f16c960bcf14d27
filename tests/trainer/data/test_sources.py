import io
import json
import os
import tarfile

import pytest
from PIL import Image

from animatediff_ext.media import frames_at
from animatediff_ext.trainer.config import Data
from animatediff_ext.trainer.data import find_clips
from animatediff_ext.trainer.error import TrainError
from tests.media.numbered import number_in, numbered_frame, write_numbered

from .clips import write_folder


def found(path, **facts) -> dict[str, str]:
    """Name → caption."""
    return {clip.name: clip.caption for clip in find_clips(Data(path=str(path), **facts))}


def write_tar(path, members: dict[str, bytes], mode: str = "w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


class TestFolder:
    def test_videos_and_pictures_of_all_folders_have_the_captions_beside_them(self, tmp_path):
        folder = tmp_path / "clips"
        write_numbered(folder / "b.mp4", 2)
        write_numbered(folder / "deep" / "er" / "A.MP4", 2)
        Image.fromarray(numbered_frame(0)).save(folder / "c.webp")
        Image.fromarray(numbered_frame(0)).save(folder / "d.png")
        for name in ("b", "deep/er/A", "c", "d"):
            (folder / f"{name}.txt").write_text(f"\ufeff a fox,\n  {name} \n", encoding="utf-8")
        (folder / ".hidden.mp4").write_bytes(b"")
        (folder / "notes.md").write_text("not a clip")
        assert found(folder) == {
            "clips/b.mp4": "a fox, b",
            "clips/c.webp": "a fox, c",
            "clips/d.png": "a fox, d",
            "clips/deep/er/A.MP4": "a fox, deep/er/A",
        }

    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        write_folder(tmp_path / "elsewhere", 1)
        (tmp_path / "clips").mkdir()
        os.symlink(tmp_path / "elsewhere", tmp_path / "clips" / "linked")
        os.symlink(tmp_path / "clips", tmp_path / "elsewhere" / "back")
        assert list(found(tmp_path / "clips")) == ["clips/linked/0.mp4"]

    def test_missing_captions_are_counted_and_the_first_are_named(self, tmp_path):
        write_folder(tmp_path, 6)
        for index in range(1, 6):
            (tmp_path / f"{index}.txt").unlink()
        with pytest.raises(
            TrainError, match=r"^5 of the 6 clips of .* have no caption: .*1\.mp4, .*2\.mp4, .*3\.mp4, …"
        ):
            found(tmp_path)

    def test_an_empty_caption_counts_as_missing(self, tmp_path):
        write_folder(tmp_path, 1)
        (tmp_path / "0.txt").write_text(" \n")
        with pytest.raises(TrainError, match="1 of the 1 clips"):
            found(tmp_path)

    def test_data_caption_stands_in_for_missing_ones(self, tmp_path):
        write_folder(tmp_path, 2)
        (tmp_path / "1.txt").unlink()
        assert list(found(tmp_path, caption="a clip").values()) == ["clip 0", "a clip"]

    def test_a_caption_that_is_no_text_is_told(self, tmp_path):
        write_folder(tmp_path, 1)
        (tmp_path / "0.txt").write_bytes(b"\xff\xfe\0x")
        with pytest.raises(TrainError, match=r"0\.txt cannot be read .*UTF-8"):
            found(tmp_path)

    def test_a_file_is_no_folder(self, tmp_path):
        path = write_numbered(tmp_path / "a.mp4", 2)
        with pytest.raises(TrainError, match="which is no folder"):
            found(path, format="folder")


class TestCsv:
    def test_columns_of_webvid_with_and_without_folders_of_pages(self, tmp_path):
        (tmp_path / "videos" / "page").mkdir(parents=True)
        (tmp_path / "videos" / "page" / "7.mp4").write_bytes(b"")
        (tmp_path / "videos" / "8.mp4").write_bytes(b"")
        (tmp_path / "a.csv").write_text('videoid,name,page_dir\n7,"A fox, red",page\n8,A dog,page\n')
        clips = find_clips(Data(path=str(tmp_path / "a.csv"), videos=str(tmp_path / "videos")))
        assert [(clip.name, clip.caption) for clip in clips] == [("page/7.mp4", "A fox, red"), ("8.mp4", "A dog")]
        assert all(os.path.exists(clip.path) for clip in clips)

    def test_columns_path_and_caption_relative_to_the_file(self, tmp_path):
        (tmp_path / "a.csv").write_text(
            f"\ufeffcaption,path\nA fox,sub/1.mp4\nA dog,{tmp_path}/2.gif\n", encoding="utf-8"
        )
        clips = find_clips(Data(path=str(tmp_path / "a.csv"), repeats=3))
        assert [clip.path for clip in clips] == [str(tmp_path / "sub" / "1.mp4"), str(tmp_path / "2.gif")]
        assert [(clip.caption, clip.repeats) for clip in clips] == [("A fox", 3), ("A dog", 3)]

    @pytest.mark.parametrize("text", ["7,A fox,page\n8,A dog,page\n", "", "path,size\na.mp4,3\n"])
    def test_a_missing_header_is_named(self, tmp_path, text):
        (tmp_path / "a.csv").write_text(text)
        first = text.partition("\n")[0]
        with pytest.raises(TrainError, match=rf"begins with the line '{first}'.*videoid,name,page_dir or path,caption"):
            found(tmp_path / "a.csv")

    def test_a_row_without_a_file_is_named_by_its_line(self, tmp_path):
        (tmp_path / "a.csv").write_text("path,caption\na.mp4,A fox\n,A dog\n")
        with pytest.raises(TrainError, match=r"a\.csv, line 3, names no file"):
            found(tmp_path / "a.csv")

    def test_what_is_no_text_is_told(self, tmp_path):
        (tmp_path / "a.csv").write_bytes(b"path,caption\n\xff\xfe,b\n")
        with pytest.raises(TrainError, match=r"a\.csv cannot be read"):
            found(tmp_path / "a.csv")


class TestJsonl:
    @pytest.mark.parametrize("file_field", ["path", "video", "file"])
    @pytest.mark.parametrize("caption_field", ["caption", "text", "name"])
    def test_every_spelling_of_its_fields(self, tmp_path, file_field, caption_field):
        entry = {file_field: "sub/a.mp4", caption_field: "狐 \u2028 fox", "other": 1}
        (tmp_path / "a.jsonl").write_text(json.dumps(entry, ensure_ascii=False) + "\n\n", encoding="utf-8")
        (clip,) = find_clips(Data(path=str(tmp_path / "a.jsonl"), videos=str(tmp_path)))
        assert (clip.name, clip.caption) == ("sub/a.mp4", "狐 fox")

    def test_half_of_a_character_ends_no_run(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"path": "a.mp4", "text": "a fox \\ud83d"}')
        assert found(tmp_path / "a.jsonl") == {"a.mp4": "a fox ?"}

    @pytest.mark.parametrize(
        ("line", "complaint"),
        [
            ("{", "line 2, is not JSON"),
            ("[1]", "line 2, is not a JSON object"),
            ('{"text": "a"}', "line 2, names no file"),
            (
                '{"path": "b.mp4", "text": ["one", "two"]}',
                r'line 2, has no text as text, but \["one", "two"\]',
            ),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path, line, complaint):
        (tmp_path / "a.jsonl").write_text('{"path": "a.mp4", "text": "a"}\n' + line)
        with pytest.raises(TrainError, match=complaint):
            found(tmp_path / "a.jsonl")


class TestTar:
    def test_members_of_one_stem_belong_together(self, tmp_path):
        video = write_numbered(tmp_path / "v.mp4", 6).read_bytes()
        members = {
            "a/1.mp4": video,
            "a/1.txt": b"a fox",
            "a/1.json": b'{"caption": "not this one"}',
            "2.json": b'{"caption": "a dog", "width": 64}',
            "2.gif": b"GIF89a",
            "b/1.webm": b"",
            "b/1.txt": b"a cat",
            "note.md": b"",
        }
        path = write_tar(tmp_path / "t.tar", members)
        assert found(path) == {"t.tar/a/1.mp4": "a fox", "t.tar/2.gif": "a dog", "t.tar/b/1.webm": "a cat"}
        clip = find_clips(Data(path=str(path)))[0]
        assert clip.source() == video
        assert number_in(frames_at(clip.source(), (5,))[0]) == 5

    def test_names_with_points_have_captions_of_their_own(self, tmp_path):
        texts = {"2024.01.txt": b"a fox", "2024.02.txt": b"a dog"}
        path = write_tar(tmp_path / "t.tar", {"2024.01.mp4": b"x", "2024.02.mp4": b"x"} | texts)
        assert found(path) == {"t.tar/2024.01.mp4": "a fox", "t.tar/2024.02.mp4": "a dog"}
        path = write_tar(tmp_path / "k.tar", {"7.left.mp4": b"x", "7.txt": b"a cat", "7.right.json": b'{"text": "b"}'})
        assert found(path) == {"k.tar/7.left.mp4": "a cat"}
        path = write_tar(tmp_path / "s.tar", {"2024.03.mp4": b"x"} | texts)
        with pytest.raises(TrainError, match=r"several captions for 2024\.03\.mp4, 2024\.01 and 2024\.02: give one"):
            found(path)

    def test_members_that_are_no_captions_are_passed_over(self, tmp_path):
        members = {"7.mp4": b"x", "7.txt": b"a cat", "7.boxes.json": b"[1, 2]"}
        of_a_mac = {"._7.mp4": b"\x00\x05\x16\x07", "._7.txt": b"\x00\x05\x16\x07\xa3"}
        path = write_tar(tmp_path / "t.tar", members | of_a_mac)
        assert found(path) == {"t.tar/7.mp4": "a cat"}

    def test_a_folder_of_tars_is_read_in_order(self, tmp_path):
        for name in ("b", "a"):
            write_tar(tmp_path / f"{name}.tar", {"1.mp4": b"x", "1.txt": b"c"})
        assert list(found(tmp_path)) == ["a.tar/1.mp4", "b.tar/1.mp4"]

    def test_a_compressed_or_broken_tar_is_told(self, tmp_path):
        write_tar(tmp_path / "z.tar", {"1.mp4": b"x", "1.txt": b"c"}, mode="w:gz")
        whole = write_tar(tmp_path / "w.tar", {"1.mp4": b"x" * 9999, "1.txt": b"c"}).read_bytes()
        (tmp_path / "cut.tar").write_bytes(whole[:3000])
        for name in ("z.tar", "cut.tar"):
            with pytest.raises(TrainError, match=rf"{name} cannot be read .*uncompressed"):
                found(tmp_path / name)

    def test_json_without_sense_is_told(self, tmp_path):
        path = write_tar(tmp_path / "t.tar", {"1.mp4": b"x", "1.json": b"{"})
        with pytest.raises(TrainError, match=r"t\.tar, member 1\.json, is not JSON"):
            found(path)


class TestAnySource:
    def test_clips_always_come_in_the_same_order(self, tmp_path):
        write_folder(tmp_path, 5)
        assert find_clips(Data(path=str(tmp_path))) == find_clips(Data(path=str(tmp_path)))

    def test_no_path(self):
        with pytest.raises(TrainError, match=r"data\.path is empty"):
            find_clips(Data())

    def test_a_path_that_does_not_exist(self, tmp_path):
        with pytest.raises(TrainError, match=r"gone, which does not exist"):
            found(tmp_path / "gone")

    def test_a_folder_of_videos_that_does_not_exist(self, tmp_path):
        (tmp_path / "a.csv").write_text("path,caption\n")
        with pytest.raises(TrainError, match=r"data\.videos is .*gone, which is no folder"):
            found(tmp_path / "a.csv", videos=str(tmp_path / "gone"))

    def test_a_name_that_tells_no_format(self, tmp_path):
        (tmp_path / "a.parquet").write_bytes(b"")
        with pytest.raises(TrainError, match="whose format its name does not tell"):
            found(tmp_path / "a.parquet")

    @pytest.mark.parametrize(("name", "format"), [("", "folder"), ("a.csv", "csv"), ("a.jsonl", "jsonl")])
    def test_a_source_without_clips(self, tmp_path, name, format):
        for file in ("a.csv", "a.jsonl"):
            (tmp_path / file).write_text("path,caption\n" if file.endswith("csv") else "")
        with pytest.raises(TrainError, match=f"has no clips as data.format '{format}' would have them"):
            found(tmp_path / name)

    def test_a_tar_without_clips(self, tmp_path):
        with pytest.raises(TrainError, match="has no clips"):
            found(write_tar(tmp_path / "t.tar", {"1.txt": b"c"}))
