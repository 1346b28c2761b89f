"""A candidate in words: what a person would ask a robot, and what it should answer.

A question is a description of the task, the question itself, and what it takes to answer it: what coordinates or axes
mean, the choices. Some say that a thing may not be visible, as often where it is as where it is not. Texts are the
templates of ``templates/*.yaml``; a template is used where all its fields are known. Answers are whole millimetres or
degrees, or text, and all of them are read back by ``spatial_mllm_ros.mllm.text.parsing``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import yaml

from spatial_mllm_ros.mllm.question import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.parsing import parse

from . import item
from .dots import COLOURS
from .item import NOT_OBSERVED, Candidate, Point, bad

TASKS = {
    "depth": item.DEPTH,
    "correspondence": item.CORRESPONDENCE,
    "camera_motion": item.CAMERA_MOTION,
    "object_motion": item.OBJECT_MOTION,
    "object_size": item.OBJECT_SIZE,
}
WORD = ("camera_left_right", "camera_up_down", "camera_forward_back", "camera_yaw_direction", "camera_pitch_direction")
REFUSAL = "not observed"
WARNED = 0.25  # share of questions that say that the images may not show it
CHOICES = ("listed", "word", "letter")  # notes that say what can be chosen
LISTED = 0.5  # share of questions about a direction that list it as lettered choices
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Worded:
    """What a record says.

    Attributes:
        question: without the places of images.
        gt_value: int, millimetres or degrees; [right, down, forward] in millimetres; or text: ``[x, y]`` in
            thousandths, a letter, a word, ``not observed``.
        options: what can be chosen from, in the order of the question: words or letters; else empty.
    """

    question: str
    answer: str
    gt_value: int | list[int] | str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Template:
    """A text with ``{fields}``."""

    text: str

    @cached_property
    def fields(self) -> frozenset[str]:
        return frozenset(field for _, field, _, _ in Formatter().parse(self.text) if field is not None)


def word(candidate: Candidate, size: tuple[int, int], rng: np.random.Generator, brief: bool = False) -> Worded:
    """One of the many ways to ask and answer.

    Args:
        size: width and height of the stored images, in pixels.
        brief: leave out the description and the notes but for the choices.

    Raises:
        SpatialError: BAD_REQUEST where the candidate lacks what its type speaks of.
    """
    form = candidate.facts.get("asks", candidate.question_type)
    task = next((name for name, types in TASKS.items() if form in types), None)
    if task is None:
        raise bad(f"question type {form!r} is unknown")
    options = _options(candidate, form, rng)
    known = _known(candidate, options, size, rng)
    listed = form in WORD and rng.random() < LISTED
    texts = templates(task)
    question = _pick(texts["questions"][form], known, form, rng)
    notes = _notes(form, listed, question, rng)
    said = [question.text] if brief else [_pick(texts["descriptions"], known, form, rng).text, question.text]
    said += [_pick(templates("notes")[note], known, form, rng).text for note in notes if not brief or note in CHOICES]
    said = [text[:1].upper() + text[1:] for text in (text.format_map(known) for text in said)]
    gt_value, values = _truth(candidate, form, options, listed)
    if candidate.question_type == NOT_OBSERVED:
        answers = templates(NOT_OBSERVED)["answers"]["thing" if candidate.label else "point"]
    else:
        answers = texts["answers"][form]
    names = ("direction", "images", "label") if _is_readable(candidate.label) else ("direction", "images")
    values |= {name: known[name] for name in names if name in known}
    answer = _pick(answers, values, form, rng).text.format_map(values)
    return Worded(" ".join(said).replace(" \n", "\n"), answer, gt_value, options)


@cache
def templates(name: str) -> dict[str, Any]:
    """A file of templates, its texts as lists of Template."""

    def parsed(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: parsed(value) for key, value in node.items()}
        return [Template(text) for text in node]

    path = Path(__file__).parent / "templates" / f"{name}.yaml"
    return parsed(yaml.safe_load(path.read_text("utf-8")))


def thousandths(point: Point, size: tuple[int, int]) -> str:
    """``(x, y)`` in thousandths of the image's width and height, rounded down."""
    return f"({1000 * point.u // size[0]}, {1000 * point.v // size[1]})"


