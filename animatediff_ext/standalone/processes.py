"""One process, or many under torchrun: which jobs are this one's, and which device.

Jobs know nothing of each other, so processes share them by their numbers and need not talk, but for when they end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from animatediff_ext.setting import SettingsError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Process:
    """This process among all of them."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Among those of this machine."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every item is in the share of one process."""
        return items[self.rank :: self.world]


ALONE = Process()


def this_process(environment: Mapping[str, str] = os.environ) -> Process:
    """From the variables that torchrun sets, on one machine or many. Raises `SettingsError`."""
    names = {"rank": "RANK", "world": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}
    try:
        process = Process(**{key: int(environment[name]) for key, name in names.items() if name in environment})
    except ValueError as error:
        raise SettingsError(f"The launcher set a number that is none ({error}): start with torchrun.") from error
    if not 0 <= process.rank < process.world:
        raise SettingsError(
            f"RANK is {process.rank}, but WORLD_SIZE is {process.world}: start all processes with torchrun."
        )
    return process


_ENDED = "animatediff_ext/ended"
_PATIENCE_S = 1


def end_together(process: Process, failed: bool, environment: Mapping[str, str] = os.environ) -> None:
    """Wait for the others where leaving would stop them: torchrun ends all processes as soon as one has failed, and the
    main process may hold what they meet at. Other launchers let every process end by itself."""
    if process.world == 1 or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    from torch.distributed import rendezvous

    store, _, _ = next(rendezvous("env://"))
    ended = store.add(_ENDED, 1)
    while (failed or process.is_main) and ended < process.world:
        time.sleep(_PATIENCE_S)
        ended = store.add(_ENDED, 0)
