"""Answers to VSI-Bench in models' own words: right ones score, wrong ones do not, doubtful ones are unreadable."""

import json

import pytest

from spatial_mllm_ros.mllm import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import parse
from spatial_mllm_training.benchmarks.suites import Item, vsi_bench

PLACES = ("left", "right", "back")
THINGS = ("chair", "table", "coffee table", "lamp")
ORDERS = ("chair, table, lamp", "table, chair, lamp", "lamp, chair, table", "lamp, table, chair")
TURNS = ("Turn Left, Turn Right", "Turn Right, Turn Left", "Turn Back, Turn Left")
ASKED = {
    "m": "What is the distance between the sofa and the door (in meters)?",
    "": "How many chair(s) are in this room?",
    "m2": "What is the size of this room (in square meters)?",
    "cm": "What is the length of the longest dimension of the table, measured in centimeters?",
}


def choice(options, right):
    question = "If I stand by the sofa facing the table, is the lamp to my left, right, or back?"
    answers = ("ABCDEFGH"[right],)
    return Item("0", "object_rel_direction_easy", question, answers, "choice", right, options=options)


def number(unit, right):
    kinds = {unit: kind for kind, unit in vsi_bench.NUMBERS.items()}
    return Item("0", kinds[unit], ASKED[unit], (f"{right} {unit}".strip(),), "scalar", float(right), unit)


def score(item, said):
    return vsi_bench.score(item, said)["score"]


LETTERS = [
    "B", "B.", "(B)", "b", "[B]", "{B}", '"B"', "\u201cB\u201d", "`B`", "**B**", "B,", "B)", "(b)", "b.", "B\n",
    "B</s>", "B<|im_end|>", "Answer:B", "Answer: B", "answer: B.", "ANSWER: B", "**Answer:** B", "**Answer:** **B**",
    "**Answer: B**", "Answer: **B**", "### Answer: B", "Answer:\nB", "Answer = B", "Final answer: B",
    "The final answer is: B", "The correct answer is (B).", "So the answer is (B). ", "The answer is option B.",
    "My answer is B.", "Option B", "option (B)", "I choose B.", "I would go with option B.", "It is B.", "So it's B.",
    "B is correct.", "B is the right answer.", "The correct option is B.", "\\boxed{B}", "$\\boxed{B}$",
    "The answer is $\\boxed{B}$.", "\\boxed{\\text{B}}", "\\[\\boxed{B}\\]",
    "Therefore, the final answer is \\boxed{\\textbf{B}}.", "B\n\nExplanation: the lamp stands on that side.",
    "B - seen from the sofa.", "B, because the lamp stands there.", "B. It is nearer to the window.",
    "The correct answer is B. Here's why: seen from the sofa the lamp is not on the left, so option B is correct.",
    "The correct answer is **B**, as the lamp stands there.", "The answer is B because it is not on the left side.",
    "Let me think. It is not at my back.\nAnswer: B", "It is not on the left, so the answer is B.",
    "(A) left (B) right (C) back\nAnswer: B", "<b>B</b>", "Ans: B", "It's B, not A.", "The answer is B, not C.",
    "B is the answer", "The answer is most likely B.", "I would say B.", "Solution: B", "Output: B",
    "A) left\nB) right\nC) back\n\nThe correct answer is B.", "<answer>B</answer>", "<answer>B</answer>.",
    "<answer>B</answer><|im_end|>", "<answer>\n**B**\n</answer>",
    "<think>left or back? no.</think><answer>B. right</answer>", "I think it is left? No...</think>\n\nB",
    "<think>Hm.</think>\n\n**B**", "\u7b54\u6848:B", "\u7b54\u6848\uff1aB", "\u7b54\u6848\u662fB", "\uff08B\uff09",
    '{"answer": "B"}', "Answer: B.\n\nReasoning: left is the door.",
]  # fmt: skip
TEXTS = [
    "right", "Right.", "B) right", "B. right.", "B: right", "B right", "(B) right", "Answer: (B) right",
    "**B. right**", "The answer is B: right", "\\boxed{B. right}", "\\boxed{right}", "The answer is right.",
    "Based on the video, the lamp is on the right.", "The lamp is to your right.", "It is on the right-hand side.",
    "**right**", '"right"', "To the right of the sofa.", "The lamp is on my right, next to the table.",
    "Answer: right",
    "It is on your right, not the left.", "right, not left",
]  # fmt: skip


