"""What is nonsense, found however it is wrapped, and what people and models say, which is not."""

import re
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.text.nonsense import is_nonsense, is_unreadable, repeats

DOCS = Path(__file__).parents[3] / "docs"
HONEST = [
    "It is about 3.2 metres wide, roughly the same as the sofa.",
    "On the left.",
    "A lamp",
    "1000 mm",
    "100000000 mm",
    "0.333333333 m",
    "chair, chair, table",
    "chair, chair, chair, chair, chair, chair, chair, chair",
    "left, left, right, left, left",
    "washing machine, washing machine, washing machine, washing machine, washing machine",
    "No, no, no.",
    "It is very very very big.",
    "1) a lamp 2) a sofa 3) a lamp",
    "1)lamp 2)sofa",
    "- chair\n- chair\n- table",
    "B12",
    "A4-sized, beside the USB-C port and the MP3-player",
    "R2D2",
    "90x60x40cm",
    "90 x 60 x 40 cm",
    "90° to the left, 2.5m away",
    "3D-printed",
    "the 2nd chair(s) from the left/right",
    "(512, 300)",
    "x=512, y=300",
    "(120, -30, 450) mm, (120, -30, 450) mm",
    "[0.1, 0.2, 0.3]",
    '{"point_2d": [512, 300], "label": "mug"}',
    "12:30",
    "2024-05-01",
    "about €1000, 10%-20% less",
    "25 m2, 3cm3",
    "1.2m x 0.8m, 90deg",
    "about 1000-1666 mm",
    "C++",
    "f(x)=2",
    "in front (of the sofa)",
    "**A lamp**",
    "---- A lamp ----",
    "在左边。",
    "距离大约为3.2米。在沙发左边",
    "Zwischen Sofa und Tür, etwa 2,5 m.",
    "3'6\"",
    "",
    "?!",
]
NONSENSE = [
    "1941,666 mm7)871)616 mm1",
    "left(3)8(4",
    "1000-1666 mm1 mm",
    "2.5 m 30 deg7 1",
    "7)871)616",
    "the chair is \ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd",
    "a" * 20,
    "Noooooooooooooooo",
    "haha" * 10,
    "mm " * 30,
    "9" * 40,
    "1,1,1,1,1,1,1,1,1,1,1,1,1,1",
    "on the table, " * 9,
    "The left of the chair. the left\nof  the chair. " * 3,
    "It stands by the door. " * 6 + "Yes.",
    "The chair stands by the door of the room. " * 4,
    "the of the the of of to the of the the of of to of to the to of the of the to to",
]


@pytest.mark.parametrize("text", HONEST)
def test_what_is_said_is_no_nonsense(text):
    assert not is_nonsense(text)


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_found_wherever_it_stands(text):
    assert is_nonsense(text)
    assert is_nonsense(text.upper())


UNITS = st.text(min_size=1, max_size=30).filter(lambda text: any(map(str.isalnum, text.casefold())))


@given(st.text(max_size=40), UNITS, st.integers(14, 60), st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_short_unit_many_times_is_a_repetition(before, unit, times, after):
    assert repeats(before + unit * times + after)


@given(
    st.sampled_from(["tv", "chair", "armchair", "cupboard"]),
    st.integers(1, 8),
    st.sampled_from([", ", " and ", "\n- "]),
)
def test_things_that_are_counted_one_by_one_are_none(thing, count, between):
    assert not is_nonsense(between.join([thing] * count))


WORDS = sorted(set(re.findall(r"\b[a-z]+\b", (DOCS / "how-it-works.md").read_text("utf-8"))))


@given(st.lists(st.sampled_from(WORDS), unique=True, max_size=60), st.sampled_from([" ", ", ", ". "]))
@settings(max_examples=300, deadline=None)
def test_different_words_are_prose(words, between):
    assert not is_nonsense(between.join(words))


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda x: f"{x:.2f}"), max_size=12, unique=True), st.sampled_from(["m", " mm"])
)
@settings(max_examples=200, deadline=None)
def test_numbers_with_units_are_readable(numbers, unit):
    assert not is_unreadable(", ".join(number + unit for number in numbers))


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_paragraphs_of_documents_are_prose(page):
    """Hundreds of sentences that people wrote, with figures, units and names in them."""
    blocks = re.split(r"\n\s*\n", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL))
    paragraphs = [block for block in blocks if re.match(r"[A-Z*]", block) and "](" not in block]
    assert paragraphs and not [text for text in paragraphs if is_nonsense(text.replace("`", ""))]


def test_however_long_it_is_quick():
    start = process_time()
    for text in ("ab" * 11 + "c", "(" * 9 + "a", "a" * 11 + "b" * 11, "abc def ghi jkl ", "1)", "\ufffd"):
        is_nonsense(text * 20_000)
    is_nonsense("".join(chr(97 + i * i * 7 % 26) for i in range(100_000)))
    assert process_time() - start < 2
