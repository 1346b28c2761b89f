"""What models wrap answers into: marks of Markdown and LaTeX, quotes, tokens that end a text."""

import re

_ENDS = re.compile(r"(?:\s*(?:<\|[\w-]+\|>|</s>|<eos>|<end_of_turn>))+\s*$")
_REPLACED = tuple(
    (re.compile(pattern, re.MULTILINE), by)
    for pattern, by in (
        (r"\\(?:text|mathrm|mathbf|mathsf)(?:bf|it|rm|normal)?\s*\{([^{}]*)\}", r"\1"),
        (r"\\[,;:!]|\\(?=\s)|\\q?quad\b", " "),
        (r"\\(?:approx|sim)\b", "\u2248"),
        (r"\^\s*\{?\s*\\circ\s*\}?", "\u00b0"),
        (r"\^\s*\{\s*([23])\s*\}", r"^\1"),
        (r"\$\$?([^$]*)\$\$?", r"\1"),
        (r"\\[()\[\]]", ""),
        (r"\*\*|__|`+|</?(?:b|i|em|strong|code|p)>", ""),
        (r"^\s*(?:#+\s+|[>*\u2022-]\s+(?=[^\W\d]))", ""),  # "> 3" is a bound
        (r'"([^"\n]*)"', r"\1"),
        (r"[\u201c\u201d\u201e\u00ab\u00bb]", ""),
    )
)
_WIDE = str.maketrans("\uff1a\uff08\uff09\uff0c\u3002\u3010\u3011\u2019", ":(),.[]'")
_BOXED = re.compile(r"\\f?boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")


def ended(text: str) -> str:
    """A text without the tokens that end it, and without a full stop behind the tag of its answer."""
    return re.sub(r"(</answer>)\s*[.!]\s*$", r"\1", _ENDS.sub("", text))


def unwrap(text: str) -> str:
    """The words alone: without marks of Markdown and LaTeX and without quotes; boxes of LaTeX stay."""
    text = _ENDS.sub("", text).translate(_WIDE)
    for pattern, by in _REPLACED:
        text = pattern.sub(by, text)
    return text.strip()


def unbox(text: str) -> tuple[str, str, str] | None:
    """(before, inside, after) of the one box in a text; None where there is none, or where boxes differ."""
    boxes = list(_BOXED.finditer(text))
    if not boxes or len({box[1].strip() for box in boxes}) > 1:
        return None
    return text[: boxes[0].start()], boxes[0][1].strip(), text[boxes[-1].end() :]
