"""Running ``generate`` in tests."""

import json

from animatediff_ext.__main__ import main
from animatediff_ext.held import LOCK

SMALL = ("--size", "32x32", "--frames", "3", "--steps", "2", "--cfg", "1")


def generate(*arguments):
    """The exit code."""
    return main(["generate", *map(str, arguments)])


def files_in(folder):
    """But for the file by which commands wait for each other."""
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.exists() else []


def write_jobs(tmp_path, *jobs):
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(job if isinstance(job, str) else json.dumps(job) for job in jobs))
    return path
