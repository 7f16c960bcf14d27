"""Where files are looked for, and where new ones go."""

import json

import pytest

from animatediff_ext.catalogue.places import places_of_command_line


@pytest.fixture
def webui(tmp_path):
    webui = tmp_path / "webui"
    (webui / "models").mkdir(parents=True)
    (webui / "extensions" / "this one" / "model").mkdir(parents=True)
    return webui


def test_inside_a_webui_every_kind_has_its_folder(webui):
    here = webui / "extensions" / "this one"
    places = places_of_command_line(here)
    assert places.for_new("motion-module") == here / "model"
    for kind in ("motion-lora", "domain-adapter", "lora"):
        assert places.for_new(kind) == webui / "models" / "Lora"
    assert places.for_new("sparsectrl") == webui / "models" / "ControlNet"


def test_the_webuis_settings_and_the_old_extensions_folders_count(webui, tmp_path):
    here, old = webui / "extensions" / "this one", webui / "extensions" / "sd-webui-animatediff" / "model"
    old.mkdir(parents=True)
    chosen = {"animatediff_model_path": str(tmp_path / "mine"), "control_net_models_path": str(tmp_path / "control")}
    (webui / "config.json").write_text(json.dumps(chosen))
    places = places_of_command_line(here)
    assert places.motion_modules == (tmp_path / "mine", here / "model", old)
    assert places.for_new("sparsectrl") == tmp_path / "control"


def test_the_old_extension_is_known_by_its_content_whatever_its_folder_is_called(webui):
    here, old = webui / "extensions" / "this one", webui / "extensions" / "sd-webui-animatediff-master"
    for folder in (here, old, webui / "extensions" / "another one"):
        for name in ("model", "scripts"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    (old / "scripts" / "animatediff_infv2v.py").touch()
    assert places_of_command_line(here).motion_modules == (here / "model", old / "model")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"animatediff_model_path": null}'])
def test_settings_that_say_nothing_leave_the_defaults(webui, text):
    (webui / "config.json").write_text(text)
    here = webui / "extensions" / "this one"
    assert places_of_command_line(here).for_new("motion-module") == here / "model"


def test_elsewhere_one_folder_holds_all(tmp_path):
    (tmp_path / "project" / "model").mkdir(parents=True)
    places = places_of_command_line(tmp_path / "project")
    assert places.for_new("motion-module") == places.for_new("motion-lora") == tmp_path / "project" / "model"


def test_what_is_there_is_found_in_subfolders_and_behind_links(webui, tmp_path):
    here = webui / "extensions" / "this one"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "v3_sd15_mm.ckpt").touch()
    (here / "model" / "linked").symlink_to(elsewhere)
    (webui / "models" / "Lora" / "camera").mkdir(parents=True)
    (webui / "models" / "Lora" / "camera" / "v2_lora_ZoomIn.ckpt").touch()
    present = places_of_command_line(here).present()
    assert present["v3_sd15_mm.ckpt"] == here / "model" / "linked" / "v3_sd15_mm.ckpt"
    assert present["v2_lora_ZoomIn.ckpt"].parent.name == "camera"
