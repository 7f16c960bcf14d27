"""The list itself."""

import re

import pytest

from animatediff_ext.catalogue import KNOWN, UnknownNameError, known_by_file_name, named, readable_size
from animatediff_ext.catalogue.known import LICENCES, TITLES
from animatediff_ext.formats.kind import KINDS
from animatediff_ext.motion import FAMILIES
from animatediff_ext.params import SETTINGS


@pytest.mark.parametrize("file", KNOWN, ids=lambda file: file.file_name)
def test_entries_are_sound(file):
    assert file.kind in TITLES
    assert file.kind in {kind.name for kind in KINDS}
    assert FAMILIES[file.family].base == file.base
    assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", file.repo)
    assert file.repo in LICENCES
    assert file.licence
    assert file.use
    assert 1e7 < file.size_bytes < 3e9


def test_no_two_entries_are_one_file():
    """Two files of one name would overwrite each other in the folder, on Windows whatever their case."""
    assert len({file.file_name.lower() for file in KNOWN}) == len(KNOWN)
    assert len({file.sha256 for file in KNOWN}) == len(KNOWN)


def test_every_family_and_the_default_module_can_be_had():
    assert {file.family for file in KNOWN if file.kind == "motion-module"} == set(FAMILIES)
    assert known_by_file_name(SETTINGS["model"].default).kind == "motion-module"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("v3_sd15_mm", ["v3_sd15_mm.ckpt"]),
        ("V3_SD15_MM.ckpt", ["v3_sd15_mm.ckpt"]),
        ("v2_lora_pan*", ["v2_lora_PanLeft.ckpt", "v2_lora_PanRight.ckpt"]),
        ("mm_sdxl_v10_beta.ckpt", ["mm_sdxl_v10_beta.ckpt"]),
    ],
)
def test_names_may_lack_the_ending_or_be_patterns(asked, found):
    assert [file.file_name for file in named(asked)] == found


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UnknownNameError, match=r"no 'mm_sd15_v4' in the list; there are .*v3_sd15_mm\.ckpt"):
        named("mm_sd15_v4")


def test_a_name_that_could_be_two_files_is_asked_about():
    with pytest.raises(UnknownNameError, match=r"could be mm_sdxl_v10_beta\.safetensors or mm_sdxl_v10_beta\.ckpt"):
        named("mm_sdxl_v10_beta")


@pytest.mark.parametrize(
    ("size", "text"), [(1_817_888_431, "1.82 GB"), (837_000_000, "837 MB"), (77_474_499, "77.5 MB")]
)
def test_sizes_read_as_the_hub_shows_them(size, text):
    assert readable_size(size) == text
