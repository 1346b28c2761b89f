"""Every template of every type is rendered and its answer read back by the parser that robots use."""

import re
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.question import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import parse
from spatial_mllm_ros.mllm.text.quantity import asked_unit
from spatial_mllm_training.multispa import item, wording
from spatial_mllm_training.multispa.item import NOT_OBSERVED, QUESTION_TYPES, Candidate, Point
from spatial_mllm_training.multispa.wording import TASKS, Template, templates, word

SIZE = (640, 480)
DOT = Point(0, 64, 48)
PAIR = (Point(0, 64, 48, "A"), Point(0, 320, 400, "B"))
FOUR = tuple(Point(1, 40 + 150 * i, 90 * i, letter) for i, letter in enumerate("ABCD"))
FORMS = QUESTION_TYPES[:-1]
WORDS = {
    "camera_left_right": ("left", "right"),
    "camera_up_down": ("up", "down"),
    "camera_forward_back": ("backward", "forward"),
    "camera_yaw_direction": ("left", "right"),
    "camera_pitch_direction": ("down", "up"),
}
REFUSED = ("correspondence_coordinate", "correspondence_choice", *item.OBJECT_MOTION, *item.OBJECT_SIZE)
FIELDS = {
    "depth_estimation": {"spot"},
    "depth_comparison": {"pair"},
    "correspondence_coordinate": {"spot"},
    "correspondence_choice": set(),
    "camera_yaw_degrees": {"direction"},
    "camera_pitch_degrees": {"direction"},
    "camera": set(),
    "object_distance": {"spot"},
    "object_vector": {"spot"},
    "object": {"label"},
}
"""What each question of a type, by the longest start of its name, must speak of."""


def candidate(form, unanswerable=False, **changes):
    referring = form.rpartition("_")[2] if form.endswith(("_dot", "_coordinate")) else ""
    values = {"frames": (3, 5), "truth": 1234.0, "output": "scalar", "referring": referring, "points": (DOT,)}
    if form.startswith("depth_estimation"):
        values |= {"frames": (3,)}
    elif form.startswith("depth_comparison"):
        values |= {"frames": (3,), "truth": "B", "output": "choice", "points": PAIR}
    elif form == "correspondence_coordinate":
        values |= {"truth": [412.0, 87.0], "output": "pixel"}
    elif form == "correspondence_choice":
        values |= {"truth": "C", "output": "choice", "referring": "dot", "points": (DOT, *FOUR)}
    elif form in WORDS:
        values |= {"truth": WORDS[form][1], "output": "text", "points": (), "options": WORDS[form]}
    elif "vector" in form:
        values |= {"truth": [-120.4, 0.0, 1200.0], "output": "vector"}
    elif form.endswith("_degrees"):
        values |= {"truth": 17.0, "facts": {"direction": "left" if "yaw" in form else "down"}}
    elif form in item.OBJECT_SIZE:
        values |= {"frames": (3, 5, 9), "label": "coffee table", "referring": "label", "points": ()}
    kind = form
    if unanswerable:
        kind, facts = NOT_OBSERVED, {**values.get("facts", {}), "asks": form}
        values |= {"truth": "not observed", "output": "text", "facts": facts}
    return Candidate(kind, **(values | changes))


def read(worded, output):
    """The answer as the parser reads it, in millimetres, degrees, thousandths, or the option it names."""
    kinds = {"scalar": AnswerType.NUMBER, "vector": AnswerType.VECTOR, "pixel": AnswerType.PIXEL}
    options = worded.options if output in ("choice", "text") else ()
    answer = parse(worded.answer, Question(worded.question, options, kinds.get(output, AnswerType.AUTO)))
    assert answer.verdict == Verdict.ANSWERED, (worded.question, worded.answer)
    if output == "scalar":
        assert answer.unit in ("m", "deg")
        return round(answer.value * (1000 if answer.unit == "m" else 1), 6)
    if output == "vector":
        return [round(1000 * value, 6) for value in answer.vector]
    if output == "pixel":
        return f"[{round(1000 * answer.vector[0], 6):g}, {round(1000 * answer.vector[1], 6):g}]"
    return worded.options[answer.choice]


