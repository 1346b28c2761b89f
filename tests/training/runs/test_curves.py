"""Curves as a table and as a picture."""

import csv

import cv2
import pytest

pytest.importorskip("matplotlib")

from spatial_mllm_training.runs.curves import arranged, points, write_curves

HISTORY = [
    {"step": 1, "loss": 3.0, "learning_rate": 1e-3, "note": "text"},
    {"step": 2, "loss": 2.0, "learning_rate": 5e-4},
    {"step": 2, "eval_loss": 2.5, "eval_loss/depth": 2.25},
    {"step": 2, "train_runtime": 9.0, "train_loss": 2.5},
]


def test_one_row_a_step_and_numbers_alone():
    assert points(HISTORY) == [
        {"step": 1, "loss": 3.0, "learning_rate": 1e-3},
        {"step": 2, "loss": 2.0, "learning_rate": 5e-4, "eval_loss": 2.5, "eval_loss/depth": 2.25},
    ]


def test_table_and_picture(tmp_path):
    write_curves(tmp_path, HISTORY)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    known = [(row["step"], row["loss"], row["eval_loss/depth"]) for row in rows]
    assert known == [("1", "3.0", ""), ("2", "2.0", "2.25")]
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None and picture.shape[1] > 3 * picture.shape[0]  # three panels in a row
    assert (picture < 100).any()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.csv", "curves.png"]


def test_many_types_share_panels_by_their_first_word():
    few = ["loss", "reward", "reward/depth_dot"]
    assert arranged(few) == {"loss": ["loss"], "reward": ["reward", "reward/depth_dot"]}
    many = [f"reward/{kind}_{i}" for kind in ("depth", "camera") for i in range(5)]
    assert arranged(["reward", "reward/not_observed", *many]) == {
        "reward": ["reward"],
        "reward: not_observed": ["reward/not_observed"],
        "reward: camera": many[5:],
        "reward: depth": many[:5],
    }


def test_nothing_logged_is_an_empty_table(tmp_path):
    write_curves(tmp_path, [])
    assert (tmp_path / "curves.csv").read_text() == "step\n" and not (tmp_path / "curves.png").exists()
