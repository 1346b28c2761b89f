from math import isnan
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.question import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import NONSENSE, UNFIT, answer_span, parse, plain

MUG = Question("Where is the mug?", ("left of the door", "right of the door", "On the table."))
NONE, ZERO = None, (0.0, 0.0, 0.0)


def vector(text, kind=AnswerType.VECTOR, question="Where did it go?"):
    answer = parse(text, Question(question, answer_type=kind))
    assert answer.verdict == Verdict.ANSWERED or answer.vector == ZERO
    return pytest.approx(answer.vector, abs=1e-12) if answer.verdict == Verdict.ANSWERED else answer.verdict


@pytest.mark.parametrize(
    "text, index",
    [
        ("B", 1),
        ("b", 1),
        ("B.", 1),
        ("(B)", 1),
        ("(b).", 1),
        ("B)", 1),
        ("B:", 1),
        (" **B** \n", 1),
        ("The answer is B.", 1),
        ("Answer: (B)", 1),
        ("Option B", 1),
        ("B. right of the door", 1),
        ("(B) right of the door.", 1),
        ("B: Right of  the door", 1),
        ("right of the door", 1),
        ("The answer is right of the door", 1),
        ("on the table", 2),
        ("C. On the table", 2),
    ],
)
def test_choices_that_are_read(text, index):
    answer = parse(text, MUG)
    assert (answer.verdict, answer.choice) == (Verdict.ANSWERED, index)
    assert answer.text == MUG.options[index]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A and B",
        "A, B",
        "AB",
        "A or B",
        "D",
        "Z.",
        "B. left of the door",
        "B. something else",
        "the door",
        "left",
        "not B",
        "B?",
        "I think B",
        "2",
        "It is right of the door",
        "Б",
    ],
)
def test_choices_that_are_in_doubt(text):
    answer = parse(text, MUG)
    assert (answer.verdict, answer.choice, answer.text) == (Verdict.UNSURE, -1, text.strip())


def test_options_that_are_letters_or_alike():
    assert parse("B", Question("Which?", ("A", "B"))).choice == 1
    assert parse("B", Question("Which?", ("B", "A"))).verdict == Verdict.UNSURE  # the letter says A, the text B
    assert parse("left", Question("Which?", ("Left", "left"))).verdict == Verdict.UNSURE
    assert parse("not visible", Question("Is it?", ("visible", "not visible"))).choice == 1
    assert parse("unknown", Question("Is it?", ("known", "unknown"))).choice == 1
    assert parse("-", Question("Which sign?", ("+", "-"))).choice == 1


@given(
    st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=2, max_size=26, unique_by=str.strip),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_every_letter_is_read_as_its_option_or_not_at_all(options, data):
    index = data.draw(st.integers(0, len(options) - 1))
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index]
    answer = parse(letter, Question("Which?", tuple(options)))
    if letter.lower() not in {plain(option) for option in options}:
        assert (answer.verdict, answer.choice) == (Verdict.ANSWERED, index)


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_verdict(text):
    for kind in AnswerType:
        options = ("left", "right") if kind == AnswerType.CHOICE else ()
        question = Question("How far is it?", options, kind)
        start, end = answer_span(text)
        assert 0 <= start <= end <= len(text)
        answer = parse(text, question)
        assert answer.verdict != Verdict.ANSWERED or text.strip()


@pytest.mark.parametrize(
    "text", ["(512, 300)", "[512,300]", "512, 300", "512,300.", "x=512, y=300", "(x: 512, y: 300)", "( 512 , 300 )"]
)
def test_pixels_that_are_read(text):
    assert vector(text, AnswerType.PIXEL) == (0.512, 0.3, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "512",
        "(512 300)",
        "(512, 300, 1)",
        "(1001, 5)",
        "(-1, 5)",
        "(0.5, 0.3)",
        "(1, 2) or (3, 4)",
        "at (5, 6) px",
        "(512, 30",  # cut off, or not: nobody can say
        "512, 300)",
        "[512, 300)",
        "a, b",
    ],
)
def test_pixels_that_are_in_doubt(text):
    assert vector(text, AnswerType.PIXEL) == Verdict.UNSURE


