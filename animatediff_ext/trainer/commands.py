"""The subcommands of ``python -m animatediff_ext train``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from animatediff_ext.complain import FAILED, INTERRUPTED, complain
from animatediff_ext.trainer.config_file import STAGES, commented, read_config
from animatediff_ext.trainer.error import TrainError


def declare(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _declare_init(commands.add_parser("init", help="write a commented configuration"))
    _declare_check(commands.add_parser("check", help="show the resolved run, its size and its data; train nothing"))
    for stage, what in STAGES.items():
        _declare_stage(commands.add_parser(stage, help=f"train {what}", description=f"Trains {what}."), stage)
    _declare_export(commands.add_parser("export", help="write the files of a saved state"))


def _declare_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a new .toml; without it, it is printed")
    parser.set_defaults(run=_saying_problems(_init))


def _declare_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", choices=STAGES)
    _add_config(parser)
    parser.add_argument(
        "--processes", type=_at_least_one, default=1, metavar="N", help="as many as will train; default: 1"
    )
    parser.set_defaults(run=_saying_problems(_check))


def _declare_stage(parser: argparse.ArgumentParser, stage: str) -> None:
    _add_config(parser)
    parser.add_argument("--resume", metavar="auto|PATH", help="go on from the run's newest state, or from this one")
    parser.set_defaults(run=_saying_problems(_train), stage=stage)


def _declare_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("state", type=Path, metavar="STATE", help="a file from the folder states of a run")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: the run's own folder")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), help="default: that of the run")
    parser.set_defaults(run=_saying_problems(_export))


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} processes cannot train: give 1 or more")
    return number


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="a .toml that `train init` wrote")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="OPTION=VALUE",
        help="an option in place of the configuration's, such as optim.lr=5e-5; may come several times",
    )


def _init(arguments: argparse.Namespace) -> int:
    text = commented(arguments.stage)
    if arguments.file is None:
        print(text, end="")
        return 0
    if not arguments.file.parent.is_dir():
        raise TrainError(f"There is no folder {arguments.file.parent}: make it first, or choose another one.")
    try:
        with arguments.file.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TrainError(f"{arguments.file} is there already: choose another name, or remove it first.") from None
    print(f"{arguments.file}: fill in base.checkpoint and data.path, then `train check {arguments.stage}` it.")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from animatediff_ext.trainer.check import check

    for line in check(arguments.stage, _config(arguments), arguments.processes):
        print(line, flush=True)
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from animatediff_ext.trainer.processes import ended_at_once
    from animatediff_ext.trainer.run import train

    with ended_at_once(_said):
        files = train(arguments.stage, _config(arguments), resume=arguments.resume)
    _print_files(files)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from animatediff_ext.trainer.export_state import export_state

    _print_files(export_state(arguments.state, folder=arguments.output, dtype=arguments.dtype))
    return 0


def _config(arguments: argparse.Namespace):
    return read_config(arguments.stage, arguments.config, arguments.settings)


def _print_files(files: list[Path]) -> None:
    if files and _rank() == "0":
        print("\n".join(map(str, files)))


def _rank() -> str:
    """As the launcher set it, be it a number or not."""
    return os.environ.get("RANK", "0")


def _saying_problems(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A problem that the user can mend is one sentence; anything else is ours, and keeps its traceback."""

    def command(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except (Exception, KeyboardInterrupt) as error:
            status = _said(error)
            if status is None:
                raise
            return status

    return command


def _said(error: BaseException) -> int | None:
    """Say what is wrong; the exit status, or None where it was not said, being no problem of the user."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, ModuleNotFoundError):  # said by the command line, for all commands alike
        return None
    problems = _problems()
    if isinstance(error, problems.SAID_ELSEWHERE):
        return FAILED
    return _say(str(error)) if isinstance(error, problems.OF_THE_USER) else None


def _say(sentence: str) -> int:
    who = "" if _rank() == "0" else f"process {_rank()}: "
    return complain(f"{who}{sentence}")


def _problems():
    from animatediff_ext.trainer import problems  # slow: it knows everything that can fail

    return problems
