"""Recordings that lack something, made from a good one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spatial_mllm_ros.recordings import BagWriter, messages


def variant(
    bag: Path, out: Path, keep: Callable[[str, int], bool], change: Callable[[str, Any], Any] = lambda topic, msg: msg
) -> Path:
    """A copy with the messages for which keep(topic, number of messages of that topic before it) is true."""
    counts: dict[str, int] = {}
    with BagWriter(out) as writer:
        for topic, stamp, message in messages(bag):
            number = counts.get(topic, 0)
            counts[topic] = number + 1
            if keep(topic, number):
                writer.write(topic, change(topic, message), stamp)
    return out


def without_depth(bag: Path, out: Path) -> Path:
    return variant(bag, out, lambda topic, number: "/depth/" not in topic)


def one_frame(bag: Path, out: Path) -> Path:
    return variant(bag, out, lambda topic, number: number == 0)
