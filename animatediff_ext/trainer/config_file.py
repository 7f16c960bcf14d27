"""The configuration as TOML: reading, options from the command line, and the commented file of ``train init``."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from animatediff_ext.setting import Setting, SettingsError
from animatediff_ext.toml import toml_tables
from animatediff_ext.trainer.config import SECTIONS, VERSION, Config, Data, options
from animatediff_ext.trainer.error import TrainError

VERSION_KEY = "version"

STAGES: dict[str, str] = {
    "adapter": "a LoRA on the image layers that learns how the videos look, so that motion is learnt without it",
    "motion": "a motion module, on a base and an adapter that stay as they are",
    "lora": "a motion LoRA: one kind of motion from a few clips, for a motion module that stays as it is",
}
"""What can be trained, in the order of the paper."""

STAGE_DEFAULTS: dict[str, dict[str, Any]] = {
    "adapter": {
        "run.name": "my-adapter",
        "run.output": "runs/my-adapter",
        "run.steps": 2000,
        "lora.rank": 128,
        "sample.buckets": ["256x256x1"],
        "sample.batch": 8,
        "validate.every": 0,
    },
    "motion": {},
    "lora": {
        "run.name": "my-motion-lora",
        "run.output": "runs/my-motion-lora",
        "run.steps": 2000,
        "optim.warmup": 50,
    },
}
_UNUSED = {"adapter": ("motion", "adapter"), "motion": ("lora",), "lora": ()}
"""Sections that say nothing to a stage; ``train init`` leaves them out."""


def read_config(stage: str, path: str | Path | None = None, settings: Iterable[str] = ()) -> Config:
    """The configuration of a run: the stage's defaults, then the file, then ``section.option=value`` one by one.

    Raises `TrainError` with what is wrong and what is allowed.
    """
    tables = _nested(STAGE_DEFAULTS[stage])
    if path is not None:
        _merge(tables, _read(Path(path)))
    for text in settings:
        _set(tables, text)
    return _config(tables)


def _read(path: Path) -> dict[str, Any]:
    try:
        tables = toml_tables(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise TrainError(f"There is no configuration {path}: write one with `train init STAGE {path}`.") from None
    except OSError as error:
        raise TrainError(f"The configuration {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:  # also of a text that is no UTF-8
        raise TrainError(f"The configuration {path} is no TOML: {error}.") from error
    version = tables.pop(VERSION_KEY, VERSION)
    if version != VERSION:
        raise TrainError(
            f"The configuration {path} is of version {version!r}, and this trainer reads version {VERSION}: write a "
            "new one with `train init`, and carry your values over."
        )
    return tables


def _set(tables: dict[str, Any], text: str) -> None:
    """``optim.lr=5e-5``; for the first or a numbered source of clips ``data.path=clips``, ``data.1.path=more``."""
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or len(names) < 2:
        raise TrainError(f"--set {text} cannot be read: write section.option=value, such as optim.lr=5e-5.")
    known = options(SECTIONS[names[0]]).get(names[-1]) if names[0] in SECTIONS else None
    _merge(tables, _nested({".".join(names): _value(value.strip(), known)}))


def _value(text: str, known: Setting | None) -> Any:
    """As TOML reads it; where a text is wanted, quotes may be left out."""
    if known is not None and known.kind is str and text[:1] not in ("'", '"'):
        return text
    try:
        return toml_tables(f"value = {text}")["value"]
    except ValueError:
        return text


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        section, *rest = key.split(".")
        if section == "data":
            number = int(rest.pop(0)) if rest and rest[0].isdecimal() else 0
            tables.setdefault(section, {}).setdefault(number, {})[".".join(rest)] = value
        else:
            tables.setdefault(section, {})[".".join(rest)] = value
    return tables


def _merge(tables: dict[str, Any], more: dict[str, Any]) -> None:
    for section, values in more.items():
        if section == "data":
            values = dict(enumerate(values)) if isinstance(values, list) else values
            if not isinstance(values, dict):
                raise TrainError(f"data is {values!r}: write it as [[data]] with its options below.")
            if not all(isinstance(number, int) for number in values):  # [data] instead of [[data]]
                values = {0: values}
            for number, source in values.items():
                if not isinstance(source, dict):
                    raise TrainError(f"data has {source!r}: write it as [[data]] with its options below.")
                tables.setdefault(section, {}).setdefault(number, {}).update(source)
        elif isinstance(values, dict):
            tables.setdefault(section, {}).update(values)
        elif section in SECTIONS:
            raise TrainError(f"{section} is {values!r}: write it as [{section}] with its options below.")
        else:
            raise TrainError(_unknown(section))


def _config(tables: dict[str, Any]) -> Config:
    try:
        sections = {name: _section(name, values) for name, values in tables.items()}
        return Config(**sections)
    except SettingsError as error:
        raise TrainError(f"In the configuration, {error}") from error


def _section(name: str, values: dict) -> Any:
    if name not in SECTIONS:
        raise TrainError(_unknown(f"{name}.{next(iter(values), '')}".rstrip(".")))
    if name == "data":
        return tuple(_filled(name, values[number]) for number in sorted(values))
    return _filled(name, values)


def _filled(name: str, values: dict[str, Any]) -> Any:
    known = options(SECTIONS[name])
    for key in values:
        if key not in known:
            raise TrainError(_unknown(f"{name}.{key}"))
    return SECTIONS[name](**values)


def _unknown(key: str) -> str:
    near = _nearest(key)
    hint = f"did you mean {near}?" if near else f"the sections are {', '.join(SECTIONS)}."
    return f"There is no option {key}: {hint}"


def _nearest(key: str) -> str | None:
    """The option, or the section, that was probably meant: of the same name elsewhere, so described, or so spelled."""
    known = {f"{section}.{name}": o.info for section, cls in SECTIONS.items() for name, o in options(cls).items()}
    section, _, option = key.partition(".")
    same = [name for name in known if option and name.endswith(f".{option}")]
    described = [name for name, info in known.items() if option and info.startswith(option.replace("_", " "))]
    spelled = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return next(iter([*same, *described, *spelled, *difflib.get_close_matches(section, SECTIONS)]), None)


# ---- writing ----


def flat_values(config: Config) -> dict[str, Any]:
    """``section.option`` → value, for comparison and for what is printed. Sources of clips are numbered."""
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(Config):
        found = getattr(config, entry.name)
        numbered = {f"{entry.name}.{i}": part for i, part in enumerate(found)} if entry.name == "data" else None
        for prefix, part in (numbered or {entry.name: found}).items() if found != () else ():
            values |= {f"{prefix}.{name}": getattr(part, name) for name in options(type(part))}
    return values


def config_of(values: dict[str, Any]) -> Config:
    """The inverse of `flat_values`. Options that this version does not know are an error."""
    return _config(_nested(values))


def commented(stage: str) -> str:
    """The file that ``train init`` writes: every option that the stage reads, with its default and its meaning."""
    config = _config(_nested(STAGE_DEFAULTS[stage]))
    lines = [f"# python -m animatediff_ext train {stage} THIS_FILE", f"# {STAGES[stage]}", f"{VERSION_KEY} = {VERSION}"]
    for name, cls in SECTIONS.items():
        if name not in _UNUSED[stage]:
            section = Data(path="clips") if name == "data" else getattr(config, name)
            lines += ["", f"# {cls.__doc__}", f"[[{name}]]" if name == "data" else f"[{name}]"]
            lines += [_line(known, option, getattr(section, option)) for option, known in options(cls).items()]
    return "\n".join(lines) + "\n"


def as_text(config: Config) -> str:
    """All values, one in a line, as ``train check`` prints them."""
    return "\n".join(f"{name} = {_toml(value)}" for name, value in flat_values(config).items())


def _line(known: Setting, name: str, value: Any) -> str:
    comment = "; ".join(filter(None, [known.info, _allowed(known)]))
    return f"{name} = {_toml(value)}" + (f"  # {comment}" if comment else "")


def _allowed(known: Setting) -> str:
    return "one of " + ", ".join(known.choices) if known.choices else ""


def _toml(value: Any) -> str:
    """JSON's spelling of texts, numbers, booleans and lists is also TOML's."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
