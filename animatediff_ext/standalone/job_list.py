"""The jobs of one call: the options of the command line, a TOML file below them, a JSONL of many jobs above them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone.job import Job, job_of, settled
from animatediff_ext.standalone.naming import stem_in_list
from animatediff_ext.toml import toml_tables


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One job of a list, or why it is none."""

    number: int
    """From 1 on."""
    line: int
    """In the file, from 1 on; 0 where there is no file."""
    job: Job | None
    problem: str = ""
    """One sentence, where there is no job."""


def read_defaults(
    config: Path | None = None, flags: Mapping[str, Any] | None = None, assignments: Iterable[str] = ()
) -> dict[str, Any]:
    """Options by name: those of the TOML file, then the flags over them, then ``NAME=VALUE`` one by one.

    Raises `SettingsError`.
    """
    values = settled(_toml(config)) if config else {}
    values |= settled(flags or {})
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text} cannot be read: write NAME=VALUE, such as closed_loop=N.")
        values |= settled({name.strip(): value.strip()})
    return values


def read_jobs(path: Path, defaults: Mapping[str, Any]) -> list[Entry]:
    """The jobs of a JSONL: each line is an object of options, which go before ``defaults``; empty lines are left out.

    What is wrong with one line is said in its entry. Raises `SettingsError` where the file cannot be read.
    """
    text = _text(path, "list of jobs")
    # Not splitlines: JSON's texts may have other ends of lines in them.
    lines = [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise SettingsError(f"The list of jobs {path} is empty: write one JSON object in each line.")
    entries = (_entry(number, i, line, defaults) for number, (i, line) in enumerate(lines, start=1))
    return list(_with_different_names(entries))


def _entry(number: int, line: int, text: str, defaults: Mapping[str, Any]) -> Entry:
    try:
        return Entry(number=number, line=line, job=job_of({**defaults, **settled(_object(text))}))
    except SettingsError as error:
        return Entry(number=number, line=line, job=None, problem=str(error))


def _object(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        reason = getattr(error, "msg", str(error))
        hint = r" Write paths with / or \\." if "\\" in text else ""
        raise SettingsError(
            f'This is no JSON ({reason}): write an object such as {{"prompt": "a cat"}}.{hint}'
        ) from error
    if not isinstance(values, dict):
        raise SettingsError('This is no JSON object: write one such as {"prompt": "a cat"}.')
    return values


def _with_different_names(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Two jobs of one name would write the same files. Some disks do not tell capitals from small letters."""
    lines: dict[str, int] = {}
    for entry in entries:
        if entry.job and entry.job.name:
            stem = str(stem_in_list(entry.job, entry.number)).casefold()
            before = lines.setdefault(stem, entry.line)
            if before != entry.line:
                problem = f"Its files would be those of line {before} too ({entry.job.name}): give it another name."
                entry = replace(entry, job=None, problem=problem)
        yield entry


def _toml(path: Path) -> dict[str, Any]:
    text = _text(path, "configuration")
    try:
        values = toml_tables(text)
    except ValueError as error:
        raise SettingsError(f"The configuration {path} is no TOML: {error}.") from error
    for name, value in values.items():
        if isinstance(value, dict):
            raise SettingsError(f"The configuration {path} has a table [{name}]: write all options without tables.")
    return values


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SettingsError(f"The {what} {path} is not there: give a file that is.") from None
    except OSError as error:
        raise SettingsError(f"The {what} {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"The {what} {path} is no UTF-8 text ({error.reason}): save it as UTF-8.") from error