@pytest.mark.parametrize("said", LETTERS + TEXTS)
def test_the_option_that_is_meant(said):
    assert score(choice(PLACES, 1), said) == 1
    assert score(choice(PLACES, 0), said) == score(choice(PLACES, 2), said) == 0


@pytest.mark.parametrize(
    "said",
    [
        "The lamp is right next to the sofa.",
        "It's right there.",
        "The lamp is right behind you.",
        "You are right, it is hard to say.",
        "The lamp stands right in front of the window.",
        "right away",
        "The lamp was left on the table.",
        "I left the room.",
        "at the back of the room there is a door",
        "The answer is not B.",
        "Not B",
        "It isn't (B).",
        "I don't think the answer is B.",
        "The answer is B or C.",
        "B or C",
        "B, C",
        "B and C",
        "B/C",
        "B?",
        "Is the answer B?",
        "The answer is B? No, it is C.",
        "If the answer is B, the lamp is behind me.",
        "Option B is wrong.",
        "B is incorrect.",
        "Option B cannot be correct.",
        "The answer is B. Wait, actually it is C.",
        "The answer is B. No, C.",
        "B. However, it could also be C.",
        "First I thought the answer is B, later C.",
        "The answer is B: left",
        "B. left",
        "B. right is wrong",
        "Answer: B is incorrect",
        "The answer is B, not B",
        "right, not right",
        "It is on the left, not on the left.",
        "Not left, not back.",
        "The answer is B, left.",
        "B. The lamp is to the left.",
        "\\boxed{A} \\boxed{B}",
        "The answer is not \\boxed{B}.",
        "\\boxed{B} is wrong, it is C?",
        "\\boxed{A or B}",
        "Answer: A\nAnswer: B",
        "A) left B) right C) back",
        "<answer>B",
        "<think>B",
        "<answer>A</answer><answer>B</answer>",
        "left, right",
        "left or right",
        "opposite of left",
        "anything except back",
        "It is either left or right",
        "whether it is right is unclear",
        "Answer: D",
        "E",
        "Brilliant",
        "Between the sofa and the door.",
        "A lamp is a lamp.",
        "I cannot tell.",
        "Eliminating B leaves two.",
    ],
)
def test_what_is_in_doubt_scores_nothing(said):
    assert [score(choice(PLACES, right), said) for right in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "said", "right"),
    [
        (THINGS, "The lamp.", 3),
        (THINGS, "The answer is A chair.", 0),
        (THINGS, "The answer is the coffee table.", 2),
        (THINGS, "Answer: D. lamp", 3),
        (THINGS, "The answer is A. The chair is next to the door.", 0),
        (ORDERS, "B. table, chair, lamp", 1),
        (ORDERS, "**Answer:** C. lamp, chair, table", 2),
        (ORDERS, "The order is lamp, table, chair.", 3),
        (TURNS, "Answer:C", 2),
        (TURNS, "C. Turn Back, Turn Left", 2),
    ],
)
def test_other_options(options, said, right):
    assert [score(choice(options, i), said) for i in range(len(options))] == [
        float(i == right) for i in range(len(options))
    ]


@pytest.mark.parametrize(
    "said",
    ["The lamp is closer than the chair.", "Answer: A. table", "Not the lamp", "chair, lamp"],
)
def test_other_doubts(said):
    assert [score(choice(THINGS, i), said) for i in range(4)] == [0] * 4


