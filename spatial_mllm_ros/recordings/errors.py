"""What can go wrong with a recording, in words for whoever named it."""


class BagError(ValueError):
    """A recording, topic or output that cannot be used; the text says what was wrong and what would be right."""


class BagWarning(UserWarning):
    """A recording is used, but not all of it: it is cut off, damaged or lacks something."""
