import json

import cv2
import numpy as np
import pytest

from spatial_mllm_training.multispa.item import NOT_OBSERVED, OBJECT_MOTION, OBJECT_SIZE, Candidate, Point, output_of
from spatial_mllm_training.multispa.question import question_of
from spatial_mllm_training.multispa.records import ROWS, join, line, record, write_parquet
from spatial_mllm_training.multispa.tasks.not_observed import STILL_FORMS
from spatial_mllm_training.multispa.wording import Worded, word

from ..scenes import room_scene
from .generated import read_parquet

POINTS = (Point(0, 12, 7), Point(1, 30, 20, "A"), Point(1, 5, 9, "B"))
CHOICE = Candidate(
    "correspondence_choice", (4, 2), "B", "choice", "dot", POINTS, bins={"overlap": 12, "letter": "B"}, facts={"x": 1}
)


@pytest.fixture(scope="module")
def scene():
    return room_scene(6)


def made(scene, identity="id", candidate=CHOICE, worded=None, images=("images/s/a.jpg", "images/s/b.jpg")):
    worded = worded or Worded("Which dot?\nA or B", "It is B.", "B", ("A", "B"))
    frames = [scene.frames[i] for i in candidate.frames]
    return record(identity, candidate, frames, images, worded, "test/room", "train")


def test_every_field(scene):
    assert made(scene) == {
        "id": "id",
        "question_type": "correspondence_choice",
        "images": ["images/s/a.jpg", "images/s/b.jpg"],
        "conversations": [
            {"from": "human", "value": "<image>\n<image>\nWhich dot?\nA or B"},
            {"from": "gpt", "value": "It is B."},
        ],
        "gt_value": "B",
        "meta": {
            "scene": "test/room",
            "stamps_ns": [1_000_400_000_000, 1_000_200_000_000],
            "cameras": ["front", "front"],
            "pixels": [[12, 7], [30, 20], [5, 9]],
            "pixel_images": [0, 1, 1],
            "image_size": [56, 42],
            "referring": "dot",
            "output": "choice",
            "label": "",
            "options": ["A", "B"],
            "bins": {"overlap": 12, "letter": "B"},
            "split": "train",
        },
    }


@pytest.mark.parametrize("form", (*STILL_FORMS, *OBJECT_MOTION, *OBJECT_SIZE))
def test_how_it_is_asked_does_not_tell_whether_there_is_an_answer(scene, form):
    """Else models learn the form, and not the images."""
    size = form in OBJECT_SIZE
    points = POINTS if form == STILL_FORMS[1] else () if size else POINTS[:1]
    referring = "label" if size else "coordinate" if form == STILL_FORMS[0] else form.rpartition("_")[2]
    given = {"referring": referring, "points": points, "label": "chair" if size else ""}
    output = "choice" if form == STILL_FORMS[1] else output_of(form)
    truth = {"scalar": 120.0, "vector": [1.0, 2.0, 3.0], "pixel": [100.0, 200.0], "choice": "B"}[output]
    there = Candidate(form, (4, 2), truth, output, **given)
    hidden = Candidate(NOT_OBSERVED, (4, 2), "not observed", "text", bins={"asks": form}, facts={"asks": form}, **given)
    for seed in range(20):
        asked = []
        for candidate in (there, hidden):
            worded = word(candidate, (56, 42), np.random.default_rng(seed))
            asked.append(question_of(made(scene, candidate=candidate, worded=worded)))
        assert asked[0] == asked[1]


def test_a_line_is_the_record_on_one_line(scene):
    worded = Worded("Wie weit ist die Tür?\nSag es in mm.", "1200 mm", 1200)
    values = made(scene, worded=worded)
    written = line(values)
    assert written.count("\n") == 1 and written.endswith("\n") and "Tür" in written
    assert json.loads(written) == values | {"image": values["images"]} and json.loads(written)["gt_value"] == 1200


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    files = {}
    for name in "ab":
        files[f"images/s/{name}.jpg"] = tmp_path / f"{name}.jpg"
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), rng.integers(0, 255, (42, 56, 3), np.uint8))
    return files


@pytest.mark.parametrize("count", [0, 1, ROWS, 2 * ROWS + 3])
def test_parquet_holds_the_same(scene, tmp_path, pictures, count):
    truths = [1200, [10, -20, 30], "[411, 73]", "not observed"]
    records = [made(scene, f"id {i}", worded=Worded("?", "!", truths[i % 4], ("A",) * (i % 3))) for i in range(count)]
    write_parquet(records, tmp_path / "records.parquet", pictures)
    assert list(read_parquet(tmp_path / "records.parquet")) == records
    assert {file.name for file in tmp_path.iterdir()} == {"a.jpg", "b.jpg", "records.parquet"}


def test_hugging_face_reads_it(scene, tmp_path, pictures):
    datasets = pytest.importorskip("datasets")
    write_parquet([made(scene), made(scene, "other")], tmp_path / "records.parquet", pictures)
    files = {"train": str(tmp_path / "*.parquet")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded["id"][:] == ["id", "other"]
    row = loaded[0]
    assert row["conversations"] == made(scene)["conversations"]
    for image, file in zip(row["images"], pictures.values()):
        assert np.array_equal(np.asarray(image)[..., ::-1], cv2.imread(str(file)))


def test_parts_are_joined_in_order(tmp_path):
    for name, text in (("b", "2\n3\n"), ("a", "1\n"), ("empty", "")):
        (tmp_path / name).write_text(text)
    join([tmp_path / name for name in ("b", "empty", "a")], tmp_path / "all")
    assert (tmp_path / "all").read_text() == "2\n3\n1\n"


def test_nothing_to_join_leaves_no_file(tmp_path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "all").write_text("of an earlier run")
    join([tmp_path / "empty"], tmp_path / "all")
    assert {file.name for file in tmp_path.iterdir()} == {"empty"}