@given(st.integers(0, 1000), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_pixels_round_trip(x, y):
    assert vector(f"({x}, {y})", AnswerType.PIXEL) == (x / 1000, y / 1000, 0.0)


@pytest.mark.parametrize(
    "text, question",
    [
        ("(120, -30, 450)", "Where did it go?"),
        ("[120, -30, 450] mm", "Where did it go?"),
        ("120, \u221230, 450 mm.", "Where did it go?"),
        ("120 mm, -30 mm, 450 mm", "Where did it go?"),
        ("right 120, down -30, forward 450", "Where did it go?"),
        ("Right: 120 mm, Down: -30 mm, Forward: 450 mm", "Where did it go?"),
        ("x=120, y=-30, z=450", "Where did it go?"),
        ("(0.12, -0.03, 0.45) m", "Where did it go?"),
        ("(12, -3, 45) cm", "Where did it go?"),
        ("(0.12, -0.03, 0.45)", "Where did it go, in meters?"),
        ("(120, -30, 450) mm", "Where did it go, in meters?"),
    ],
)
def test_vectors_that_are_read(text, question):
    assert vector(text, question=question) == (0.12, -0.03, 0.45)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "120, -30",
        "(120, -30, 450, 1)",
        "(0.12, -0.03, 0.45)",  # metres or millimetres?
        "120 mm, -30 m, 450 mm",
        "(120, -30, 45",
        "[120, -30, 450)",
        "120 mm, -30, 450",
        "left 120, down -30, forward 450",
        "right 120, forward 450, down -30",
        "(1,5, 2, 3)",
        "it went (1, 2, 3) mm",
        "(1, 2, 3) degrees",
    ],
)
def test_vectors_that_are_in_doubt(text):
    assert vector(text) == Verdict.UNSURE


@given(st.tuples(*[st.integers(-100_000, 100_000)] * 3))
@settings(max_examples=100, deadline=None)
def test_vectors_round_trip(millimetres):
    assert vector("({}, {}, {})".format(*millimetres)) == tuple(n / 1000 for n in millimetres)


REFUSALS = [
    "Not visible.",
    "not visible",
    "Not observed",
    "It is not visible in the images.",
    "The mug is not visible.",
    "The mug isn't visible",
    "The red mug is not visible in the video.",
    "cannot be determined",
    "It cannot be determined from the images.",
    "This can't be determined from the given frames",
    "This can\u2019t be seen",
    "Never seen in the video.",
]


@pytest.mark.parametrize("text", REFUSALS)
@pytest.mark.parametrize("kind", AnswerType)
def test_not_observed_for_every_kind(text, kind):
    options = ("left", "right") if kind == AnswerType.CHOICE else ()
    answer = parse(text, Question("Where is the mug?", options, kind))
    assert (answer.verdict, answer.text, answer.choice) == (Verdict.NOT_OBSERVED, text, -1)


@pytest.mark.parametrize(
    "text",
    [
        "It is visible",
        "The mug is not visible from the door",
        "Not visible, but likely on the table",
        "not the visible",
    ],
)
def test_more_than_a_refusal_is_an_answer(text):
    assert parse(text, Question("Where is the mug?")).verdict == Verdict.ANSWERED


@pytest.mark.parametrize("text", [".", "...", "\ufffd\ufffd", "?!"])
def test_signs_without_words_are_unsure(text):
    assert parse(text, Question("Where is the mug?")).verdict == Verdict.UNSURE


@pytest.mark.parametrize("text", ["I don't know.", "unknown", "Not sure", "I do not know", "I am unsure"])
def test_not_knowing_is_unsure(text):
    assert parse(text, Question("Where is the mug?")).verdict == Verdict.UNSURE


GARBAGE = "1941,666 mm7)871)616 mm1"


@pytest.mark.parametrize("text", [GARBAGE, "the door " * 20, "a" * 40])
@pytest.mark.parametrize("kind", set(AnswerType) - {AnswerType.CHOICE})
def test_nonsense_is_unsure_and_said(text, kind):
    answer = parse(text, Question("What is left of the sofa?", answer_type=kind))
    assert (answer.verdict, answer.text, answer.note) == (Verdict.UNSURE, text.strip(), NONSENSE)


@pytest.mark.parametrize("question", ["What is left of the sofa?", "How high is the sofa?"])
@pytest.mark.parametrize("kind", [AnswerType.TEXT, AnswerType.AUTO, AnswerType.NUMBER])
def test_a_quantity_that_cannot_be_meant_is_unsure_and_said(question, kind):
    answer = parse("57 degrees", Question(question, answer_type=kind))
    assert (answer.verdict, answer.text, answer.note) == (Verdict.UNSURE, "57 degrees", UNFIT)
    assert isnan(answer.value) and answer.unit == ""
    turned = parse("57 degrees", Question("How far did it turn?", answer_type=kind))
    assert (turned.verdict, turned.note) == (Verdict.ANSWERED, "")


