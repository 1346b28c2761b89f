"""Every rule of the table in reading.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_training.benchmarks.reading import KINDS, MAX_ANSWER, read


def value(prediction, kind="scalar", unit="mm", options=(), question=""):
    read_as = read(prediction, kind, unit, options, question)
    assert (read_as.value is None) == (bool(read_as.problem) or read_as.refused)
    return read_as.value


def problem(prediction, kind="scalar", unit="mm", options=()):
    return read(prediction, kind, unit, options).problem


@pytest.mark.parametrize("nothing", [None, "", "  \n", []])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_unreadable(nothing, kind):
    assert problem(nothing, kind, options=("left", "right")) == "empty"


@pytest.mark.parametrize("several", [["1", "2"], {"a": 1}, True, [None, 1], [[1, 2], [3]], b"12", object()])
def test_what_is_not_one_answer(several):
    assert problem(several) == "not one answer"


def test_numbers_and_lists_as_text():
    assert value(1200) == value(1200.0) == value(["1200 mm"]) == 1200
    assert value([100, -20, 300.0], "vector") == (100, -20, 300)
    assert value([512, 300], "pixel") == (512, 300)
    assert value(float("nan")) is value(float("inf")) is None


@pytest.mark.parametrize(
    ("said", "unit", "wanted"),
    [
        ("1.2 m", "mm", 1200),
        ("120 cm", "mm", 1200),
        ("2,5 m", "mm", 2500),
        ("The point is about 1234 mm away.", "mm", 1234),
        ("1200 mm", "m", 1.2),
        ("1.2 m", "cm", 120),
        ("4 feet", "mm", 1219.2),
        ("25 square meters", "m2", 25),
        ("25.5 m²", "m2", 25.5),
        ("It turned 15 degrees to the left.", "deg", 15),
        ("3.14159 rad", "deg", 179.999848),
        ("There are 3 chairs.", "", 3),
        ("Three.", "", 3),
    ],
)
def test_units_are_converted(said, unit, wanted):
    assert value(said, unit=unit) == pytest.approx(wanted, rel=1e-7)


def test_a_bare_number_is_in_the_unit_asked_for():
    assert value("1200") == 1200
    assert value("1.2", question="How far is it, in metres?") == 1200
    assert value("1200", question="How far did it turn, in degrees?") == 1200  # another dimension: no unit of a length
    assert value("3.5", unit="") == 3.5


@pytest.mark.parametrize("said", ["30 degrees", "3 s", "3 kg", "12 m2"])
def test_other_dimensions_are_unreadable(said):
    assert problem(said) == "no single number in it"


def test_a_count_has_no_unit():
    assert problem("3 m", unit="") == "no single number in it"


@pytest.mark.parametrize(
    "said",
    [
        "2-3 m",
        "2 to 3 m",
        "between 2 and 3 m",
        "more than 2 m",
        "2 m or 3 m",
        "2 m, 3 m",
        "2 m and 40 cm",
        "twenty",
        "three hundred mm",
        "not 2 m",
        "drei Meter",
        "三米",
        "大约 1200 毫米",
        "1,200 mm",
        "far away",
        "I don't know",
        "1" * 40,
    ],
)
def test_doubtful_numbers_are_unreadable(said):
    assert problem(said) == "no single number in it"


@pytest.mark.parametrize(
    "text",
    [
        "<answer>12 mm",
        "12 mm</answer>",
        "<think>12 mm",
        "<answer>1</answer><answer>2</answer>",
        "<answer></answer>",
        "<think>so</think>",
        "<think>a</think>b</think>12 mm",
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_unclosed_tags_leave_no_answer(text, kind):
    assert problem(text, kind, options=("left", "right")) == "a tag is not closed, or nothing follows it"


def test_the_answer_is_what_the_tags_hold():
    assert value("<think>Is it 5 m? No.</think><answer>1.2 m</answer>") == 1200
    assert value("<think>5 m?</think> 1.2 m") == 1200
    assert read("<think>x</think>left", "text").said == "left"


@pytest.mark.parametrize(
    "said",
    [
        "not visible",
        "It is not visible in the images.",
        "Cannot be determined.",
        "not observed",
        "The mug was never seen",
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_refusals(said, kind):
    found = read(said, kind, "mm", ("left", "right"))
    assert found.refused and found.value is None and not found.problem


@pytest.mark.parametrize("said", ["I don't know", "1200 mm, not visible", "nothing"])
def test_other_words_are_no_refusals(said):
    assert not read(said, "scalar", "mm").refused


@pytest.mark.parametrize(
    ("said", "options", "wanted"),
    [
        ("B", ("left", "right"), 1),
        ("(b)", ("left", "right"), 1),
        ("B. right", ("left", "right"), 1),
        ("right", ("left", "right"), 1),
        ("The camera moved to the right.", ("left", "right"), 1),
        ("It went back.", ("backward", "forward"), 0),
        ("Backwards", ("backward", "forward"), 0),
        ("upward", ("up", "down"), 0),
        ("It is the coffee table.", ("table", "coffee table"), 1),
        ("Point B.", ("A", "B"), 1),
        ("A is closer.", ("A", "B"), 0),
        ("The answer is C, because it is near.", ("chair", "sofa", "lamp"), 2),
        ("not visible", ("not visible", "left"), 0),
    ],
)
def test_choices(said, options, wanted):
    assert value(said, "choice", options=options) == wanted


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("left or right", ("left", "right")),
        ("not left", ("left", "right")),
        ("It isn't left", ("left", "right")),
        ("left and right", ("left", "right")),
        ("A closer than B", ("A", "B")),
        ("A is closer than B", ("A", "B")),
        ("a closer look", ("A", "B")),
        ("E", ("A", "B")),
        ("links", ("left", "right")),
        ("upright", ("left", "right")),
        ("A. right", ("left", "right")),
        ("The answer is B: left", ("left", "right")),
    ],
)
def test_doubtful_choices_are_unreadable(said, options):
    assert problem(said, "choice", options=options) == "no single option in it"


def test_pixels_and_vectors():
    assert value("(512, 300)", "pixel") == value("It is at [512, 300] there.", "pixel") == (512, 300)
    assert value("0, 1000", "pixel") == (0, 1000)
    assert value([512.0, 299.6], "pixel") == value("(512.4, 300)", "pixel") == (512, 300)
    assert value("[100, -20, 300]", "vector") == value("It moved by (0.1, -0.02, 0.3) m.", "vector") == (100, -20, 300)
    assert value("right 10, down -2.5, forward 3", "vector") == (10, -2.5, 3)
    assert value("(right, down, forward) = (10, 20, 30)", "vector") == (10, 20, 30)


@pytest.mark.parametrize(
    "said", ["[1, 2] or [3, 4]", "[1, 2, 3]", "[1000.6, 2]", "[1001, 2]", "[-1, 2]", "[512, 300", "512", "[0.5, 0.3]"]
)
def test_doubtful_pixels_are_unreadable(said):
    assert problem(said, "pixel") == "no single pixel in it"


@pytest.mark.parametrize("said", ["[1, 2]", "[1, 2, 3] [4, 5, 6]", "[1, 2, 3", "1 m", "[1 m, 2, 3]", "[a, b, c]"])
def test_doubtful_vectors_are_unreadable(said):
    assert problem(said, "vector") == "no single vector in it"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "text"])
def test_very_long_answers_are_unreadable(kind):
    long = "1 " * MAX_ANSWER
    assert problem(long, kind, options=("1", "2")) == f"longer than {MAX_ANSWER} characters"
    assert value(long, "text") == long.strip()
    assert value(f"<think>{long}</think>12 mm") == 12


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="none of scalar"):
        read("1", "number")


@given(st.text(max_size=200), st.sampled_from(KINDS), st.sampled_from(["", "mm", "deg", "m2"]))
def test_any_text_is_read_or_not(text, kind, unit):
    found = read(text, kind, unit, ("left", "right") if kind == "choice" else ())
    assert (found.value is not None) + found.refused + bool(found.problem) == 1


@given(st.integers(1, 10**6))
def test_the_same_length_in_every_unit(length):
    metres = f"{length // 1000}.{length % 1000:03d}"
    centimetres = f"{length // 10}.{length % 10}"
    assert value(f"{length} mm") == value(f"{metres} m") == value(f"{centimetres} cm") == length


@pytest.mark.parametrize("said", ["As the image shows, it is close.", "As far as I know.", "Bs", "A 3D view is hard."])
def test_words_that_begin_with_a_letter_choose_nothing(said):
    assert problem(said, "choice", options=("A", "B")) == "no single option in it"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [("r\u0131ght", None), ("The r\u0131ght one", None), ("The RIGHT one", 1), ("leftwards it is", 0)],
)
def test_letters_that_only_look_alike_in_capitals(said, wanted):
    assert value(said, "choice", options=("left", "right")) == wanted


@pytest.mark.parametrize("number", [0.1 + 0.2, 7 / 3, 1 / 15, 1 / 150, 700 / 3])
def test_floats_as_programs_write_them(number):
    assert value(number) == value(f"{number} mm") == pytest.approx(number, abs=1e-9)
    assert value([number, -number, 100.0], "vector") == pytest.approx((number, -number, 100))


@pytest.mark.parametrize("said", ["It is not [100, 200, 300].", "[100, 200, 300] or 500, 100, 200", "never (100, 200)"])
@pytest.mark.parametrize("kind", ["vector", "pixel"])
def test_what_is_denied_or_one_of_two_is_unreadable(said, kind):
    assert problem(said, kind) == f"no single {kind} in it"
