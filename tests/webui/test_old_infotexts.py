"""Infotexts of every version of sd-webui-animatediff that wrote one."""

import json
from pathlib import Path

import pytest

KNOWN = json.loads((Path(__file__).parent / "data" / "old_infotexts.json").read_text(encoding="utf-8"))
SAMPLING = "a cat\nNegative prompt: blue\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 7, Size: 512x512"


def pasted(host, text: str) -> dict[str, str]:
    """What the host's page hands to its fields; values are texts or what they mean."""
    results = host.module("infotext_utils").parse_generation_parameters(text)
    host.callbacks.call("infotext_pasted", text, results)
    return {name.removeprefix("AnimateDiff "): value for name, value in results.items()}


@pytest.mark.parametrize("known", KNOWN, ids=[known["version"] for known in KNOWN])
@pytest.mark.parametrize("behind", ["", ", Version: v1.6.0"])
def test_it_fills_the_page_and_enables(host, known, behind):
    found = pasted(host, f"{SAMPLING}, AnimateDiff: {known['entry']}{behind}")
    assert str(found["enable"]) == "True"
    assert {name: str(found[name]) for name in known["means"]} == known["means"]
    assert found["Seed"] == "7"
    assert str(found["old_numerics"]) == "False"


def test_a_list_survives(host):
    as_pairs = host.webui("old_infotexts").as_pairs
    assert "format: GIF+MP4, " in as_pairs(f"{SAMPLING}, AnimateDiff: {KNOWN[0]['entry']}")


@pytest.mark.parametrize(
    "text",
    [
        f'{SAMPLING}, AnimateDiff: {{"model": "mm.ckpt", "fps": 8',
        f'AnimateDiff: {{"fps": 5}} as a prompt\n{SAMPLING}',
        SAMPLING,
        "",
    ],
    ids=["cut off", "in the prompt", "of a still", "empty"],
)
def test_what_is_no_dictionary_is_none(host, text):
    assert host.webui("old_infotexts").as_pairs(text) is None
    assert "enable" not in pasted(host, text)
