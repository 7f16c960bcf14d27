"""What goes wrong between frames and files, in a sentence for the user."""


class MediaError(ValueError):
    """One sentence or two: what was given, what is allowed, what to do next."""


class StorageError(MediaError):
    """No mistake in what was asked for: a disk is full, or a folder may not be written."""


class DiskFullError(StorageError):
    """What else is to be written there will not fit either."""
