"""A sample of the fuzzing: ``make fuzz`` runs it for as long as is wanted."""

import random

import pytest

from tests.fuzz.__main__ import run
from tests.fuzz.mutation import mutated, with_sums
from tests.fuzz.targets import targets

MODEL = ["config", "tokenizer", "tokenizer_config", "preprocessor", "generation"]
FILES = ["mcap", "bag1", "sqlite", "metadata", "definition"]
REST = [name for name, _ in targets() if name not in MODEL + FILES]


@pytest.mark.fuzz
@pytest.mark.parametrize("names, count", [(MODEL, 4), (FILES, 25), (REST, 60)])
def test_what_was_changed_is_read_or_refused_in_words(names, count, tmp_path):
    found, wrong = run(",".join(names), 1, count, 120.0, tmp_path)
    assert not wrong, f"{wrong}; the input: {(tmp_path / 'input').read_bytes()[:2000]!r}"
    assert {told["target"]: sum(told["ends"].values()) for told in found} == dict.fromkeys(names, count)


def test_what_ends_otherwise_is_found(tmp_path, monkeypatch):
    """The check itself: a reader that raises something else is caught."""
    (tmp_path / "sitecustomize.py").write_text(
        "import spatial_mllm_ros.mllm.calibration as module\n"
        "def read_calibration(folder):\n"
        "    if len((folder / 'calibration.json').read_bytes()) % 7 == 0:\n"
        "        raise KeyError('of no words')\n"
        "module.read_calibration = read_calibration\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    found, wrong = run("calibration", 1, 200, 60.0, tmp_path)
    assert not found
    assert "KeyError: 'of no words'" in wrong


def test_the_same_seed_gives_the_same_inputs():
    one, other = ([mutated([b"abc" * 40], random.Random(3)) for _ in range(50)] for _ in range(2))
    assert one == other


def test_a_png_keeps_its_sums():
    import cv2
    import numpy as np

    png = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    assert with_sums(png) == png
    changed = bytearray(png)
    changed[24] = 99
    assert with_sums(bytes(changed))[24] == 99
    assert with_sums(bytes(changed)) != bytes(changed)
