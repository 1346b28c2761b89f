"""Which questions leave no room for a quantity, or for one in other units."""

import pytest

from spatial_mllm_ros.mllm.text.sense import fits

THINGS = [
    "What is left of the sofa?",
    "what's on the table?",
    "What is directly behind the chair",
    "Look around you. In the first image, what stands next to the door?",
    "Tell me what is between the sofa and the table.",
    "Which of the chairs is red?",
    "What colour is the wall?",
    "Who is at the table?",
    "Describe the room.",
    "Please name the thing on the left.",
    "In the first image, what do you see?",
]
PLACES = ["Where is the mug?", "In this room, where is the mug?", "Why does it lie there?", "Is the mug red?"]
QUANTITIES = [
    "57 degrees",
    "about 2 m.",
    "It is 1200 mm",
    "three metres",
    "5 s",
    "25 m²",
    "2 m x 3 m",
    "-4.5 cm",
    "90°",
]


@pytest.mark.parametrize("question", [*THINGS, *PLACES])
@pytest.mark.parametrize("said", QUANTITIES)
def test_a_quantity_is_neither_thing_nor_place(said, question):
    assert not fits(said, question)


@pytest.mark.parametrize("question", [*THINGS, *PLACES])
@pytest.mark.parametrize("said", ["a lamp", "2 m to the left", "3 chairs", "B12", "red", "(512, 300)", "yes", "none"])
def test_words_always_fit(said, question):
    assert fits(said, question)


def test_a_bare_number_is_the_name_of_a_thing_but_no_place():
    assert all(fits("12", question) for question in THINGS)
    assert not any(fits("12", question) for question in PLACES)
    assert fits("2", "Where is it, in the first or in the second image?")


@pytest.mark.parametrize(
    ("question", "fitting", "others"),
    [
        ("How high is the table?", "80 cm", ["57 degrees", "3 s", "2 m²"]),
        ("What is the width of the door?", "80 cm", ["57 degrees", "3 s"]),
        ("How far is the sofa?", "2 m", ["57 degrees"]),
        ("How many chairs are there?", "3", ["57 degrees", "3 m"]),
        ("How long did it take?", "3 s", ["57 degrees"]),
        ("What is the angle between the two walls?", "90 degrees", ["2 m"]),
        ("What is the area of the room?", "25 m2", ["57 degrees", "2 m"]),
        ("How wide is the table? How high is it?", "1.2 m", ["57 degrees"]),
        ("Did the camera move left or right?", "2", ["57 degrees", "2 m"]),
    ],
)
def test_units_are_those_of_what_is_asked_for(question, fitting, others):
    assert fits(fitting, question) and not any(fits(other, question) for other in others)


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("57 degrees", "What is it?"),
        ("2 m", "Describe the distance from the sofa to the door."),
        ("57 degrees", "By how much did it change?"),
        ("2 m", "What is the clearance?"),
        ("90 degrees", "How far did the camera turn?"),
        ("2 minutes", "How far is the kitchen?"),
        ("1.5 m", "Is the table 1 m or 1.5 m wide?"),
        ("2 m", "Can you tell me how far it is?"),
        ("30 degrees", "In which direction is the door?"),
        ("25 m²", "How big is the room?"),
        ("15 cm", "What is written on the ruler?"),
        ("3 s", "What does the clock on the wall show?"),
        ("2 m", "What's the distance to what is left of the sofa?"),
        ("2 m", "Was ist der Abstand zum Sofa?"),
        ("2 m", "A che distanza è il divano?"),
    ],
)
def test_where_there_is_doubt_an_answer_stands(said, question):
    assert fits(said, question)
