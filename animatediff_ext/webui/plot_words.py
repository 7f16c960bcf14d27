"""What goes wrong in the cells of an X/Y/Z plot: it shows no word of it, only a blank.

A cell is a copy of the plot's ``p``, so it shares what is pinned to that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from animatediff_ext.webui.errors import AnimateDiffError

_PLACE = "animatediff_plot_problems"


@contextmanager
def problems_heard(p) -> Iterator[dict[str, AnimateDiffError]]:
    """Lends what is told of cells inside, each sentence once."""
    problems = vars(p)[_PLACE] = {}
    try:
        yield problems
    finally:
        del vars(p)[_PLACE]


def tell(p, problem: AnimateDiffError) -> None:
    """Of any ``p``: where it is no cell of a plot, nobody listens."""
    # A new one: to be kept until the plot ends, and with no trace to the tensors of this cell.
    vars(p).get(_PLACE, {}).setdefault(str(problem), AnimateDiffError(problem.detail, problem.status_code))
