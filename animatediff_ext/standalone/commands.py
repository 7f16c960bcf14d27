"""The command ``python -m animatediff_ext generate``."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animatediff_ext.complain import FAILED, INTERRUPTED, WRONG_OPTION, complain
from animatediff_ext.setting import Setting, SettingsError
from animatediff_ext.standalone.job import OPTIONS, OTHER_NAMES, job_of
from animatediff_ext.standalone.job_list import Entry, read_defaults, read_jobs
from animatediff_ext.standalone.processes import Process, end_together, this_process

FLAGS = (
    *("checkpoint", "motion_module", "prompt", "negative", "frames", "fps", "size", "steps", "cfg", "seed", "sampler"),
    *("clip_skip", "lora", "init", "strength", "vae", "tokenizer", "prediction", "format", "output", "name"),
    *("device", "dtype", "low_memory"),
)
"""Options that have a flag of their own; the others are given with ``--set``."""
_METAVARS = {int: "N", float: "X", str: "TEXT", list: "TEXT"}


def declare(parser: argparse.ArgumentParser) -> None:
    for name in FLAGS:
        _add_flag(parser, name, OPTIONS[OTHER_NAMES.get(name, name)])
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="NAME=VALUE",
        help="any option, also of docs/arguments.md, such as closed_loop=N; may come several times",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="options, which those of the command line override"
    )
    parser.add_argument(
        "--jobs", type=Path, metavar="FILE.jsonl", help="many jobs: the options of each line override all others"
    )
    parser.set_defaults(run=_generate)


def _add_flag(parser: argparse.ArgumentParser, name: str, known: Setting) -> None:
    """Values are left as text: they are checked where those of files are. Without a flag there is no value."""
    flag, text = f"--{name.replace('_', '-')}", _help(known)
    if known.kind is bool:
        parser.add_argument(flag, dest=name, action="store_const", const=True, help=text)
    else:
        several = known.kind is list and not known.choices
        metavar = _METAVARS[known.kind]
        parser.add_argument(flag, dest=name, action="append" if several else "store", metavar=metavar, help=text)


def _help(known: Setting) -> str:
    choices = f"one of {', '.join(known.choices)}" if known.choices else ""
    given = ",".join(known.default).lower() if isinstance(known.default, tuple) else known.default
    default = f"default: {given}" if known.kind in (int, float) or given else ""
    return "; ".join(filter(None, [known.info or known.label, choices, default])).replace("%", "%%")


def _generate(arguments: argparse.Namespace) -> int:
    try:
        process = this_process()
        with _ctrl_c_for_every_stop():
            failed = _run(arguments, process)
    except SettingsError as error:
        return _complain(str(error), WRONG_OPTION)
    except KeyboardInterrupt:
        return _complain("Stopped. What was finished is there; the same command goes on from it.", INTERRUPTED)
    return FAILED if failed else 0


def _run(arguments: argparse.Namespace, process: Process) -> int:
    """How many jobs failed."""
    entries = entries_of(arguments)
    from animatediff_ext.standalone.generate import generate  # seconds, which a wrong option need not wait for

    failed = generate(entries, process)
    end_together(process, failed > 0)
    return failed


def entries_of(arguments: argparse.Namespace) -> list[Entry]:
    """The jobs that a command line asks for. Raises `SettingsError`."""
    flags = {name: getattr(arguments, name) for name in FLAGS if getattr(arguments, name) is not None}
    defaults = read_defaults(arguments.config, flags, arguments.assignments)
    if arguments.jobs:
        return read_jobs(arguments.jobs, defaults)
    return [Entry(number=1, line=0, job=job_of(defaults))]


@contextmanager
def _ctrl_c_for_every_stop() -> Iterator[None]:
    """SIGTERM, which torchrun and schedulers send, breaks off as Ctrl-C does: files in work are removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(sentence: str, status: int) -> int:
    """Said once, however many processes torchrun started."""
    return complain(sentence, status) if os.environ.get("RANK", "0") == "0" else status