METRES = [
    "3", "3.0", "3,0", "3m", "3 m.", "~3m", "\u2248 3 m", "about 3 m.", "approximately 3 meters",
    "Approximately 3.0.", "three meters", "3-meter", "3 (meters)", "3 (m)", "300 cm", "3000 mm", "9.84 feet",
    "118 inches", "9 ft 10 in", '9\'10"', "9 feet 10 inches", "3.0 metres", "3 m (approx. 9.8 feet)",
    "3.0 meters (300 cm)", "3 m (118 inches)", "**3.0 meters**", "`3.0`", "$3.0$", "\\boxed{3}",
    "\\boxed{3.0 \\text{ m}}", "\\boxed{3} m", "$\\boxed{3.0\\,\\mathrm{m}}$", "\\(3.0\\)", "$3.0\\ \\text{meters}$",
    "Answer: 3", "**Answer:** 3 m", "The answer is 3.0 meters", "The final answer is: **3.0 m**",
    "The sofa is 2 m wide.\nAnswer: 3 m", "The distance is about 3 meters, measured between the closest points.",
    "It is roughly 3.0 meters from the sofa to the door.", "The distance between the two chairs is 3 meters.",
    "The distance between these 2 objects is 3 m.", "3.0 m away", "3 meters apart",
    "3 m, because the sofa is 2 m wide.", "3.0 m\n\nExplanation: the sofa is 2 m wide and 1 m of floor is free.",
    "3.00 m\n\nThe sofa and the door are the objects.", "<answer>3.0</answer>", "<answer>3 m</answer>.",
    "2 m? no</think>3 m",
]  # fmt: skip
COUNTS = [
    "2", "two", "Two.", "2.0", "2 chairs", "2 (two)", "two (2)", "**2**", "\\boxed{2}", "$2$", "Answer: two",
    "There are 2.", "There are two chairs.", "I can see 2 chairs in total.", "Two chairs are visible.",
    "The number of chairs is 2.", "There are two chairs in the room: one by the table and one at the window.",
    "2 chairs: one red, one blue.", "2 chairs (one here, one there)", "[2]", "The answer is 2.",
]  # fmt: skip
AREAS = [
    "20", "20 m\u00b2", "20m\u00b2", "20 m2", "20 m^2", "20 m^{2}", "$20\\,m^2$", "$20 \\text{ m}^2$", "20 sqm",
    "20 sq m", "20 sq. m", "20 square meters", "20 square metres.", "20 meters squared", "about 20 square meters",
    "215 square feet", "215 sq ft", "215 sq. ft.", "215 ft\u00b2", "215 ft^2", "215 square-feet",
    "20 m\u00b2 (5 m x 4 m)", "20 m\u00b2 (215 sq ft)", "20 square meters (4 \u00d7 5)", "\\boxed{20 \\text{ m}^2}",
    "The room is approximately 20 square meters in size.", "The room is 5 m by 4 m.\nAnswer: 20 m\u00b2",
]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "said"),
    [
        *((number("m", 3), said) for said in METRES),
        *((number("", 2), said) for said in COUNTS),
        *((number("m2", 20), said) for said in AREAS),
        *(
            (number("cm", 180), said)
            for said in ("180", "180 cm", "1.8 m", "5 ft 10.9 in", "\\boxed{180}", "70.9 inches")
        ),
    ],
)
def test_the_number_that_is_meant(item, said):
    assert score(item, said) == 1


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("m", "between 3 and 4 meters"),
        ("m", "between two and three meters"),
        ("m", "2-3 m"),
        ("m", "3 to 4 m"),
        ("m", "more than 3 m"),
        ("m", "at least 3 m"),
        ("m", "not 3 m"),
        ("m", "3 m or 4 m"),
        ("m", "3 m (4 m)"),
        ("m", "3 m (9.8 m)"),
        ("m", "3 m (2 m x 2 m)"),
        ("m", "3 m\nNo, 4 m"),
        ("m", "3 m because... wait, actually 4 m"),
        ("m", "The answer is 3 m. No, the answer is 4 m."),
        ("m", "The answer is not 3 m."),
        ("m", "The answer is not \\boxed{3}."),
        ("m", "\\boxed{3} \\boxed{4}"),
        ("m", "3 \u00b1 1 m"),
        ("m", "1,234"),
        ("m", "3 kg"),
        ("m", "3 m2"),
        ("m", "3 square feet"),
        ("m", "$\\frac{6}{2}$"),
        ("m", "3/4"),
        ("m", "-3 to 3"),
        ("", "2 or 3"),
        ("", "two: one red, one blue, one green"),
        ("", "2 (three)"),
        ("", "2 chairs (one here, two there)"),
        ("m", "[3, 4]"),
        ("m", "[3] or [4]"),
        ("", "There are two chairs: no, three."),
        ("", "One or two"),
        ("", "2 m"),
        ("m2", "20 m"),
        ("m2", "20 m\u00b2 (5 m x 5 m)"),
        ("m2", "215 ft"),
        ("m2", "20 cubic meters"),
        ("m2", "20\u00b3"),
    ],
)
def test_numbers_in_doubt_are_unreadable(unit, said):
    assert number(unit, 3).read(said).value is None


