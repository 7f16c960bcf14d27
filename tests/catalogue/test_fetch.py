"""Getting a file of the list from a hub on loopback."""

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import pytest
from huggingface_hub import constants

from animatediff_ext.catalogue import KNOWN, HubError, fetch
from tests.catalogue.conftest import CHUNK, file_of, point_to
from tests.command_line import ROOT, free_port

NAME = "someone/some-modules/sub/mm_test.safetensors"


def holds(path, content):
    """Without pytest's comparison of two long contents, which does not end."""
    return path.read_bytes() == content


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_a_file_arrives_whole_under_its_name_in_a_folder_that_is_made(hub, known, module_bytes, tmp_path):
    seen = []
    fetched = fetch(known, tmp_path / "deep" / "model", lambda have, size: seen.append((have, size)))
    assert fetched.path == tmp_path / "deep" / "model" / "mm_test.safetensors"
    assert (fetched.was_there, fetched.verified_by) == (False, "list")
    assert holds(fetched.path, module_bytes)
    assert files_in(fetched.path.parent) == ["mm_test.safetensors"]
    assert seen == sorted(seen)
    assert (seen[0][0], seen[-1]) == (0, (len(module_bytes), len(module_bytes)))
    assert len(seen) > 3


def test_what_is_there_is_not_fetched_again(hub, known, module_bytes, tmp_path):
    (tmp_path / "mm_test.safetensors").write_bytes(module_bytes)
    assert fetch(known, tmp_path).was_there
    assert hub.authorizations == []


def test_another_file_of_that_name_is_left_alone(hub, known, tmp_path):
    (tmp_path / "mm_test.safetensors").write_bytes(b"the user's own")
    with pytest.raises(HubError, match=r"mm_test\.safetensors is there, but is not the published file"):
        fetch(known, tmp_path)
    assert (tmp_path / "mm_test.safetensors").read_bytes() == b"the user's own"


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub, known, module_bytes, tmp_path):
    hub.cuts = [3 * CHUNK, 2 * CHUNK]
    assert holds(fetch(known, tmp_path).path, module_bytes)
    assert hub.ranges == [None, f"bytes={3 * CHUNK}-", f"bytes={5 * CHUNK}-"]


def test_an_interrupted_download_goes_on_the_next_time(hub, known, module_bytes, tmp_path):
    hub.cuts = [4 * CHUNK, 0]
    with pytest.raises(HubError, match=r"could not be fetched, after .* MB, which are kept for the next time"):
        fetch(known, tmp_path)
    (left,) = files_in(tmp_path)
    assert left == f"mm_test.safetensors.{known.sha256[:12]}.part"
    hub.ranges.clear()
    assert holds(fetch(known, tmp_path).path, module_bytes)
    assert hub.ranges == [f"bytes={4 * CHUNK}-"]
    assert files_in(tmp_path) == ["mm_test.safetensors"]


def test_what_progress_raises_ends_the_download_and_keeps_what_there_is(hub, known, tmp_path):
    def stop(have, size):
        if have > 2 * CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(known, tmp_path, stop)
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".part"
    assert left.stat().st_size > CHUNK


def test_a_part_of_what_the_hub_had_before_is_not_built_upon(hub, known, module_bytes, tmp_path):
    (tmp_path / "mm_test.safetensors.0123456789ab.part").write_bytes(bytes(CHUNK))
    assert holds(fetch(known, tmp_path).path, module_bytes)
    assert hub.ranges == [None]
    assert files_in(tmp_path) == ["mm_test.safetensors"]


def test_a_server_that_cannot_go_on_sends_all_of_it_again(hub, known, module_bytes, tmp_path):
    hub.cuts = [2 * CHUNK]
    hub.knows_range = False
    assert holds(fetch(known, tmp_path).path, module_bytes)
    assert hub.ranges[:2] == [None, f"bytes={2 * CHUNK}-"]  # some versions of the library see it, others ask again


def test_damaged_content_is_not_kept(hub, known, tmp_path):
    hub.damage = True
    with pytest.raises(HubError, match=r"arrived damaged \(its sha256 is not [0-9a-f]{12}…\): get it again"):
        fetch(known, tmp_path)
    assert files_in(tmp_path) == []


def test_a_file_that_was_replaced_at_the_hub_is_not_fetched(hub, known, tmp_path):
    with pytest.raises(HubError, match=r"is not the mm_test\.safetensors that is known here"):
        fetch(replace(known, sha256="f" * 64), tmp_path)
    assert hub.ranges == []
    assert files_in(tmp_path) == []


def test_without_a_hash_in_the_list_the_hubs_counts(hub, known, tmp_path):
    assert fetch(replace(known, sha256=None), tmp_path).verified_by == "hub"
    hub.damage = True
    with pytest.raises(HubError, match="arrived damaged"):
        fetch(replace(known, sha256=None), tmp_path / "other")


def test_without_any_hash_size_and_content_count(hub, known, tmp_path):
    hub.is_lfs = False
    assert fetch(replace(known, sha256=None), tmp_path).verified_by == "size"


