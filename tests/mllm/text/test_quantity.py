from math import isnan, pi

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.question import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import parse
from spatial_mllm_ros.mllm.text.quantity import asked_unit


def number(text, question="What number is it?"):
    """(value, unit) of a NUMBER answer, or its verdict."""
    answer = parse(text, Question(question, answer_type=AnswerType.NUMBER))
    assert isnan(answer.value) == (answer.verdict != Verdict.ANSWERED)
    assert answer.choice == -1 and answer.vector == (0.0, 0.0, 0.0)
    return (answer.value, answer.unit) if answer.verdict == Verdict.ANSWERED else answer.verdict


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("3.", 3),
        ("three", 3),
        ("Three.", 3),
        ("zero", 0),
        ("0", 0),
        ("-2", -2),
        ("\u22122", -2),
        ("**3**", 3),
        ("2.5", 2.5),
        ("2,5", 2.5),
        ("0,125", 0.125),
        ("1,234.5", 1234.5),
        ("1,234,567", 1234567),
        ("about 3", 3),
        ("~3", 3),
        ("There are 3 chairs in the room.", 3),
        ("3 chairs", 3),
        ("There are three chairs.", 3),
        ("The answer is: 3", 3),
    ],
)
def test_counts_that_are_read(text, value):
    assert number(text) == (value, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "many",
        "none",
        "a couple",
        "2 or 3",
        "2-3",
        "2 - 3",
        "2 to 3",
        "between 2 and 3",
        "1/2",
        "½",
        "2½",
        "٣",
        "1,234",
        "1.2.3",
        "1.234,5",
        "more than 3",
        "at least 3",
        "up to 3",
        "no more than 3",
        "> 3",
        "≥3",
        "3+",
        "3 or more",
        "3 at least",
        "3%",
        "3 %",
        "$3",
        "±3",
        "not 3",
        "There are not 3 chairs",
        "I can't see 3 chairs",
        "minus 3",
        "- 3",
        "3x",
        "B3",
        "3 dozen",
        "3 hundred",
        "3 million",
        "twenty-three",
        "2 and a half",
        "5 kg",
        "5 m",
        "5 m/s",
        "3 chairs and 2 tables",
        "3 chairs, one table",
        "9" * 400,
        "nan",
        "inf",
        "-3",
        "3.5",
        "3 pairs",
        "twenty three",
        "fifteen or sixteen",
        "image 3",
        "In frame 3",
    ],
)
def test_counts_that_are_in_doubt(text):
    assert number(text, "How many chairs are there?") == Verdict.UNSURE


@pytest.mark.parametrize(
    "text, question, value, unit",
    [
        ("2.5 m", "How far is it?", 2.5, "m"),
        ("2.5m", "How far is it?", 2.5, "m"),
        ("2.5 meters.", "How far is it?", 2.5, "m"),
        ("2,5 Metres", "How far is it?", 2.5, "m"),
        ("80 cm", "How far is it?", 0.8, "m"),
        ("800 mm", "How far is it?", 0.8, "m"),
        ("1.5 km", "How far is it?", 1500, "m"),
        ("3 feet", "How far is it?", 0.9144, "m"),
        ("10 inches", "How far is it?", 0.254, "m"),
        ("The door is 2 m from the table.", "How far is it?", 2, "m"),
        ("The distance from the door to the table is approximately 2 m", "How far is it?", 2, "m"),
        ("90 degrees", "By which angle did it turn?", 90, "deg"),
        ("90°", "By which angle did it turn?", 90, "deg"),
        (f"{pi / 2:.12f} rad", "By which angle did it turn?", 90, "deg"),
        ("1.5 s", "How long did it take?", 1.5, "s"),
        ("2 minutes", "How long did it take?", 120, "s"),
        ("250 ms", "How long did it take?", 0.25, "s"),
        ("2.5", "How far is it, in meters?", 2.5, "m"),
        ("2500", "How far is it in millimeters?", 2.5, "m"),
        ("250", "What is the length (in cm)?", 2.5, "m"),
        ("50 cm", "How far is it in meters?", 0.5, "m"),
        ("About 2.", "How far is it in meters?", 2, "m"),
        ("The distance is 2, I think.", "How far is it in meters?", 2, "m"),
        ("Distance: 2", "How far is it in meters?", 2, "m"),
        ("45", "How many degrees did it turn?", 45, "deg"),
        ("25.3", "What is the size of this room in square meters?", 25.3, "m2"),
        ("25.3 m²", "What is the size of this room?", 25.3, "m2"),
        ("25.3 sq m", "What is the size of this room?", 25.3, "m2"),
        ("25 square metres", "What is the area?", 25, "m2"),
    ],
)
def test_units_to_si(text, question, value, unit):
    assert number(text, question) == (pytest.approx(value, rel=1e-9), unit)


@pytest.mark.parametrize(
    "text, question",
    [
        ("2.5", "How far is it?"),  # no unit anywhere
        ("2.5", "What is the distance?"),
        ("90 degrees", "How far is it, in meters?"),
        ("25 m", "What is the area in square meters?"),
        ("25 m²", "How far is it, in meters?"),
        ("2 m 30 cm", "How far is it?"),
        ("5 feet 3 inches", "How tall is it?"),
        ("3'", "How tall is it?"),
        ("3 in", "How far is it in meters?"),
        ("3 yards", "How far is it in meters?"),
        ("5 m/s", "How fast is it?"),
        ("5 m-ish", "How far is it in meters?"),
        *(
            (text, "How far is it in meters?")
            for text in ("2 yd", "2 dm", "2 µm", "2 nautical", "step 2", "someone at 2")
        ),
        *((text, "How far is it in meters?") for text in ("There is 1 table", "one of them", "twenty one", "thirteen")),
        ("unknown, 2 m is usual", "How far is it?"),
        ("5 m / s", "How far is it?"),
        ("5 m per second", "How far is it?"),
        ("5 cubic meters", "How big is it in meters?"),
        ("2.5", "Is it nearer in meters or in feet?"),
        ("20 degrees celsius", "How warm is it, in degrees?"),
    ],
)
def test_units_that_are_in_doubt(text, question):
    assert number(text, question) == Verdict.UNSURE


@pytest.mark.parametrize(
    "question, unit",
    [
        ("How far, in meters?", "meters"),
        ("How far (in CM)?", "cm"),
        ("How many millimetres?", "millimetres"),
        ("in square meters", "m2"),
        ("in meters or in feet", None),
        ("in the room", None),
        ("the mug in second place", None),
        ("in m/s", None),
        ("in mirrors", None),
    ],
)
def test_unit_that_a_question_asks_for(question, unit):
    assert asked_unit(question) == unit


@given(st.floats(-1e6, 1e6).map(lambda x: round(x, 6)), st.sampled_from([("m", 1), ("cm", 0.01), ("mm", 0.001)]))
@settings(max_examples=200, deadline=None)
def test_numbers_round_trip(value, unit):
    name, scale = unit
    for text, question in ((f"{value:.6f} {name}", "How far?"), (f"{value:.6f}", f"How far, in {name}?")):
        assert number(text, question) == (pytest.approx(value * scale, rel=1e-9, abs=1e-12), "m")
