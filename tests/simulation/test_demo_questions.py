"""The demo's questions: of every kind, with truths that are worked out again here from the room."""

import importlib.util
import re
import sys
from math import nan
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")

from spatial_mllm_ros.mllm import Answer, AnswerType, Verdict
from spatial_mllm_ros.simulation import make_room

TOOL = Path(__file__).parents[2] / "tools/demo_questions.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo_questions", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo_questions"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def room():
    return make_room(7, (160, 120), 2.0)


@pytest.fixture(scope="module")
def asked(demo, room):
    return list(demo.askings(room, [int(stamp) for stamp in room.stamps[1::3]]))


def number(metres, unit="m"):
    return Answer(Verdict.ANSWERED, "said", metres, unit)


def text(words):
    return Answer(Verdict.ANSWERED, words, nan)


def used(one):
    return sorted({one.start_ns, one.end_ns})


def one(asked, *words):
    (found,) = [a for a in asked if all(word in a.question.text for word in words)]
    return found


def index(room, stamp):
    return room.stamps.tolist().index(stamp)


def test_there_is_one_of_every_kind(asked):
    kinds = [a.question.answer_type.name for a in asked]
    assert kinds == ["NUMBER", "TEXT", "TEXT", "NUMBER", "VECTOR", "NUMBER", "NUMBER"]
    assert [a.frames for a in asked] == [1, 1, 2, 2, 2, 2, 2]


def test_depth_is_that_of_the_pixel(room, asked):
    deep = one(asked, "How far in front of the camera")
    x, y = map(int, re.search(r"\((\d+), (\d+)\), in", deep.question.text).groups())
    depth = room.render(index(room, deep.start_ns)).exact_depth
    near = depth[y * 120 // 1000 : y * 120 // 1000 + 2, x * 160 // 1000 : x * 160 // 1000 + 2]
    truth, right = deep.check(number(float(near.mean())), used(deep))
    assert right and abs(float(truth.split()[0]) / 1000 - near.mean()) < 0.06 * near.mean()
    metres = float(truth.split()[0]) / 1000
    for said, expected in ((1.19, True), (1.21, False), (0.81, True), (0.79, False)):
        assert deep.check(number(said * metres), used(deep))[1] is expected
    assert not deep.check(number(metres, "deg"), used(deep))[1]
    assert not deep.check(Answer(Verdict.NOT_OBSERVED, "Not visible."), used(deep))[1]


def test_nearer_of_two(room, asked):
    two = one(asked, "is nearer to the camera")
    places = [tuple(map(int, found)) for found in re.findall(r"[AB] at \((\d+), (\d+)\)", two.question.text)]
    depth = room.render(index(room, two.start_ns)).exact_depth
    a, b = (depth[-(-y * 120 // 1000), -(-x * 160 // 1000)] for x, y in places)
    nearer, other = ("A", "B") if a < b else ("B", "A")
    assert two.check(text(f"{nearer}."), used(two))[1] and not two.check(text(other), used(two))[1]


def test_motion_of_the_camera(room, asked):
    for words in (("left or right",), ("How far did the camera move",), ("right, down and forward",)):
        question = one(asked, *words)
        first, last = (room.world_from_camera(index(room, stamp)) for stamp in used(question))
        moved = first[:3, :3].T @ (last[:3, 3] - first[:3, 3])
        if question.question.answer_type == AnswerType.TEXT:
            assert question.check(text("right" if moved[0] > 0 else "left"), used(question))[1]
            assert not question.check(text("left" if moved[0] > 0 else "right"), used(question))[1]
        elif question.question.answer_type == AnswerType.NUMBER:
            assert question.check(number(np.linalg.norm(moved)), used(question))[1]
            assert not question.check(number(1.25 * np.linalg.norm(moved)), used(question))[1]
        else:
            said = Answer(Verdict.ANSWERED, "said", vector=tuple(moved.tolist()))
            assert question.check(said, used(question))[1]
            back = Answer(Verdict.ANSWERED, "said", vector=tuple((-moved).tolist()))
            assert not question.check(back, used(question))[1]


def test_things_that_are_there_and_one_that_is_not(room, asked):
    there, absent = (a for a in asked if "How tall is the" in a.question.text)
    (label,) = re.search(r"How tall is the (.+), in", there.question.text).groups()
    (thing,) = [o for o in room.objects if o.label == label]
    assert there.check(number(float(thing.size[2])), used(there))[1]
    ids = np.concatenate([room.render(index(room, stamp)).object_ids.ravel() for stamp in used(there)])
    assert (ids == room.objects.index(thing)).any()
    (missing,) = re.search(r"How tall is the (.+), in", absent.question.text).groups()
    assert not any(missing in o.label for o in room.objects)
    assert absent.check(Answer(Verdict.NOT_OBSERVED, "Not visible."), used(absent))[1]
    assert not absent.check(number(1.0), used(absent))[1]