@pytest.mark.parametrize(
    "text, question",
    [
        ("It is about 3.2 metres wide, roughly the same as the sofa.", "How wide is the table?"),
        ("On the left.", "Where is the lamp?"),
        ("A lamp", "What is left of the sofa?"),
        ("1000 mm", "How wide is the table?"),
        ("chair, chair, table", "What is left of the sofa?"),
        ("About 2 m to the left of it", "Where is the lamp?"),
        ("Yes, it is 2 m away.", "Is there a lamp?"),
    ],
)
def test_what_people_would_say_is_an_answer(text, question):
    for kind in (AnswerType.TEXT, AnswerType.AUTO):
        answer = parse(text, Question(question, answer_type=kind))
        assert (answer.verdict, answer.text, answer.note) == (Verdict.ANSWERED, text, "")


def test_an_answer_after_nonsense_is_unsure():
    answer = parse(f"<think>{GARBAGE}</think><answer>3</answer>", Question("How many?", with_reasoning=True))
    assert (answer.verdict, answer.text, answer.reasoning) == (Verdict.UNSURE, "3", GARBAGE)
    assert isnan(answer.value) and NONSENSE in answer.note


@pytest.mark.parametrize(
    "text, value, unit",
    [("3", 3, ""), ("three", 3, ""), ("2.5 m", 2.5, "m"), ("3 chairs", 3, ""), ("-4", -4, "")],
)
def test_a_bare_number_is_one_without_being_asked(text, value, unit):
    answer = parse(text, Question("What is it?"))
    assert (answer.verdict, answer.text, answer.value, answer.unit) == (Verdict.ANSWERED, text, value, unit)
    assert isnan(parse(text, Question("What is it?", answer_type=AnswerType.TEXT)).value)


@pytest.mark.parametrize("text", ["on the table", "There are 3 chairs here", "2nd floor", "5 kg", "B", "1,234"])
def test_other_words_are_text(text):
    answer = parse(text, Question("What is it?"))
    assert (answer.verdict, answer.text) == (Verdict.ANSWERED, text) and isnan(answer.value)


@pytest.mark.parametrize(
    "text, value, reasoning",
    [
        ("<think>One by the door.</think><answer>3</answer>", 3, "One by the door."),
        ("<think>\nTwo.\n</think>\n<answer> 3 </answer>\n", 3, "Two."),
        ("It has a red one. <answer>3</answer>", 3, "It has a red one."),
        ("<answer>3</answer>", 3, ""),
        ("<think>Two.</think> 3", 3, "Two."),
        ("Two.</think>3", 3, "Two."),
        ("3", 3, ""),
        ("<think>Two.</think><answer>3", NONE, None),
        ("<think>Two and", NONE, "Two and"),
        ("<think>Two.</think><answer>3</answer> or 4", NONE, None),
        ("<answer>3</answer><answer>4</answer>", NONE, None),
        ("</answer>3<answer>", NONE, None),
        ("3</answer>", NONE, None),
        ("<answer></answer>", NONE, None),
        ("<answer><think>3</think></answer>", NONE, None),
        ("<think>a</think><think>b</think>3", NONE, None),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_tags(text, value, reasoning, asked):
    answer = parse(text, Question("How many?", answer_type=AnswerType.NUMBER, with_reasoning=asked))
    assert answer.verdict == (Verdict.UNSURE if value is NONE else Verdict.ANSWERED)
    assert isnan(answer.value) if value is NONE else answer.value == value
    assert reasoning is None or answer.reasoning == reasoning


def test_span_of_the_answer():
    for text, answer in (("<think>5</think><answer>3 m</answer>\n", "3 m"), ("<think>5</think> 4", " 4"), ("6", "6")):
        start, end = answer_span(text)
        assert text[start:end] == answer
    assert answer_span("<think>cut o") == (12, 12)


def test_long_nonsense_is_quick():
    """Nothing backtracks: 40,000 characters of the worst kind, many times over, take a moment of computing."""
    start = process_time()
    for text in (
        "the a " * 7000,
        "<think>" * 6000,
        "<answer></answer>" * 2500,
        "1," * 20000,
        "((" * 20000,
        "a-" * 20000,
        "answer" + " " * 40000,
        "is " * 15000,
        "(1, 1, " + " " * 40000,
    ):
        for kind in (AnswerType.AUTO, AnswerType.NUMBER, AnswerType.PIXEL, AnswerType.VECTOR):
            assert parse(text, Question("How far?", answer_type=kind)).verdict in (Verdict.UNSURE, Verdict.ANSWERED)
    assert process_time() - start < 5