def test_a_wrong_number_stays_wrong():
    assert score(number("m", 3), "-3 m") == score(number("m", 30), "\\boxed{3}") == 0
    assert score(number("m2", 215), "215 square feet") == 0
    assert score(number("m", 9.8), "3 m (9.8 feet)") == 0


def test_the_rule_of_the_authors_is_reported_beside():
    """Its first word alone counts, as ever."""
    item = choice(PLACES, 1)
    for said, published in (
        ("B", 1),
        ("B.", 1),
        ("Answer: B", 0),
        ("**B**", 0),
        ("\\boxed{B}", 0),
        ("b right", 1),
        ("[B]", 0),
    ):
        assert vsi_bench.score(item, said)["as published"] == published, said
    assert vsi_bench.score(number("m", 3), "3 m (9.8 feet)")["as published"] == 1
    assert vsi_bench.score(number("m", 3), "\\boxed{3}")["as published"] == 0


@pytest.mark.parametrize("said", ["**Answer:** B", "Answer:B", "`B`", "[B]", "**B. right**", "$B$"])
def test_choices_in_the_node(said):
    answer = parse(said, Question("Where is the lamp?", options=PLACES))
    assert (answer.verdict, answer.choice, answer.text) == (Verdict.ANSWERED, 1, "right")


@pytest.mark.parametrize(
    "said", ["\\boxed{A} or B", "B or C", "Not B", "The answer is B because it is near.", "A chair"]
)
def test_the_node_guesses_nothing(said):
    assert parse(said, Question("Where is the lamp?", options=PLACES)).verdict == Verdict.UNSURE


@pytest.mark.parametrize(
    ("said", "value", "unit"),
    [
        ("20m\u00b2", 20, "m2"),
        ("215 sq ft", 19.974, "m2"),
        ("20 square meters", 20, "m2"),
        ("**20 m^{2}**", 20, "m2"),
        ("20 meters squared", 20, "m2"),
    ],
)
def test_areas_in_the_node(said, value, unit):
    answer = parse(said, Question("How large is the room?", answer_type=AnswerType.NUMBER))
    assert answer.verdict == Verdict.ANSWERED and (answer.value, answer.unit) == (pytest.approx(value, abs=0.001), unit)


def test_every_answer_that_the_suite_reads_is_one_of_its_file(tmp_path):
    """From files to the score, as `evaluate` goes."""
    asked = {
        "id": 0,
        "scene_name": "s",
        "question_type": "route_planning",
        "question": "?",
        "options": ["A. x", "B. y"],
    }
    (tmp_path / "test.jsonl").write_text(json.dumps({**asked, "ground_truth": "B"}))
    (item,) = vsi_bench.load(tmp_path)
    assert score(item, "**Answer:** B") == 1 and score(item, "**Answer:** A") == 0
