"""What a question may ask for; the texts are what a caller sees."""

import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from spatial_mllm_msgs.srv import AskSpatial

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.node.requests import check_question, the_camera, time_ns

CAMERAS = ["front", "rear"]
Q = AskSpatial.Request


def question(**fields):
    return Q(**({"question": "Is the mug left of the laptop?"} | fields))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (question(question=""), "question is empty"),
        (question(question=" \n"), "question is empty"),
        (question(question="x" * 2001), "2001 characters: at most 2000"),
        (question(answer_type=6), "answer_type 6 is unknown: AUTO=0, TEXT=1"),
        (question(answer_type=Q.CHOICE), "CHOICE without options"),
        (question(options=["yes"]), "1 option(s): expected 2 to 26"),
        (question(options=[str(i) for i in range(27)]), "27 option(s)"),
        (question(options=["yes", "yes "]), "one is repeated"),
        (question(options=["yes", ""]), "1 to 200 characters"),
        (question(options=["yes", "n" * 201]), "1 to 200 characters"),
        (question(options=["a", "b"], answer_type=Q.NUMBER), "AUTO or CHOICE"),
        (question(cameras=["left"]), "camera 'left' is unknown; known are front, rear"),
        (question(cameras=["l" * 5000]), "camera '" + "l" * 64 + "' is unknown"),
        (question(cameras=["rear", "rear"]), "repeated"),
        (question(start=Time(sec=2), end=Time(sec=1)), "start is after end"),
        (question(start=Time(sec=-1)), "start = -1 s"),
        (question(end=Time(nanosec=1_000_000_000)), "is no time"),
        (question(max_frames=257), "max_frames = 257: expected 1 to 256, or 0 for ask.max_frames"),
        (question(timeout=-1.0), "timeout = -1: expected 0.1 to 3600 s, or 0 for ask.timeout"),
        (question(timeout=float("nan")), "timeout = nan"),
        (question(timeout=float("inf")), "timeout = inf"),
    ],
)
def test_what_is_wrong_is_named(request_, words):
    with pytest.raises(SpatialError) as error:
        check_question(request_, CAMERAS)
    assert error.value.code == ErrorCode.BAD_REQUEST
    assert words in error.value.message


@pytest.mark.parametrize(
    "request_",
    [
        question(),
        question(question="x" * 2000),
        question(options=["yes", "no"], answer_type=Q.CHOICE),
        question(options=["yes", "no"]),
        question(cameras=["rear", "front"], start=Time(sec=5), end=Time()),
        question(start=Time(sec=5), end=Time(sec=5), max_frames=256, timeout=3600.0),
    ],
)
def test_what_is_right_passes(request_):
    check_question(request_, CAMERAS)


@given(
    st.builds(
        question,
        question=st.text(max_size=2100),
        options=st.lists(st.text(max_size=210), max_size=30),
        answer_type=st.integers(0, 255),
        cameras=st.lists(st.sampled_from([*CAMERAS, "", "left"]), max_size=3),
        max_frames=st.integers(0, 65535),
        timeout=st.floats(width=32),
    )
)
def test_any_request_passes_or_is_refused_with_a_text(request_):
    try:
        check_question(request_, CAMERAS)
    except SpatialError as error:
        assert error.code == ErrorCode.BAD_REQUEST
        assert 0 < len(error.message) < 200


def test_an_empty_camera_means_the_only_one():
    assert the_camera("", ["front"]) == "front"
    assert the_camera("rear", CAMERAS) == "rear"
    with pytest.raises(SpatialError, match="there are several: front, rear"):
        the_camera("", CAMERAS)


def test_times_in_nanoseconds():
    assert time_ns("start", Time(sec=3, nanosec=5)) == 3_000_000_005
