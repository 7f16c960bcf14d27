"""Run by the WebUI before it starts: adds what its environment lacks, never changes what is there."""

from importlib.util import find_spec
from pathlib import Path

import launch

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def missing() -> list[str]:
    """The requirements whose package cannot be imported."""
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and find_spec(line.split(">")[0]) is None]


for requirement in missing():
    # --no-deps: what they need the WebUI has, and its versions stay as they are
    launch.run_pip(f'install --no-deps "{requirement}"', f"{requirement} for AnimateDiff")