def test_a_hash_of_the_list_counts_where_the_hub_names_none(hub, known, tmp_path):
    hub.is_lfs = False
    hub.damage = True
    with pytest.raises(HubError, match="arrived damaged"):
        fetch(known, tmp_path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"family": "v2"}, "is AnimateDiff v3, and should be a motion-module for v2"),
        ({"kind": "motion-lora"}, "is AnimateDiff v3, and should be a motion-lora for v3"),
    ],
)
def test_a_file_that_is_something_else_is_not_kept(hub, known, tmp_path, change, what):
    with pytest.raises(HubError, match=what):
        fetch(replace(known, **change), tmp_path)
    assert files_in(tmp_path) == []


def test_a_file_that_cannot_be_read_is_not_kept(hub, known, tmp_path):
    hub.files[NAME] = b"<html>a login page</html>" * 100
    with pytest.raises(HubError, match=r"What came as mm_test\.safetensors is of no use"):
        fetch(replace(known, sha256=None), tmp_path)
    assert files_in(tmp_path) == []


def test_the_name_tells_lightning_from_v2_while_it_is_only_a_part(hub, known, tmp_path):
    path = "animatediff_lightning_4step_comfyui.safetensors"
    hub.files[f"{known.repo}/{path}"] = file_of("lightning", tmp_path)
    assert fetch(replace(known, path=path, family="lightning", sha256=None), tmp_path / "model").path.name == path


@pytest.mark.parametrize(
    ("status", "what"), [(404, "is not there"), (401, "may not be read"), (403, "may not be read"), (500, "status 500")]
)
def test_refusals_are_one_sentence_with_the_address(hub, known, tmp_path, status, what):
    hub.status = status
    with pytest.raises(HubError, match=what) as caught:
        fetch(known, tmp_path)
    assert f"{hub.url}/someone/some-modules/resolve/main/sub/mm_test.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == []


def test_a_file_that_is_gone_is_one_sentence(hub, known, tmp_path):
    hub.files.clear()
    with pytest.raises(HubError, match=r"is not there \(any more\): look into the repository someone/some-modules"):
        fetch(known, tmp_path)


def test_no_network_is_one_sentence(hub, known, tmp_path, monkeypatch):
    point_to(f"http://127.0.0.1:{free_port()}", monkeypatch)
    with pytest.raises(HubError, match=r"nothing has arrived \(.*refused.*\): look to the connection .* HF_ENDPOINT"):
        fetch(known, tmp_path)


def test_offline_is_one_sentence(hub, known, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        fetch(known, tmp_path)
    assert hub.authorizations == []


def test_an_endpoint_that_is_no_hub_is_said(hub, known, tmp_path):
    hub.says_size = False
    with pytest.raises(HubError, match="does not say how large the file is"):
        fetch(known, tmp_path)


def test_too_little_room_is_found_before_anything_is_fetched(hub, known, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 99, 1))
    with pytest.raises(HubError, match=r"no room for mm_test\.safetensors in .* are needed and .* are free"):
        fetch(known, tmp_path)
    assert hub.ranges == []


def test_a_disk_that_is_full_on_the_way_is_one_sentence(hub, known, tmp_path):
    def full(have, size):
        if have > CHUNK:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(HubError, match=r"no room for mm_test\.safetensors .*the disk is full"):
        fetch(known, tmp_path, full)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the folder would be writable")
def test_a_folder_that_cannot_be_written_is_one_sentence(hub, known, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(HubError, match="cannot be read or written"):
        fetch(known, tmp_path)


def test_a_folder_that_is_a_file_is_one_sentence(hub, known, tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(HubError, match="cannot be read or written"):
        fetch(known, tmp_path / "model")


def test_a_folder_of_that_name_is_one_sentence(hub, known, tmp_path):
    (tmp_path / "mm_test.safetensors").mkdir()
    with pytest.raises(HubError, match="cannot be read or written"):
        fetch(known, tmp_path)


def test_a_second_download_of_the_same_file_waits_its_turn(hub, known, tmp_path):
    def again(have, size):
        if have == size:
            with pytest.raises(HubError, match="is being fetched already"):
                fetch(known, tmp_path)
            seen.append(have)

    seen = []
    assert fetch(known, tmp_path, again).path.exists()
    assert seen == [len(hub.files[NAME])]


def test_the_users_token_goes_to_the_hub_and_no_further(hub, known, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    fetch(known, tmp_path)
    assert set(hub.authorizations) == {"Bearer hf_of_the_user"}
    assert hub.store_authorizations == [None]


def test_without_the_library_a_sentence_says_what_to_do(known, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match="pip install huggingface_hub"):
        fetch(known, tmp_path)


def test_the_address_of_a_mirror_is_used(hub, known):
    """In a process that starts with it, and that has neither torch nor a WebUI."""
    code = (
        "import sys; from animatediff_ext.catalogue.hub import look_up; from animatediff_ext.catalogue import KNOWN\n"
        "print(look_up(KNOWN[0]).url, 'torch' in sys.modules)"
    )
    hub.files[f"{KNOWN[0].repo}/{KNOWN[0].path}"] = b"something"
    variables = os.environ | {"HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == [
        f"{hub.url}/{KNOWN[0].repo}/resolve/0123456789abcdef0123456789abcdef01234567/{KNOWN[0].path}",
        "False",
    ], done.stderr
