"""docs/ros-api.md has every reason that a frame is dropped for, and every kind of trouble that the log tells."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "spatial_mllm_ros"
CALLS = re.compile(r"(?:_drop|_give_up|\.note)\(\s*(?:\w+, \w+, |)\"([a-z_ ]+)\"")
GONE = re.compile(r"\.gone\[\"([a-z ]+)\"\]")
STATES = {"deactivated", "failed", "lost by DDS"}  # of images, in /diagnostics alone
SOURCES = [PACKAGE / "assembler.py", *sorted((PACKAGE / "node").glob("*.py"))]


def reasons():
    found = set()
    for source in SOURCES:
        text = source.read_text("utf-8")
        found |= {*CALLS.findall(text), *GONE.findall(text)}
    return sorted(found - STATES)


def test_there_are_reasons():
    assert {"queue full", "zero stamp", "bad image", "bad transform", "another clock"} <= set(reasons())


@pytest.mark.parametrize("reason", reasons())
def test_a_reason_is_in_the_table_of_the_log(reason):
    _, _, log = (ROOT / "docs" / "ros-api.md").read_text("utf-8").partition("\n## The log\n")
    table = [line for line in log.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert any(reason in line for line in table)
