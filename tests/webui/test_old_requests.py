"""Requests that sd-webui-animatediff's documentation and issue threads show run as they are, and return what they did.

Only the sizes and the names of motion modules are those of the tests.
"""

import json
from pathlib import Path

import pytest

from tests.webui.host import is_file, opened, picture
from tests.webui.host import sent as bytes_of

KNOWN = json.loads((Path(__file__).parent / "data" / "old_requests.json").read_text(encoding="utf-8"))


def kind_of(image) -> str:
    content = bytes_of(image)
    if not is_file(image):
        return "Frame"
    return "GIF" if content.startswith(b"GIF") else "MP4" if content[4:8] == b"ftyp" else "?"


@pytest.mark.parametrize("known", KNOWN, ids=[known["source"] for known in KNOWN])
def test_it_runs_and_returns_what_it_returned(host, known, motion_modules):
    sent = json.loads(json.dumps(known["args"]).replace("{folder}", motion_modules.as_posix()))
    fields = {"init_images": [picture()]} if known.get("init_images") else {}
    page = host.webui("arguments").page_fields(bool(fields))
    args = [*sent, *(field.default for field in page[len(sent) - 1 :])]  # as the API fills them up
    p = host.p(args=args, **fields)
    processed = host.run(p)

    assert [kind_of(image) for image in processed.images] == known["returns"]
    assert p.batch_size == 1  # what it was
    for image in processed.images:
        if kind_of(image) == "GIF":
            gif = opened(image)
            assert gif.n_frames == known["frames"]
            if "seconds" in known:
                total = 0
                for frame in range(gif.n_frames):
                    gif.seek(frame)
                    total += gif.info["duration"]
                assert total == pytest.approx(1000 * known["seconds"], abs=20)
    assert any(known.get("files", "") in name for name in host.files())
    comments = list(p.comments)
    assert all(known["comment"] in comment for comment in comments) if "comment" in known else True
    assert bool(comments) >= ("comment" in known)
