"""What a request may ask for: checked before anything else happens, so that a caller learns at once what was wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from traceback import format_exc
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from ..config import describe
from ..errors import ErrorCode, SpatialError, bad, check_cameras
from ..messages import stamp_ns
from ..mllm.question import AnswerType, Question

WAITING = QoSProfile(depth=1000)  # requests that DDS keeps; the default would silently lose the 11th of a burst


def check_question(request: Any, cameras: list[str]) -> Question:
    """The question of an AskSpatial request (of the service or the action), if that can be answered at all.

    Raises:
        SpatialError: BAD_REQUEST, with the field and what would be right.
    """
    kind = request.answer_type
    kind = AnswerType(kind) if kind in set(AnswerType) else kind  # Question says what is wrong with another
    question = Question(request.question, tuple(request.options), kind, request.with_reasoning)
    check_cameras(request.cameras, cameras)
    if len(set(request.cameras)) != len(request.cameras):
        raise bad("cameras: a name is repeated")
    start, end = time_ns("start", request.start), time_ns("end", request.end)
    if end and start > end:
        raise bad("start is after end")
    check_range("max_frames", request.max_frames, "ask.max_frames")
    check_range("timeout", request.timeout, "ask.timeout")
    return question


def check_range(field: str, value: float, parameter: str) -> None:
    """Zero (the node's parameter), or within that parameter's range."""
    p = describe()[parameter]
    if value != 0 and not (isfinite(value) and p["low"] <= value <= p["high"]):
        unit = f" {p['unit']}" if p["unit"] else ""
        raise bad(f"{field} = {value:g}: expected {p['low'] or 1:g} to {p['high']:g}{unit}, or 0 for {parameter}")


def the_camera(camera: str, cameras: list[str]) -> str:
    """The camera asked for; empty means the only one."""
    if not camera and len(cameras) > 1:
        raise bad(f"camera is empty, but there are several: {', '.join(cameras)}")
    camera = camera or cameras[0]
    check_cameras([camera], cameras)
    return camera


def time_ns(field: str, time: Any) -> int:
    """Nanoseconds of a time in a request; zero keeps its meaning."""
    if time.sec < 0 or time.nanosec >= 1_000_000_000:
        raise bad(f"{field} = {time.sec} s + {time.nanosec} ns is no time")
    return stamp_ns(time)


@contextmanager
def answered(response: Any, node: Node, what: str) -> Iterator[None]:
    """What is raised in the block is told in the response; what nobody expected also in the node's log."""
    try:
        yield
    except SpatialError as error:
        fail(response, error.code, error.message)
    except Exception:
        node.get_logger().error(f"a {what} failed:\n{format_exc()}")
        fail(response, ErrorCode.FAILED, "internal error; the node's log has the details")


def fail(response: Any, code: ErrorCode, text: str) -> None:
    """Fill an error into a response or result."""
    if hasattr(response, "success"):
        response.success, response.message = False, text
    else:
        response.error_code, response.error_msg = int(code), text
    if hasattr(response, "choice"):
        response.value, response.choice = float("nan"), -1
