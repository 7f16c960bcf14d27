"""What goes wrong between frames and files, in a sentence for the user."""


class MediaError(ValueError):
    """One sentence or two: what was given, what is allowed, what to do next."""
