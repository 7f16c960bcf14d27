"""Folders and names of videos, by the patterns of the WebUI."""

import datetime

import pytest

TODAY = datetime.date.today().isoformat()


def names(host) -> list[str]:
    """Below the folder of the videos."""
    root = host.output / "AnimateDiff"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def generate(host, *, options=None, request_id="", **fields):
    host.opts.data.update(options or {})
    host.generate({"format": ["TXT"], "request_id": request_id}, **fields)
    return names(host)


def test_by_default_they_are_those_of_the_old_extension(host):
    assert generate(host, request_id="job") == [f"{TODAY}/00000-7-job.txt"]


def test_the_pattern_of_names_is_followed(host):
    pattern = {"samples_filename_pattern": "[seed]-[steps]-[width]-[prompt_spaces]"}
    assert generate(host, options=pattern) == [f"{TODAY}/00000-7-2-32-a cat.txt"]


def test_the_pattern_of_folders_is_followed(host):
    assert generate(host, options={"directories_filename_pattern": "[steps]/[prompt]"}) == ["2/a_cat/00000-7.txt"]


def test_a_folder_in_a_name_is_made(host):
    assert generate(host, options={"samples_filename_pattern": "[steps]/[seed]"}) == [f"{TODAY}/2/00000-7.txt"]


def test_without_folders_the_prompt_is_in_the_name(host):
    assert generate(host, options={"save_to_dirs": False}) == ["00000-7-a cat.txt"]


def test_a_video_is_one_picture_to_the_patterns(host):
    """[batch_number] and [generation_number] would otherwise count frames."""
    pattern = {"samples_filename_pattern": "[seed]-[batch_number]-[generation_number]", "save_to_dirs": False}
    found = generate(host, options=pattern, n_iter=2)
    assert found == ["00000-7-1.txt", "00001-11-2.txt"]
    assert generate(host, seed=20) == [*found, "00002-20.txt"]


def test_the_prompt_is_that_of_the_video(host):
    pattern = {"samples_filename_pattern": "[prompt_spaces]", "save_to_dirs": False}
    assert generate(host, options=pattern, prompt=["a cat", "a dog"]) == ["00000-a cat.txt", "00001-a dog.txt"]


@pytest.mark.parametrize("action", ["Replace", "Add number suffix"])
def test_without_numbers_no_video_is_lost(host, action):
    """The WebUI replaces stills by default; a video takes longer."""
    options = {"save_images_add_number": False, "save_images_replace_action": action, "save_to_dirs": False}
    for _ in range(2):
        generate(host, options={**options, "samples_filename_pattern": "[seed]"})
    assert generate(host) == ["7-1.txt", "7-2.txt", "7.txt"]
    options = {"samples_filename_pattern": "[prompt_spaces]"}
    found = generate(host, options=options, n_iter=2)
    assert [name for name in found if "cat" in name] == ["a cat-1.txt", "a cat.txt"]


def test_without_numbers_a_long_name_has_room_for_one(host):
    options = {"save_images_add_number": False, "samples_filename_pattern": "x" * 300, "save_to_dirs": False}
    for _ in range(2):
        found = generate(host, options=options)
    assert len({len(name) for name in found}) == 1
    assert found[0].endswith("x-1.txt")


def test_where_paths_are_limited_names_are_shorter(host, monkeypatch):
    """Those of the frames as well, which lie in a folder of the name."""
    monkeypatch.setattr("animatediff_ext.webui.names._LONGEST_PATH", len(str(host.output)) + 60)
    options = {"save_images_add_number": False, "samples_filename_pattern": "x" * 300, "save_to_dirs": False}
    (found,) = generate(host, options=options)
    path = host.output / "AnimateDiff" / found
    assert 40 <= len(str(path.with_suffix("") / "00000.png")) - len(str(host.output)) <= 60


def test_a_name_that_is_empty_has_a_number_all_the_same(host):
    options = {"save_images_add_number": False, "samples_filename_pattern": "[none]", "save_to_dirs": False}
    assert generate(host, options=options) == ["00000.txt"]


def test_numbers_go_past_files_of_any_format(host):
    (host.output / "AnimateDiff" / TODAY / "00003-7").mkdir(parents=True)  # a folder of frames
    assert generate(host) == [f"{TODAY}/00004-7.txt"]


@pytest.mark.parametrize("letter", ["x", "狐"])
def test_a_name_is_cut_to_what_the_disk_takes(host, letter):
    (name,) = generate(host, options={"samples_filename_pattern": letter * 300, "save_to_dirs": False})
    assert name.startswith(f"00000-{letter}")
    assert 240 < len(name.encode()) <= 255


@pytest.mark.parametrize("pattern", ["../../[seed]", "/[seed]", "a/../../../[seed]"])
def test_no_pattern_leads_out_of_the_folder(host, pattern):
    generate(host, options={"directories_filename_pattern": pattern, "samples_filename_pattern": pattern})
    assert [path.name for path in host.output.iterdir()] == ["AnimateDiff"]


def test_the_old_scheme_can_be_kept(host):
    options = {"animatediff_webui_names": False, "samples_filename_pattern": "[steps]", "save_to_dirs": False}
    assert generate(host, options=options, request_id="x") == [f"{TODAY}/00000-7-x.txt"]
