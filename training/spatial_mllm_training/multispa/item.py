"""A question before it is put into words: what is asked about which pixels of which frames, and what is true."""

from dataclasses import dataclass, field
from typing import Any

from spatial_mllm_ros.errors import ErrorCode, SpatialError

DEPTH = (
    "depth_estimation_dot",
    "depth_estimation_coordinate",
    "depth_comparison_dot",
    "depth_comparison_coordinate",
)
CORRESPONDENCE = ("correspondence_coordinate", "correspondence_choice")
CAMERA_MOTION = (
    "camera_left_right",
    "camera_up_down",
    "camera_forward_back",
    "camera_yaw_direction",
    "camera_pitch_direction",
    "camera_yaw_degrees",
    "camera_pitch_degrees",
    "camera_distance",
    "camera_vector",
)
OBJECT_MOTION = (
    "object_distance_dot",
    "object_distance_coordinate",
    "object_vector_dot",
    "object_vector_coordinate",
)
OBJECT_SIZE = ("object_height", "object_width", "object_length")
NOT_OBSERVED = "not_observed"
QUESTION_TYPES = (*DEPTH, *CORRESPONDENCE, *CAMERA_MOTION, *OBJECT_MOTION, *OBJECT_SIZE, NOT_OBSERVED)
LETTERS = "ABCD"

Truth = float | list[float] | str


def bad(text: str) -> SpatialError:
    """What is wrong with what the user named."""
    return SpatialError(ErrorCode.BAD_REQUEST, text)


def output_of(question_type: str) -> str:
    """What a question type is answered with, as ``Candidate.output`` says it, but ``text`` for every choice."""
    if question_type == CORRESPONDENCE[0]:
        return "pixel"
    name = question_type.split("_")
    if "vector" in name:
        return "vector"
    numbers = question_type in OBJECT_SIZE or not {"distance", "degrees", "estimation"}.isdisjoint(name)
    return "scalar" if numbers else "text"


@dataclass(frozen=True)
class Point:
    """A pixel that a question or its choices speak of.

    Attributes:
        image: position among the frames that are shown, from 0.
        u, v: column and row in the stored image, whole pixels.
        name: letter that stands at it (choices, comparisons), or empty.
    """

    image: int
    u: int
    v: int
    name: str = ""


@dataclass(frozen=True)
class Candidate:
    """One question that can be asked of a scene (Xu et al., 2025, section 3.2).

    Attributes:
        question_type: one of QUESTION_TYPES.
        frames: numbers of the frames shown, in that order.
        truth: millimetres, degrees, [right, down, forward] in millimetres of the first camera's axes, [x, y] in
            thousandths of width and height for a pixel, or text: a letter, a word, ``not observed``.
        output: ``scalar``, ``vector``, ``pixel``, ``choice`` or ``text``.
        referring: ``dot``, ``coordinate``, ``label`` or empty.
        points: those that the question speaks of first, then those to choose from.
        label: of the thing that is spoken of.
        options: words to choose from, where the choices are words.
        bins: what balance looks at: name of a histogram -> its bin.
        facts: what wording needs besides: strings and numbers. ``not_observed`` has ``asks``: the type whose form it
            takes.
    """

    question_type: str
    frames: tuple[int, ...]
    truth: Truth
    output: str
    referring: str = ""
    points: tuple[Point, ...] = ()
    label: str = ""
    options: tuple[str, ...] = ()
    bins: dict[str, int | str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """As JSON values; nothing is copied."""
        return vars(self) | {"points": [vars(point) for point in self.points]}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Candidate":
        """The same from :meth:`values`."""
        changed: dict[str, Any] = {name: tuple(values[name]) for name in ("frames", "options")}
        changed["points"] = tuple(Point(**point) for point in values["points"])
        return cls(**(values | changed))