@pytest.fixture(scope="module")
def rendered():
    """Many renderings of every type: (candidate, Worded), and the templates that were picked."""
    picked, pick = set(), wording._pick
    many, random = [], np.random.default_rng(0)

    def noted(*args):
        template = pick(*args)
        picked.add(template.text)
        return template

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wording, "_pick", noted)
        for asked in [candidate(form) for form in FORMS] + [candidate(form, True) for form in REFUSED]:
            many += [(asked, word(asked, SIZE, random)) for _ in range(400)]
    return many, picked


def texts(node):
    if isinstance(node, Template):
        return [node.text]
    return [text for part in (node.values() if isinstance(node, dict) else node) for text in texts(part)]


def test_every_answer_is_read_back(rendered):
    for asked, worded in rendered[0]:
        if asked.question_type == NOT_OBSERVED:
            answer = parse(worded.answer, Question(worded.question))
            assert answer.verdict == Verdict.NOT_OBSERVED and worded.gt_value == "not observed", worded
        else:
            assert read(worded, asked.output) == worded.gt_value, worded


def test_gt_values_are_whole_and_plain(rendered):
    values = {asked.question_type: worded.gt_value for asked, worded in rendered[0]}
    assert values["depth_estimation_dot"] == 1234 and type(values["depth_estimation_dot"]) is int
    assert values["camera_vector"] == [-120, 0, 1200] and values["correspondence_coordinate"] == "[412, 87]"
    assert values["correspondence_choice"] == "C" and values["camera_up_down"] == "down"


def test_every_template_is_used(rendered):
    files = [*TASKS, "notes", NOT_OBSERVED]
    assert {text for name in files for text in texts(templates(name))} == rendered[1]


def test_texts_read_well(rendered):
    for _, worded in rendered[0]:
        for text in (worded.question, worded.answer):
            assert not re.search(r"[{}]|  |\s[.,?]|\ba [aeio]\w|\b(\w+) \1\b|[.?],|,\.", text.replace("A. ", "")), text
        assert worded.question[0].isupper() and re.search(r"[.?]", worded.question)


@pytest.mark.parametrize("task", TASKS)
def test_there_is_variety(task):
    found = templates(task)
    assert {*found["questions"]} == {*found["answers"]} == {*TASKS[task]}
    assert len({*texts(found["questions"])}) >= 30 and len({*texts(found["descriptions"])}) >= 10
    for form in TASKS[task]:
        for part in ("questions", "answers"):
            assert len({*texts(found[part][form])}) == len(texts(found[part][form])) >= 10, (form, part)


def test_refusals_have_variety():
    assert all(len({*texts(kind)}) >= 10 for kind in templates(NOT_OBSERVED)["answers"].values())


@pytest.mark.parametrize("form", FORMS)
def test_each_question_says_what_it_is_about(form):
    task = next(name for name, types in TASKS.items() if form in types)
    needed = FIELDS[max((start for start in FIELDS if form.startswith(start)), key=len)]
    unit = "degrees" if form.endswith("degrees") else "mm"
    measured = candidate(form).output in ("scalar", "vector")
    for template in templates(task)["questions"][form]:
        assert needed <= template.fields, template.text
        asked = asked_unit(template.text)
        assert asked in ({unit, "millimetres"} if measured else {None}), template.text
    for template in (*templates(task)["descriptions"], *(t for part in templates("notes").values() for t in part)):
        assert asked_unit(template.text) is None, template.text


@pytest.mark.parametrize("form", REFUSED)
def test_nothing_in_the_question_tells_whether_it_can_be_answered(form):
    for seed in range(40):
        answerable = word(candidate(form), SIZE, np.random.default_rng(seed))
        refused = word(candidate(form, True), SIZE, np.random.default_rng(seed))
        assert answerable.question == refused.question and answerable.options == refused.options


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_coordinates_are_thousandths_rounded_down(width, height, x, y):
    point = Point(0, int(x * width), int(y * height))
    asked = candidate("depth_estimation_coordinate", points=(point,))
    question = word(asked, (width, height), np.random.default_rng(0)).question
    u, v = (1000 * point.u) // width, (1000 * point.v) // height
    assert f"({u}, {v})" in question and max(u, v) <= 999
    assert "thousandth" in question or "1000" in question


