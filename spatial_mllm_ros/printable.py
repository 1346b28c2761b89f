"""Text of strangers, on its way to a terminal or a log."""


def printable(text: str) -> str:
    """Text without characters that a terminal would obey: escapes, control characters, marks that turn its direction.

    Line ends stay. Names of topics, labels, what a model says and file names come from outside.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
