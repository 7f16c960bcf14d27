"""The list of motion modules, and the one in memory."""

import os
import shutil

import pytest

from animatediff_ext.formats import load_motion_module, save_motion_adapter
from tests.webui.generations import same
from tests.webui.host import NUM_FRAMES, is_file


@pytest.fixture
def folder(host, tmp_path, motion_modules):
    """A model folder of the user's inside a WebUI, with one module."""
    webui = tmp_path / "webui"
    folder = webui / "models" / "animatediff"
    folder.mkdir(parents=True)
    (webui / "config.json").write_text("{}")  # the WebUI's own settings
    shutil.copy(motion_modules / "v2.safetensors", folder / "v2.safetensors")
    host.opts.data["animatediff_model_path"] = str(folder)
    host.webui("models").EXTENSION = tmp_path / "extension"
    return folder


def test_the_folder_of_a_request_counts(host, folder, tmp_path, motion_modules):
    host.opts.data["animatediff_model_path"] = str(tmp_path)
    overrides = {"animatediff_model_path": str(folder), "animatediff_default_save_formats": ["MP4"]}
    args = [{"enable": True, "model": "v2.safetensors", "video_length": NUM_FRAMES}]
    assert is_file(host.generate(args=args, override_settings=overrides).images[0])
    assert host.opts.data["animatediff_model_path"] == str(tmp_path)
    assert set(vars(host.opts)) == {"data", "data_labels"}


def test_files_of_all_endings_in_all_folders_are_listed(host, folder):
    (folder / "sub" / "deeper").mkdir(parents=True)
    for name in ("a.ckpt", "B.pth", "sub/c.pt", "sub/deeper/d.bin", "E.SAFETENSORS"):
        (folder / name).touch()
    for name in ("notes.txt", ".gitkeep", "preview.png", "x.safetensors.part"):
        (folder / name).touch()
    assert host.webui("models").names() == [
        "a.ckpt",
        "B.pth",
        "E.SAFETENSORS",
        "sub/c.pt",
        "sub/deeper/d.bin",
        "v2.safetensors",
    ]


def test_a_folder_in_diffusers_format_is_one_module(host, folder, motion_modules):
    motion = load_motion_module(motion_modules / "v2.safetensors")
    save_motion_adapter(motion, folder / "sub" / "adapter", dtype=next(motion.parameters()).dtype)
    assert host.webui("models").names() == ["sub/adapter", "v2.safetensors"]
    processed = host.generate({"model": "sub/adapter"})
    assert same(processed.images, host.generate({"model": "v2.safetensors"}).images)
    assert "mm_hash" not in processed.infotexts[0]


def test_our_folder_and_those_of_the_old_extensions_follow(host, folder, tmp_path):
    own = tmp_path / "extension" / "model"
    old = tmp_path / "extensions" / "sd-webui-animatediff" / "model"
    host.module("paths").extensions_dir = str(tmp_path / "extensions")
    for other in (own, old):
        other.mkdir(parents=True)
        shutil.copy(folder / "v2.safetensors", other / f"{other.parent.name}.safetensors")
        (other / "v2.safetensors").write_text("the one of the user's folder comes first")
    names = host.webui("models").names()
    assert names == ["extension.safetensors", "sd-webui-animatediff.safetensors", "v2.safetensors"]
    for name in names:
        assert len(host.generate({"model": name}).images) == NUM_FRAMES


@pytest.mark.parametrize(
    ("files", "current", "chosen"),
    [
        (["b", "v2"], "v2", "v2"),
        (["a", "b"], "b", "b"),
        (["a", "b"], None, "a"),
        (["misfit", "v2"], None, "v2"),
        (["misfit", "v2"], "misfit", "v2"),
        (["a", "mm_sd15_v3"], "misfit", "mm_sd15_v3"),
        (["broken", "v2"], None, "v2"),
        (["misfit"], None, "misfit"),
        ([], "v2", None),
    ],
)
def test_the_page_proposes_the_first_that_fits(host, folder, motion_modules, files, current, chosen):
    """What the user has chosen stays, unless it does not fit the loaded checkpoint and another one does."""
    for name in ("v2", *files):
        kind = "other layout" if name == "misfit" else "v2"
        shutil.copy(motion_modules / f"{kind}.safetensors", folder / f"{name}.safetensors")
    if "broken" in files:
        (folder / "broken.safetensors").write_text("half a download")
    if "v2" not in files:
        (folder / "v2.safetensors").unlink()
    proposed = host.webui("module_list").proposed(current and f"{current}.safetensors")
    assert proposed == (chosen and f"{chosen}.safetensors")


