"""States of a run on disk: everything that is needed to go on as if it had never stopped.

A state is one file that appears under its name only when it is whole, and older ones are removed only afterwards; so
there is always a good one, whenever the run is killed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import torch

from animatediff_ext.trainer.error import TrainError
from animatediff_ext.whole_file import whole_file

FORMAT = 1
PROCESSES, CLIPS = FACTS = ("processes", "clips")
"""Among the options in a state, and no options: how many processes made it, and a digest of what it was trained on."""
_NAME = re.compile(r"step-(\d+)\.state")

State = dict[str, Any]
"""``format``, ``stage``, ``step`` (the number of steps done), ``config``, and what the loop wants back."""


def states_folder(output: str | Path) -> Path:
    return Path(output) / "states"


def states_in(folder: Path) -> list[Path]:
    """The states in a folder, the newest last."""
    return sorted((path for path in folder.glob("step-*.state") if _NAME.fullmatch(path.name)), key=_step)


def set_aside(folder: Path, step: int) -> list[tuple[Path, Path]]:
    """Rename the states after ``step``, from which a run went back: ``--resume auto`` is not to take them again.

    Returns the old and the new path of each. Raises `TrainError` where one cannot be renamed.
    """
    later = [path for path in states_in(folder) if _step(path) > step]
    try:
        return [(path, path.rename(_free(path))) for path in later]
    except OSError as error:
        raise TrainError(
            f"A state of a later step in {folder} could not be renamed ({error.strerror or error}): move the states "
            f"after step {step} away, then go on."
        ) from error


def _free(path: Path) -> Path:
    """A run may go back more than once."""
    names = (path.with_suffix(f".{number}.aside" if number else ".aside") for number in count())
    return next(name for name in names if not name.exists())


def _step(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])


def save_state(folder: Path, state: State, keep: int) -> Path:
    """Write a state, then remove all but the ``keep`` newest. Raises `TrainError` if it cannot be written."""
    _remove(folder.glob(".*.part"))  # of a save that was killed
    path = folder / f"step-{state['step']:08d}.state"
    try:
        with whole_file(path) as part, part.open("wb") as file:
            torch.save({"format": FORMAT} | state, file)
            file.flush()
            os.fsync(file.fileno())  # whole also after a power cut
    except (OSError, RuntimeError) as error:  # torch's writer turns the one into the other
        reason = getattr(error, "strerror", None) or "the disk took no more"
        advice = "let nothing else hold the folder" if isinstance(error, PermissionError) else "make room on the disk"
        kept = states_in(folder)
        rest = f"The last whole one is {kept[-1]}." if kept else "There is none before it."
        raise TrainError(
            f"The state of step {state['step']} could not be written to {folder} ({reason}): {advice}, "
            f"then go on with --resume auto. {rest}"
        ) from error
    _remove(states_in(folder)[:-keep])
    return path


def _remove(paths: Iterable[Path]) -> None:
    """What cannot be removed now, since a backup or an export reads it, is removed by a later save."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def load_state(path: str | Path, *, stage: str | None = None) -> State:
    """Read a state. Raises `TrainError` where the file is no state, of another version, or of another stage."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainError(
            f"There is no state {path}: give a file such as runs/NAME/states/step-00000500.state (a run finds "
            "its newest one by --resume auto)."
        ) from None
    except Exception as error:  # a damaged archive can raise anything
        raise TrainError(
            f"{path} is no state of a run, or is damaged ({str(error).splitlines()[0]}): give another of its folder."
        ) from error
    if not isinstance(state, dict) or "format" not in state or "stage" not in state:
        raise TrainError(f"{path} is a model, not the state of a run: give a file from the folder states of a run.")
    if state["format"] != FORMAT:
        raise TrainError(
            f"{path} was written in format {state['format']}, and this trainer reads format {FORMAT}: "
            "go on with the version that wrote it."
        )
    if stage is not None and state["stage"] != stage:
        raise TrainError(
            f"{path} is of a run of `train {state['stage']}`, not of `train {stage}`: give the state of this run."
        )
    return state


def state_to_resume(output: str, wish: str | None) -> Path | None:
    """The state that a run starts from: with ``auto`` the newest one of its folder, if there is one.

    Raises `TrainError` where a run would begin anew in a folder that has an earlier one.
    """
    there = states_in(states_folder(output))
    if wish == "auto":
        return there[-1] if there else None
    if wish is not None:
        return Path(wish)
    if there:
        raise TrainError(
            f"{output} has an earlier run ({there[-1].name}): go on with it by --resume auto, or choose another folder "
            "with --set run.output=…"
        )
    return None