@pytest.mark.parametrize("form", FORMS)
def test_questions_explain_themselves(form):
    random = np.random.default_rng(1)
    for _ in range(60):
        worded = word(candidate(form), SIZE, random)
        said = worded.question.lower()
        if form.endswith("_coordinate"):
            assert "top left" in said
        if "vector" in form:
            assert all(part in said for part in ("right", "down", "first")) and re.search("forward|ahead", said)
        if form in WORDS:
            assert all(re.search(rf"\b{option}\b", said) for option in WORDS[form]), said
        if form in item.OBJECT_SIZE:
            assert "coffee table" in said


def test_words_to_choose_from_come_in_both_orders_and_letters_agree():
    random, orders, letters = np.random.default_rng(2), Counter(), Counter()
    for _ in range(600):
        worded = word(candidate("camera_left_right"), SIZE, random)
        orders[worded.options] += 1
        listed = re.search(r"A[.)] (\w+).*B[.)] (\w+)|A \((\w+)\) or B \((\w+)\)", worded.question, re.DOTALL)
        if listed:
            assert tuple(filter(None, listed.groups())) == worded.options
        if letter := re.fullmatch(r"(?:The answer is )?\(?([AB])\)?\.?(?: \w+)?", worded.answer):
            assert listed and worded.options["AB".index(letter[1])] == "right"
            letters[letter[1]] += 1
    assert min(orders.values()) > 240 and len(orders) == 2
    assert min(letters.values()) > 20 and len(letters) == 2


def test_some_questions_warn_that_it_may_not_be_seen():
    random = np.random.default_rng(3)
    warnings = [text.format(the_images="the two images") for text in texts(templates("notes")["unseen"])]
    said = [word(candidate("camera_distance"), SIZE, random).question for _ in range(600)]
    assert 100 < sum(any(warning in question for warning in warnings) for question in said) < 200


@pytest.mark.parametrize("shown, said", [(1, "image"), (2, "two images"), (12, "twelve images"), (40, "40 images")])
def test_the_number_of_images_is_right(shown, said):
    asked = candidate("object_height", frames=tuple(range(shown)))
    questions = [word(asked, SIZE, np.random.default_rng(seed)).question for seed in range(60)]
    found = {match for q in questions for match in re.findall(r"(?:the|this|these) ((?:\w+ )?images?)\b", q)}
    assert found == {said}


@pytest.mark.parametrize(
    "label", ["table 2", "no-name box", "two-seater", "kid's chair", "vanity/sink", "one", "a " * 9]
)
def test_labels_that_would_change_the_answer_are_left_out_of_it(label):
    for seed, refused in product(range(40), (False, True)):
        worded = word(candidate("object_height", refused, label=label), SIZE, np.random.default_rng(seed))
        answer = parse(worded.answer, Question(worded.question, answer_type=AnswerType.NUMBER))
        assert answer.verdict == (Verdict.NOT_OBSERVED if refused else Verdict.ANSWERED), worded.answer
        assert label in worded.question


def test_the_same_seed_says_the_same():
    for form in FORMS:
        one, other = (word(candidate(form), SIZE, np.random.default_rng(7)) for _ in range(2))
        assert one == other


@pytest.mark.parametrize(
    "asked, message",
    [
        (candidate("depth_estimation_dot", True, facts={"asks": "weight"}), "question type 'weight' is unknown"),
        (candidate("object_height", label=""), "object_height: a candidate without label cannot be asked"),
        (candidate("camera_yaw_degrees", facts={}), "without direction cannot be asked"),
        (candidate("depth_estimation_dot", points=()), "without spot cannot be asked"),
        (candidate("camera_up_down", truth="left"), r"'left' is not one of its choices \['(up|down)', '(up|down)'\]"),
        (candidate("depth_comparison_dot", truth="C"), "'C' is not one of its choices"),
    ],
)
def test_a_candidate_that_lacks_something_is_refused(asked, message):
    with pytest.raises(SpatialError, match=message):
        word(asked, SIZE, np.random.default_rng(0))