def test_before_a_checkpoint_is_loaded_the_page_proposes_the_first(host, folder, motion_modules):
    shutil.copy(motion_modules / "other layout.safetensors", folder / "a.safetensors")
    host.sd_models.model_data.sd_model = None
    assert host.webui("module_list").proposed(None) == "a.safetensors"
    assert host.sd_models.model_data.sd_model is None, "nothing is loaded for it"


def test_the_cache_may_be_cleared_while_modules_are_read(host, folder, motion_modules, monkeypatch):
    shutil.copy(motion_modules / "v1.safetensors", folder / "v1.safetensors")
    models = host.webui("models")
    read = models.load_motion_module

    def read_and_cleared(path):
        models.CACHE.clear()
        return read(path)

    monkeypatch.setattr(models, "load_motion_module", read_and_cleared)
    assert [one.name for one in models.CACHE.load("v1.safetensors", "v2.safetensors")] == [
        "v1.safetensors",
        "v2.safetensors",
    ]


def test_without_a_setting_our_folder_is_the_one(host, folder, tmp_path):
    host.opts.data["animatediff_model_path"] = None
    assert host.webui("models").folders() == [tmp_path / "extension" / "model"]
    assert host.webui("models").names() == []


@pytest.mark.parametrize("name", ["linked.safetensors", "linked folder/v2.safetensors"])
def test_links_to_modules_elsewhere_are_followed(host, folder, tmp_path, name):
    """Users keep large files in one place for several programs."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(folder / "v2.safetensors", elsewhere / "v2.safetensors")
    (folder / "linked.safetensors").symlink_to(elsewhere / "v2.safetensors")
    (folder / "linked folder").symlink_to(elsewhere)
    assert name in host.webui("models").names()
    assert len(host.generate({"model": name}).images) == NUM_FRAMES


@pytest.mark.parametrize("name", ["../secret.safetensors", "sub/../../secret.safetensors", "{outside}", "..", "."])
def test_a_name_does_not_lead_out_of_the_folder(host, folder, name):
    outside = folder.parent / "secret.safetensors"
    shutil.copy(folder / "v2.safetensors", outside)
    (folder / "sub").mkdir()
    with pytest.raises(host.error, match=r"was not found in animatediff: choose from v2\.safetensors\.$"):
        host.generate({"model": name.format(outside=outside)})


@pytest.mark.parametrize("spelled", ["{folder}/sub/v2.safetensors", "sub\\v2.safetensors"])
def test_a_whole_path_in_the_folder_will_do_and_is_not_told_to_others(host, folder, spelled):
    """As the old extension took it, which joined folder and name."""
    (folder / "sub").mkdir()
    (folder / "v2.safetensors").rename(folder / "sub" / "v2.safetensors")
    name = spelled.format(folder=folder)
    text = host.generate({"model": name, "second_model": name}).infotexts[0]
    assert "model: sub/v2.safetensors, video_length" in text
    assert "second_model: sub/v2.safetensors" in text
    assert str(folder) not in text


def test_a_module_is_read_once_for_several_generations(host, folder, monkeypatch):
    reads = []
    models = host.webui("models")
    read = models.load_motion_module
    monkeypatch.setattr(models, "load_motion_module", lambda path: (reads.append(path.name), read(path))[1])
    host.generate({})
    host.generate({})
    assert reads == ["v2.safetensors"]


def test_a_file_that_changed_is_read_again(host, folder, motion_modules):
    before = host.generate({})
    shutil.copy(motion_modules / "v1.safetensors", folder / "v2.safetensors")
    os.utime(folder / "v2.safetensors", (1, 1))
    after = host.generate({})
    assert not same(before.images, after.images)
    assert before.infotexts[0] != after.infotexts[0], "the hash is that of the new file"


def test_no_memory_is_held_while_animatediff_is_off(host, folder):
    cache = host.webui("models").CACHE
    host.generate({})
    assert cache._loaded
    host.generate()
    assert not cache._loaded


def test_the_hash_is_the_hosts_under_the_old_name(host, folder):
    text = host.generate({}).infotexts[0]
    digest = host.module("hashes").sha256(folder / "v2.safetensors", "")
    assert f"mm_hash: {digest[:8]}" in text
    assert "AnimateDiff/v2.safetensors" in host.module("hashes").titles


def test_no_hash_where_the_host_makes_none(host, folder):
    host.shared.no_hashing = True
    assert "mm_hash" not in host.generate({}).infotexts[0]
