"""How commands say what is wrong: a sentence on standard error, and an exit status."""

from __future__ import annotations

import sys

FAILED, WRONG_OPTION, INTERRUPTED = 1, 2, 130
"""Exit statuses: of what could not be done; of options, as argparse has it; after Ctrl-C, as shells have it."""


def complain(problem: Exception | str, status: int = FAILED) -> int:
    """Says it, and gives the status back."""
    print(f"animatediff_ext: {problem}", file=sys.stderr)
    return status