def _options(candidate: Candidate, form: str, rng: np.random.Generator) -> tuple[str, ...]:
    """What the question offers: words in random order, or the letters of its points."""
    if form in WORD:
        return tuple(rng.permutation(candidate.options).tolist())
    return tuple(point.name for point in candidate.points if point.name)


def _known(
    candidate: Candidate, options: Sequence[str], size: tuple[int, int], rng: np.random.Generator
) -> dict[str, str]:
    """Fields that a question about this candidate may use."""
    shown = len(candidate.frames)
    several = f"{NUMBERS[shown] if shown < len(NUMBERS) else shown} images"
    known = {
        "images": "image" if shown == 1 else "images",
        "the_images": "the image" if shown == 1 else f"the {several}",
        "these_images": "this image" if shown == 1 else f"these {several}",
        "colour": COLOURS[""][0],
    }
    if "direction" in candidate.facts:
        known["direction"] = candidate.facts["direction"]
    if candidate.label:
        known["label"] = candidate.label
    if candidate.options and len(options) == 2:
        known |= {"first": options[0], "second": options[1], "either": " or ".join(options)}
    elif options:
        known["letters"] = f"{', '.join(options[:-1])} or {options[-1]}"
    if candidate.referring in ("dot", "coordinate") and candidate.points:
        named = {point.name.lower(): thousandths(point, size) for point in candidate.points if point.name}
        unnamed = [point for point in candidate.points if not point.name]
        known |= {"point": thousandths(unnamed[0], size)} if unnamed else named
        name = "spot" if unnamed else "pair"
        said = _pick(templates("notes")[f"{name}_{candidate.referring}"], known, candidate.question_type, rng)
        known[name] = said.text.format_map(known)
    return known


def _notes(form: str, listed: bool, question: Template, rng: np.random.Generator) -> list[str]:
    """What follows the question: kinds of notes."""
    notes = []
    if form.endswith("_coordinate"):
        notes.append("coordinates")
    if form == "correspondence_coordinate":
        notes.append("pixel")
    if "vector" in form:
        notes.append("vector")
    if form in WORD:
        if listed:
            notes.append("listed")
        elif not question.fields & {"either", "first"}:
            notes.append("word")
    if form.startswith("depth_comparison") or form == "correspondence_choice":
        notes.append("letter")
    if rng.random() < WARNED:
        notes.insert(len(notes) - ("listed" in notes), "unseen")
    return notes


def _truth(
    candidate: Candidate, form: str, options: Sequence[str], listed: bool
) -> tuple[int | list[int] | str, dict[str, str]]:
    """gt_value, and the fields that an answer may use."""
    truth = candidate.truth
    if candidate.question_type == NOT_OBSERVED:
        return REFUSAL, {}
    if isinstance(truth, str):
        if truth not in options:
            raise bad(f"{form}: {truth!r} is not one of its choices {[*options]}")
        if form not in WORD:
            return truth, {"letter": truth}
        letter = {"letter": item.LETTERS[options.index(truth)]} if listed else {}
        return truth, {"word": truth, "Word": truth.capitalize(), **letter}
    if not isinstance(truth, list):
        return round(truth), {"value": str(round(truth))}
    whole = [round(value) for value in truth]
    names = ("x", "y") if candidate.output == "pixel" else ("right", "down", "forward")
    gt_value = f"[{whole[0]}, {whole[1]}]" if candidate.output == "pixel" else whole
    return gt_value, {name: str(value) for name, value in zip(names, whole)}


def _pick(choices: Sequence[Template], known: dict[str, str], form: str, rng: np.random.Generator) -> Template:
    """One whose fields are all known."""
    usable = [template for template in choices if template.fields <= known.keys()]
    if not usable:
        lacking = sorted({field for template in choices for field in template.fields - known.keys()})
        raise bad(f"{form}: a candidate without {', '.join(lacking)} cannot be asked")
    return usable[rng.integers(len(usable))]


@lru_cache(maxsize=4096)
def _is_readable(label: str) -> bool:
    """Whether answers may name it: ``stand 2`` or ``no-name box`` would make another answer of them."""
    number = parse(f"The {label} is 7 mm tall.", Question("How tall?", answer_type=AnswerType.NUMBER))
    refusal = parse(f"The {label} is not visible.", Question("?"))
    return number.verdict == Verdict.ANSWERED and refusal.verdict == Verdict.NOT_OBSERVED
