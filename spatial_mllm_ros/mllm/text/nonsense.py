"""Text that nobody would write: the same over and over, or signs run together that are no words and no numbers."""

import re

from .quantity import UNITS

TAIL = 2000  # last characters that are looked at: who has begun to repeat goes on to the end
FEW = 24  # words, of which so few differ in no sentence
DIFFERENT = 0.25  # share of words that differ, below which nothing is said
UNREADABLE = 0.25  # share of letters and digits in words that are none, above which it is no text

_LOOP = re.compile(  # a list may name eight chairs one by one
    r"(.{1,3}?)\1{11,}|(.{4,15}?)\2{8,}|(.{16,30}?)\3{5,}|(.{31,120}?)\4{3,}"
)
_WORD = re.compile(r"\w+")
_LETTERS = re.compile(r"[^\W\d_]+")
_ENUMERATED = re.compile(r"(?:^|(?<=\s))\(?\w{1,2}\)(?=\w)")
_UNSPACED = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+")  # Chinese, Japanese, Korean
_BRACKETS = re.compile(r"[()\[\]{}]")
_SEPARATORS = re.compile(r"[^\w\s()\[\]{}\ufffd]|_")
_READABLE = re.compile(
    r"[^\W\d]+"  # a word
    r"|\d+(?:[xX]\d+)*(?:[^\W\d]{0,12}|[cmk]?m[23])"  # 12, 3D, 90x60cm, 2nd, 3cm3
    r"|(?!(?:mm|cm|km|deg)(?![23]$)\d)(?:[^\W\d]{1,3}\d{1,4}){1,2}[^\W\d]?"  # B12, MP3; not mm7
)


def is_nonsense(text: str) -> bool:
    """Whether a text repeats itself without end, or consists in good part of what is neither word nor number.

    Found: a unit of up to 3 characters 12 times in a row, of up to 15 nine times, of up to 30 six times, of up to 120
    four times, whatever stands before and after; a long text of very few words; digits, units and brackets run
    together. Case and spaces make no difference, and rows of signs without letters (``----``) are no repetition.
    """
    text = text[-TAIL:]
    return repeats(text) or is_unreadable(text)


def repeats(text: str) -> bool:
    """Whether it says the same over and over."""
    words = " ".join(text.split()).casefold()
    if any(any(map(str.isalnum, found.group())) for found in _LOOP.finditer(words)):
        return True
    said = _WORD.findall(words)
    return len(said) >= FEW and len({*said}) < DIFFERENT * len(said)


def is_unreadable(text: str) -> bool:
    """Whether too much of it is in words that are none: ``mm7)871)616``, not ``90x60cm``, ``B12`` or ``chair(s)``.

    Of what says nothing but numbers and units any such word is too much.
    """
    words = _UNSPACED.sub(" ", _ENUMERATED.sub(" ", text)).split()
    if all(name.lower() in UNITS for name in _LETTERS.findall(" ".join(words))):
        return not all(_is_word(word.lower()) for word in words)  # read as an answer, so that all has to be sound
    return sum(_signs(word) for word in words if not _is_word(word)) > UNREADABLE * sum(map(_signs, words))


def _signs(word: str) -> int:
    return sum(map(str.isalnum, word)) + word.count("\ufffd")


def _is_word(word: str) -> bool:
    opened = [word.count(sign) for sign in "([{"]
    if opened == [word.count(sign) for sign in ")]}"]:
        word = _BRACKETS.sub(" ", word)
    else:  # a bracket may open at the front of a word and close at the end of another
        word = re.sub(r"^\W+|\W+$", "", word)
    return all(map(_READABLE.fullmatch, _SEPARATORS.sub(" ", word).split()))
