"""What a request may ask for: checked before anything else happens, so that a caller learns at once what was wrong."""

from math import isfinite
from typing import Any

from spatial_mllm_msgs.srv import AskSpatial

from ..config import describe
from ..errors import ErrorCode, SpatialError
from ..messages import stamp_ns

MAX_QUESTION = 2000  # characters
MAX_OPTIONS = 26
MAX_OPTION = 200  # characters
KINDS = ("AUTO", "TEXT", "NUMBER", "CHOICE", "PIXEL", "VECTOR")
ANSWER_TYPES = {name: getattr(AskSpatial.Request, name) for name in KINDS}


def bad(text: str) -> SpatialError:
    return SpatialError(ErrorCode.BAD_REQUEST, text)


def check_question(request: Any, cameras: list[str]) -> None:
    """Whether an AskSpatial request (of the service or the action) can be answered at all.

    Raises:
        SpatialError: BAD_REQUEST, with the field and what would be right.
    """
    if not request.question.strip():
        raise bad("question is empty")
    if len(request.question) > MAX_QUESTION:
        raise bad(f"question has {len(request.question)} characters: at most {MAX_QUESTION}")
    check_options(request)
    for camera in request.cameras:
        check_camera(camera, cameras)
    if len(set(request.cameras)) != len(request.cameras):
        raise bad("cameras: a name is repeated")
    start, end = time_ns("start", request.start), time_ns("end", request.end)
    if end and start > end:
        raise bad("start is after end")
    check_range("max_frames", request.max_frames, "ask.max_frames")
    check_range("timeout", request.timeout, "ask.timeout")


def check_options(request: Any) -> None:
    """Options fit the kind of answer: two or more different ones for a choice, none for other kinds."""
    if request.answer_type not in ANSWER_TYPES.values():
        kinds = ", ".join(f"{name}={value}" for name, value in ANSWER_TYPES.items())
        raise bad(f"answer_type {request.answer_type} is unknown: {kinds}")
    options, kind = request.options, request.answer_type
    if kind == ANSWER_TYPES["CHOICE"] and not options:
        raise bad("answer_type CHOICE without options: expected at least 2")
    if options and kind not in (ANSWER_TYPES["AUTO"], ANSWER_TYPES["CHOICE"]):
        raise bad("options are given: answer_type must be AUTO or CHOICE")
    if options and not 2 <= len(options) <= MAX_OPTIONS:
        raise bad(f"{len(options)} option(s): expected 2 to {MAX_OPTIONS}")
    if len({option.strip() for option in options}) != len(options):
        raise bad("options: one is repeated")
    if any(not 0 < len(option.strip()) <= MAX_OPTION for option in options):
        raise bad(f"options: each needs 1 to {MAX_OPTION} characters")


def check_range(field: str, value: float, parameter: str) -> None:
    """Zero (the node's parameter), or within that parameter's range."""
    p = describe()[parameter]
    if value != 0 and not (isfinite(value) and p["low"] <= value <= p["high"]):
        unit = f" {p['unit']}" if p["unit"] else ""
        raise bad(f"{field} = {value:g}: expected {p['low']:g} to {p['high']:g}{unit}, or 0 for {parameter}")


def check_camera(camera: str, cameras: list[str]) -> None:
    if camera not in cameras:
        raise bad(f"camera '{camera[:64]}' is unknown; known are {', '.join(cameras)}")


def the_camera(camera: str, cameras: list[str]) -> str:
    """The camera asked for; empty means the only one."""
    if not camera and len(cameras) > 1:
        raise bad(f"camera is empty, but there are several: {', '.join(cameras)}")
    check_camera(camera or cameras[0], cameras)
    return camera or cameras[0]


def time_ns(field: str, time: Any) -> int:
    """Nanoseconds of a time in a request; zero keeps its meaning."""
    if time.sec < 0 or time.nanosec >= 1_000_000_000:
        raise bad(f"{field} = {time.sec} s + {time.nanosec} ns is no time")
    return stamp_ns(time)
