"""What stops a run, in one sentence for the user."""

from __future__ import annotations


class TrainError(Exception):
    """A run cannot start or go on. The message says what was found, what is allowed, and what to do next."""
