"""Stamps changed within serialised messages, against taking the message apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.recordings.restamp import restamper
from spatial_mllm_ros.recordings.types import typestore

from .recordings import START, image, info, odometry, pose_stamped, transforms

STORE = typestore()


def stamps(message):
    headers = [t.header for t in message.transforms] if hasattr(message, "transforms") else [message.header]
    return [h.stamp.sec * 10**9 + h.stamp.nanosec for h in headers]


def change(ns):
    return ns + 12_345_678_901


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize(
    "message",
    [
        image(START, np.zeros((3, 5, 3), np.uint8), "rgb8", frame="odd length"),
        info(START),
        odometry(START + 999_999_999, 1.0),
        pose_stamped(START, 1.0),
    ],
)
def test_header_comes_first(message, little):
    kind = message.__msgtype__
    data = STORE.serialize_cdr(message, kind, little_endian=little)
    changed = STORE.deserialize_cdr(restamper(kind, STORE)(bytes(data), change), kind)
    assert stamps(changed) == [change(ns) for ns in stamps(message)]
    changed.header.stamp = message.header.stamp
    assert bytes(STORE.serialize_cdr(changed, kind, little_endian=little)) == bytes(data)


@given(names=st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=5), little=st.booleans())
def test_transforms(names, little):
    message = transforms(*((START + i, a, b, (1.0, 2.0, 3.0)) for i, (a, b) in enumerate(names)))
    kind = message.__msgtype__
    data = STORE.serialize_cdr(message, kind, little_endian=little)
    changed = STORE.deserialize_cdr(restamper(kind, STORE)(bytes(data), change), kind)
    assert stamps(changed) == [change(ns) for ns in stamps(message)]
    assert [(t.header.frame_id, t.child_frame_id) for t in changed.transforms] == names
    assert all(t.transform.rotation.w == 1.0 and t.transform.translation.z == 3.0 for t in changed.transforms)


def test_zero_stays_zero():
    message = transforms((0, "a", "b", (0.0, 0.0, 0.0)))
    data = bytes(STORE.serialize_cdr(message, message.__msgtype__))
    assert restamper(message.__msgtype__, STORE)(data, change) == data


def test_types_without_header_are_left_alone():
    assert restamper("std_msgs/msg/String", STORE) is None
