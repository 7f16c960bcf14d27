"""The documents say what the code does."""

import re
from pathlib import Path

import pytest

from animatediff_ext.params import SETTINGS
from animatediff_ext.setting import Setting

ROOT = Path(__file__).parent.parent


def row(known: Setting) -> str:
    """The line of docs/arguments.md for one setting."""
    kind = known.kind.__name__ if known.kind else {"last_frame": "base64"}.get(known.api, "path")
    if known.choices:
        allowed = ", ".join(known.choices)
    elif known.maximum is not None:
        allowed = f"{known.minimum:g} to {known.maximum:g}"
    elif known.minimum is not None:
        allowed = f"{known.minimum:g} or more"
    else:
        allowed = ""
    default = list(known.default) if isinstance(known.default, tuple) else known.default
    where = "img2img" if known.img2img_only else "" if known.label else "API only"
    return f"| `{known.api}` | {kind} | `{default!r}` | {allowed} | {known.label} | {where} |"


@pytest.mark.parametrize("api", SETTINGS)
def test_every_argument_is_documented_as_it_is(api):
    assert row(SETTINGS[api]) in (ROOT / "docs" / "arguments.md").read_text(encoding="utf-8").splitlines()


def test_no_other_argument_is_documented():
    text = (ROOT / "docs" / "arguments.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(SETTINGS)


@pytest.mark.parametrize(
    "document",
    ["README.md", "CHANGELOG.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))],
)
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target


def test_every_picture_stands_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert [path.name for path in (ROOT / "docs" / "pictures").iterdir() if f"pictures/{path.name})" not in pages] == []
