"""The command line: ``python -m animatediff_ext COMMAND``.

A command is one function that declares its arguments and names the function that runs it; `COMMANDS` lists them. What
is slow to import (torch, diffusers) is imported by the function that runs, so that help is quick.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from animatediff_ext import __version__
from animatediff_ext.complain import FAILED, WRONG_OPTION, complain
from animatediff_ext.listener import listeners


def main(argv: list[str] | None = None) -> int:
    """Runs one command; the answer is the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # into a file or a pipe, Windows writes in an alphabet of few letters
            stream.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
    try:
        with listeners():
            return arguments.run(arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("animatediff_ext"):
            raise
        return complain(
            f'this command needs the package {error.name}: `pip install -e ".[train]"` in an environment of its own.'
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m animatediff_ext", description="AnimateDiff without a WebUI.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, declare in COMMANDS.items():
        text = declare.__doc__
        declare(commands.add_parser(name, help=text.splitlines()[0], description=text))
    return parser


# ---- inspect ----


def _declare_inspect(parser: argparse.ArgumentParser) -> None:
    """say what model files are, and where they belong"""
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="a model file or a diffusers folder")
    parser.add_argument("--family", metavar="NAME", help="take the files for motion modules of this family")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object for each file")
    parser.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    from animatediff_ext.formats import FormatError, describe, sha256

    found: list[dict[str, Any]] = []
    for path in arguments.files:
        try:
            info = describe(path, family=arguments.family)
            found.append(info.summary() | {"sha256": sha256(path)})
        except FormatError as error:
            complain(error)
            found.append({"path": str(path), "error": str(error)})
        except ValueError as error:  # of --family
            return complain(error, WRONG_OPTION)
    readable = [facts for facts in found if "error" not in facts]
    if arguments.json:
        print(json.dumps(found, indent=2))
    elif readable:
        print("\n\n".join(map(_as_text, readable)))
    return 0 if len(readable) == len(found) else FAILED


def _as_text(facts: dict[str, Any]) -> str:
    rows = {"is": facts["title"], "belongs": facts["fits"]}
    if "family" in facts:
        schedule = facts["schedule"]
        rows = {
            "family": f"{facts['family']} ({facts['title']}), {facts['fits']}",
            "modules": ", ".join(f"{count} {place}" for place, count in facts["modules"].items()),
            "channels": " ".join(map(str, facts["channels"])),
            "positions": f"{facts['num_positions']} frames, from the {facts['positions_from']}",
            "noise": f"{schedule['kind']} {schedule['beta_start']:g} to {schedule['beta_end']:g}",
            "sampling": facts["sampler_hint"],
        }
    rows["weights"] = f"{facts['num_parameters'] / 1e6:,.3f} million, {facts['dtype']}"
    rows["size"] = f"{facts['size_bytes']:,} bytes"
    rows["sha256"] = facts["sha256"]
    # Training scripts write whole tag lists into the metadata; --json gives them in full.
    rows |= {f"  {key}": value[:120] for key, value in sorted(facts["metadata"].items())}
    return "\n".join([facts["path"], *(f"  {name:<10} {text}" for name, text in rows.items() if text)])


# ---- convert ----


def _declare_convert(parser: argparse.ArgumentParser) -> None:
    """write a motion module in another layout or number format"""
    parser.add_argument("source", metavar="IN", type=Path, help="a motion module of any known layout")
    parser.add_argument("target", metavar="OUT", type=Path, help="a .safetensors file; for diffusers a folder")
    parser.add_argument("--family", metavar="NAME", help="take IN for a motion module of this family")
    parser.add_argument("--to", choices=("official", "diffusers"), default="official", help="default: official")
    parser.add_argument(
        "--dtype", choices=("float16", "bfloat16", "float32"), default="float16", help="default: float16"
    )
    parser.set_defaults(run=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    import torch

    from animatediff_ext.formats import load_motion_module, save_motion_adapter, save_motion_module
    from animatediff_ext.media.files import explained

    target = arguments.target
    if arguments.to == "official" and target.is_dir():
        return complain(f"{target} is a folder: give the name of a .safetensors file.")
    if arguments.to == "diffusers" and target.is_file():
        return complain(f"{target} is a file: give the name of a folder, in which diffusers looks for two files.")
    save = {"official": save_motion_module, "diffusers": save_motion_adapter}[arguments.to]
    try:
        model = load_motion_module(arguments.source, family=arguments.family)
        with explained(target):
            save(model, target, dtype=getattr(torch, arguments.dtype), metadata=dict(model.info.metadata))
    except (ValueError, OSError) as error:
        return complain(error)
    print(f"{target}: {model.info.title}, {arguments.to} layout, {arguments.dtype}")
    return 0


# ---- models ----


def _declare_models(parser: argparse.ArgumentParser) -> None:
    """list the known motion modules and LoRAs, and get them"""
    from animatediff_ext.catalogue import commands

    commands.declare(parser)


# ---- train ----


def _declare_train(parser: argparse.ArgumentParser) -> None:
    """train a motion module, a domain adapter or a motion LoRA on your own clips"""
    from animatediff_ext.trainer import commands

    commands.declare(parser)


# ---- generate ----


def _declare_generate(parser: argparse.ArgumentParser) -> None:
    """animate a prompt, or a list of them, with diffusers in place of a WebUI"""
    from animatediff_ext.standalone import commands

    commands.declare(parser)


# ---- the toy world ----


def _declare_demo(parser: argparse.ArgumentParser) -> None:
    """animate a few prompts with the small models that come with the project"""
    from animatediff_ext.toy import commands

    commands.declare_demo(parser)


def _declare_toy(parser: argparse.ArgumentParser) -> None:
    """make the small models anew, measure them, or install them in a WebUI"""
    from animatediff_ext.toy import commands

    commands.declare(parser)


COMMANDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "inspect": _declare_inspect,
    "convert": _declare_convert,
    "models": _declare_models,
    "train": _declare_train,
    "generate": _declare_generate,
    "demo": _declare_demo,
    "toy": _declare_toy,
}

if __name__ == "__main__":
    sys.exit(main())
