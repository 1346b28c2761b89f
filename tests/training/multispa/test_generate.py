"""Recordings in, questions out: what is written, and that kills, runners and worker counts do not change a byte."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.files import whole as whole_file
from spatial_mllm_training.multispa.generate import GenerateOptions, generate, inline, pool
from spatial_mllm_training.multispa.item import QUESTION_TYPES
from spatial_mllm_training.multispa.manifest import Manifest, working

from .generated import read_parquet
from .rooms import RoomRef

OPTIONS = GenerateOptions(per_task=8, test_share=0.4, format="both", runner="inline")
REFS = [RoomRef("a"), RoomRef("b", moving=True), RoomRef("c"), RoomRef("d")]  # some of them for testing
SIZES = ("object_height", "object_width", "object_length")  # they have no things
ROOT = Path(__file__).parents[3]


def content(folder):
    """Name of every file -> its bytes."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def records(folder, split):
    path = folder / f"{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the summary of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, generate(REFS, out, OPTIONS)


# what is written


def test_the_summary_counts_what_is_there(whole):
    out, summary = whole
    for split in ("train", "test"):
        kinds = Counter(record["question_type"] for record in records(out, split))
        assert summary.questions[split] == dict(kinds) and kinds
    assert summary.total == len(records(out, "train") + records(out, "test"))
    assert sum(summary.scenes.values()) == 4 and summary.resumed == 0 and summary.faults == {}


def test_every_type_that_these_rooms_allow(whole):
    out, summary = whole
    made = Counter(record["question_type"] for split in ("train", "test") for record in records(out, split))
    pitch = {"camera_pitch_degrees", "camera_pitch_direction"}  # the cameras of these rooms hardly do
    assert set(made) | pitch == set(QUESTION_TYPES) - set(SIZES)
    assert made["depth_estimation_dot"] == made["camera_distance"] == 8
    assert "object_size: no things: a plain room" in summary.skipped["test/a"]


def test_refusals_have_their_share(whole):
    out, _ = whole
    train = Counter(record["question_type"] == "not_observed" for record in records(out, "train"))
    assert train[True] == pytest.approx(0.1 * train.total(), abs=1)


def test_no_id_twice_and_each_says_what_it_is(whole):
    out, _ = whole
    both = records(out, "train") + records(out, "test")
    assert len({record["id"] for record in both}) == len(both)
    for record in both:
        scene = record["meta"]["scene"].replace("/", "-")
        assert record["id"].startswith(f"{scene}-{record['question_type']}-")


def test_scenes_are_in_one_split_only(whole):
    out, _ = whole
    scenes = {split: {record["meta"]["scene"] for record in records(out, split)} for split in ("train", "test")}
    assert scenes["train"] and scenes["test"] and not scenes["train"] & scenes["test"]
    assert all(record["meta"]["split"] == split for split in scenes for record in records(out, split))


def test_images_show_their_frames(whole):
    out, _ = whole
    stored = {f"test/{ref.name}": {frame.stamp_ns: frame for frame in ref.open().frames} for ref in REFS}
    dotted = Counter()
    for record in records(out, "train") + records(out, "test"):
        meta = record["meta"]
        assert len(record["images"]) == len(meta["stamps_ns"]) == record["conversations"][0]["value"].count("<image>")
        for name, stamp in zip(record["images"], meta["stamps_ns"]):
            shown = cv2.imread(str(out / name))[..., ::-1]
            frame = stored[meta["scene"]][stamp]
            difference = np.abs(shown.astype(int) - jpeg_and_back(frame.image)).max()
            dotted[difference > 0] += 1
            assert (difference > 0) == ("-" in Path(name).stem), name
    assert dotted[True] > 20 and dotted[False] > 20


def jpeg_and_back(rgb):
    return cv2.imdecode(cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1], 1)[..., ::-1].astype(
        int
    )


def test_plain_frames_are_shared_and_no_image_is_superfluous(whole):
    out, _ = whole
    used = Counter(name for split in ("train", "test") for record in records(out, split) for name in record["images"])
    assert set(used) == {str(file.relative_to(out)) for file in (out / "images").rglob("*.jpg")}
    plain = [count for name, count in used.items() if "-" not in Path(name).stem]
    assert max(plain) > 2


def test_lines_and_parquet_hold_the_same(whole):
    out, _ = whole
    for split in ("train", "test"):
        found = [r for file in sorted((out / "annotations" / split).glob("*.parquet")) for r in read_parquet(file)]
        assert [known | {"image": known["images"]} for known in found] == records(out, split)


def test_parquet_alone_holds_the_same_and_leaves_no_images(whole, tmp_path):
    out, _ = whole
    generate(REFS, tmp_path / "out", replace(OPTIONS, format="parquet"))
    alone = content(tmp_path / "out")
    assert not [name for name in alone if name.endswith((".jpg", ".jsonl"))]
    same = [name for name in alone if name.endswith(".parquet")]
    assert len(same) == 8 and all(alone[name] == (out / name).read_bytes() for name in same)


def test_only_the_types_that_are_asked_for(tmp_path):
    types = ("camera_vector", "depth_comparison_dot")
    summary = generate([RoomRef("a")], tmp_path / "out", replace(OPTIONS, types=types, test_share=0.0))
    assert summary.questions == {"train": {"camera_vector": 8, "depth_comparison_dot": 8}, "test": {}}
    assert set(summary.candidates) == set(types)


def test_another_seed_asks_other_questions_of_the_same_split(whole, tmp_path):
    out, _ = whole
    generate(REFS, tmp_path / "out", replace(OPTIONS, seed=1))
    for split in ("train", "test"):
        now, then = records(tmp_path / "out", split), records(out, split)
        assert {record["meta"]["scene"] for record in now} == {record["meta"]["scene"] for record in then}
        assert len({record["id"] for record in now} & {record["id"] for record in then}) < 0.5 * len(now)


# the same bytes


def test_the_order_of_scenes_and_repeated_ones_change_nothing(whole, tmp_path):
    generate([*REFS[::-1], REFS[1]], tmp_path / "out", OPTIONS)
    assert content(tmp_path / "out") == content(whole[0])


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_gives_the_same_bytes(whole, tmp_path, workers):
    generate(REFS, tmp_path / "out", replace(OPTIONS, runner="pool", workers=workers))
    assert content(tmp_path / "out") == content(whole[0])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)  # starting and stopping Ray takes most of it
@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_same_bytes(whole, tmp_path, workers):
    pytest.importorskip("ray")
    generate(REFS, tmp_path / "out", replace(OPTIONS, runner="ray", workers=workers))
    assert content(tmp_path / "out") == content(whole[0])


def test_without_ray_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpatialError, match="ray is not installed: pip install"):
        generate(REFS, tmp_path / "out", replace(OPTIONS, runner="ray"))


def test_a_finished_run_does_nothing_again(whole, tmp_path, monkeypatch):
    generate(REFS, tmp_path / "out", OPTIONS)
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "images").rglob("*")}
    monkeypatch.setattr(RoomRef, "open", lambda self: pytest.fail("a finished scene was opened"))
    assert generate(REFS, tmp_path / "out", OPTIONS).resumed == 8
    assert times == {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "images").rglob("*")}
    assert content(tmp_path / "out") == content(whole[0])


def test_what_was_lost_or_changed_is_made_again(whole, tmp_path):
    out = tmp_path / "out"
    generate(REFS, out, OPTIONS)
    next((out / "images" / "test-a").iterdir()).unlink()
    (out / "candidates" / "test-b.parquet").write_bytes(b"damaged")
    next((out / "annotations").glob("*/test-c.jsonl")).write_text("")
    assert generate(REFS, out, OPTIONS).resumed == 5
    assert content(out) == content(whole[0])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_and_run_again(whole, tmp_path, seed):
    out = tmp_path / "out"
    assert killed_run(out, random.Random(seed).randrange(1, 30))
    generate(REFS, out, OPTIONS)
    assert content(out) == content(whole[0])


def test_a_run_waits_for_the_workers_of_a_killed_one(whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    generate(REFS, out, OPTIONS)
    monkeypatch.setattr("spatial_mllm_training.multispa.manifest.PATIENCE", 0.1)
    with working(out), pytest.raises(SpatialError, match="workers of an earlier run are still writing"):
        generate(REFS, out, OPTIONS)
    monkeypatch.setattr("spatial_mllm_training.multispa.manifest.PATIENCE", 60)
    with ThreadPoolExecutor(1) as threads:
        with working(out):
            (out / "images" / ".test-a.1").mkdir()
            later = threads.submit(generate, REFS, out, OPTIONS)
            assert (out / "images" / ".test-a.1").exists()
        later.result(60)
    assert content(out) == content(whole[0])


def killed_run(out, events):
    """Kill a run of two workers, and only the parent, when its folder was seen changed so many times."""
    options = "replace(OPTIONS, runner='pool', workers=2)"
    code = f"from tests.training.multispa.test_generate import *; generate(REFS, Path({str(out)!r}), {options})"
    path = os.pathsep.join([str(ROOT), str(ROOT / "training")])
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    seen, deadline = None, monotonic() + 90
    while process.poll() is None and events and monotonic() < deadline:
        now = listing(out)
        events -= now != seen
        seen = now
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def listing(folder):
    found = []
    for place, _, files in os.walk(folder):
        found += [os.path.join(place, name) for name in files]
    return sorted(found)


# faults


@pytest.mark.parametrize(
    ("fault", "reason"), [("unreadable", "x is no recording"), ("broken", "ZeroDivisionError: of something")]
)
def test_a_scene_that_cannot_be_opened_costs_only_itself(tmp_path, fault, reason):
    done = generate([RoomRef("a"), RoomRef("x", fault)], tmp_path / "out", OPTIONS)
    assert done.skipped["test/x"] == reason and sum(done.scenes.values()) == 1
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["skipped"]["test/x"] == reason


def test_no_scene_at_all(tmp_path):
    with pytest.raises(SpatialError, match="no scene is given"):
        generate([], tmp_path / "out", OPTIONS)
    with pytest.raises(SpatialError, match="none of 2 scenes can be used; test-x: x is no recording"):
        generate([RoomRef("x", "unreadable"), RoomRef("y", "broken")], tmp_path / "out", OPTIONS)


def test_a_scene_that_could_not_be_read_is_tried_again(whole, tmp_path, monkeypatch):
    real = RoomRef.open
    with monkeypatch.context() as context:
        context.setattr(RoomRef, "open", lambda self: 1 / 0 if self.name == "c" else real(self))
        assert "test/c" in generate(REFS, tmp_path / "out", OPTIONS).skipped
    generate(REFS, tmp_path / "out", OPTIONS)
    assert content(tmp_path / "out") == content(whole[0])


def test_nothing_stays_of_a_scene_that_turns_out_to_be_another(tmp_path, monkeypatch):
    refs, real = [RoomRef("c", like="z"), RoomRef("z")], RoomRef.open
    with monkeypatch.context() as context:
        context.setattr(RoomRef, "open", lambda self: 1 / 0 if self.name == "c" else real(self))
        generate(refs, tmp_path / "out", OPTIONS)
    generate(refs, tmp_path / "out", OPTIONS)
    generate(refs, tmp_path / "new", OPTIONS)
    assert content(tmp_path / "out") == content(tmp_path / "new")


def test_a_task_that_fails_costs_only_its_questions(tmp_path, monkeypatch):
    from spatial_mllm_training.multispa.tasks import camera_motion

    monkeypatch.setattr(camera_motion, "propose", lambda *_: iter([1 / 0]))
    done = generate([RoomRef("a")], tmp_path / "out", OPTIONS)
    assert done.faults == {"camera_motion: ZeroDivisionError: division by zero": 1}
    assert "depth_estimation_dot" in done.candidates and "camera_vector" not in done.candidates


def test_a_question_that_cannot_be_worded_costs_only_itself(tmp_path, monkeypatch):
    from spatial_mllm_training.multispa import wording

    real = wording.word
    monkeypatch.setattr(
        wording, "word", lambda c, *rest: 1 / 0 if c.question_type == "camera_vector" else real(c, *rest)
    )
    done = generate([RoomRef("a")], tmp_path / "out", OPTIONS)
    assert done.faults == {"camera_vector: ZeroDivisionError: division by zero": 8}
    assert done.candidates["camera_vector"] and "camera_vector" not in done.questions["train"] | done.questions["test"]


def test_a_corrupt_frame_costs_only_its_questions(tmp_path):
    done = generate([RoomRef("a", "scratched", mark=tmp_path / "mark")], tmp_path / "out", OPTIONS)
    both = records(tmp_path / "out", "train") + records(tmp_path / "out", "test")
    assert set(done.faults) == {"frame: image data: not a PNG"}
    lost = {frame.stamp_ns for frame in RoomRef("a").open().frames[::4]}
    assert both and not any(lost & set(record["meta"]["stamps_ns"]) for record in both)
    used = {name for record in both for name in record["images"]}
    assert used == {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out" / "images").rglob("*.jpg")}


def test_a_scene_that_changes_while_it_is_read(tmp_path):
    refs = [RoomRef("a", "changing", mark=tmp_path / "mark"), RoomRef("b")]
    done = generate(refs, tmp_path / "out", OPTIONS)
    assert done.skipped["test/a"].startswith("the scene changed while it was read")


def test_the_same_recording_under_two_names_is_used_once(tmp_path):
    done = generate([RoomRef("a"), RoomRef("z", like="a")], tmp_path / "out", OPTIONS)
    assert done.skipped["test/z"].startswith("the same as test/a") and sum(done.scenes.values()) == 1


def test_two_scenes_of_one_name(tmp_path):
    with pytest.raises(SpatialError, match="two scenes are called test/a"):
        generate([RoomRef("a"), RoomRef("a", moving=True)], tmp_path / "out", OPTIONS)


def test_a_process_that_dies_once_is_no_loss(whole, tmp_path):
    refs = [replace(REFS[0], fault="once", mark=tmp_path / "mark"), *REFS[1:]]
    generate(refs, tmp_path / "out", replace(OPTIONS, runner="pool", workers=2))
    assert content(tmp_path / "out") == content(whole[0])


def test_a_process_that_always_dies_costs_only_its_scene(tmp_path):
    refs = [RoomRef("a"), RoomRef("b", "fatal"), RoomRef("c"), RoomRef("d")]
    done = generate(refs, tmp_path / "out", replace(OPTIONS, runner="pool", workers=2))
    assert list(done.skipped)[1] == "test/b" and "died, twice" in done.skipped["test/b"]
    assert sum(done.scenes.values()) == 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_too_survives_a_death(tmp_path):
    pytest.importorskip("ray")
    refs = [RoomRef("a", "once", mark=tmp_path / "mark"), RoomRef("b", "fatal"), RoomRef("c")]
    done = generate(refs, tmp_path / "out", replace(OPTIONS, runner="ray", workers=2))
    assert "died, twice" in done.skipped["test/b"] and sum(done.scenes.values()) == 2


def test_runners_give_results_under_their_jobs():
    jobs = [(i,) for i in range(20)]
    assert sorted(pool(double, jobs, 2)) == list(inline(double, jobs, 1)) == [(i, {"twice": 2 * i}) for i in range(20)]


def double(value):
    return {"twice": 2 * value}


def test_what_is_wrong_with_the_folder_is_no_fault_of_a_scene(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError):
        generate(REFS, tmp_path / "out", OPTIONS)


# the folder


@pytest.fixture
def made(tmp_path):
    generate([RoomRef("a")], tmp_path / "out", OPTIONS)
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (replace(OPTIONS, seed=5), r"made with seed 0, not 5: use those, another folder, or --overwrite"),
        (replace(OPTIONS, per_task=3, format="jsonl"), r"per_task 8, not 3; format both, not jsonl"),
    ],
)
def test_other_options(made, options, text):
    with pytest.raises(SpatialError, match=text):
        generate([RoomRef("a")], made, options)
    generate([RoomRef("a")], made, replace(options, overwrite=True))
    generate([RoomRef("a")], made.with_name("new"), options)
    assert content(made) == content(made.with_name("new"))


def test_other_scenes(made):
    with pytest.raises(SpatialError, match="made with other scenes"):
        generate([RoomRef("b")], made, OPTIONS)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
def test_a_damaged_manifest(made, text):
    before = content(made)
    (made / "manifest.json").write_text(text)
    with pytest.raises(SpatialError, match=r"damaged manifest|another format|other scenes|another versions"):
        generate([RoomRef("a")], made, OPTIONS)
    generate([RoomRef("a")], made, replace(OPTIONS, overwrite=True))
    assert content(made) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SpatialError, match="holds other files"):
        generate([RoomRef("a")], tmp_path, OPTIONS)
    assert content(tmp_path) == {"thesis.txt": b"precious"}
    generate([RoomRef("a")], tmp_path, replace(OPTIONS, overwrite=True))
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["images/holiday.jpg", "annotations/train/mine.jsonl", "train.jsonl"])
def test_files_that_no_run_has_written_are_never_overwritten(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")
    with pytest.raises(SpatialError, match=rf"holds {name.split('/')[0]} of something else"):
        generate([RoomRef("a")], tmp_path, replace(OPTIONS, overwrite=True))
    assert content(tmp_path) == {name: b"precious"}


def test_a_link_to_another_disk_is_not_followed_when_overwriting(made, tmp_path):
    before = content(made)
    (made / "images").rename(tmp_path / "disk")
    (made / "images").symlink_to(tmp_path / "disk")
    generate([RoomRef("a")], made, replace(OPTIONS, seed=5, overwrite=True))
    generate([RoomRef("a")], made, replace(OPTIONS, overwrite=True))
    assert content(made) == before and any((tmp_path / "disk").iterdir())


def test_two_runs_in_one_folder(made):
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(SpatialError, match="another process is writing"):
        generate([RoomRef("a")], made, OPTIONS)
    os.close(lock)


def test_the_manifest_is_never_half_written(tmp_path):
    with Manifest(tmp_path, OPTIONS, ["a", "b"]) as manifest:
        manifest.add("a", "proposed", {"files": {}, "key": "k"})
        manifest.save()
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "manifest.json") as begun:
        raise KeyboardInterrupt
    begun.write_text("{")  # what only a kill leaves
    with Manifest(tmp_path, OPTIONS, ["a", "b"]) as manifest:
        assert manifest.finished("a", "proposed") == {"files": {}, "key": "k"}
        assert manifest.finished("a", "written") is manifest.finished("b", "proposed") is None
    assert not list(tmp_path.glob(".manifest*"))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"per_task": 0}, "0 questions per task: expected at least 1"),
        ({"types": ("depth",)}, "unknown question type depth: there are depth_estimation_dot"),
        ({"types": ()}, "no question types"),
        ({"test_share": 1.5}, "test share 1.5: expected 0 to 1"),
        ({"not_observed": 1.0}, "share of not observed 1.0: expected 0 to below 1"),
        ({"format": "csv"}, "format 'csv': expected jsonl, parquet, both"),
        ({"workers": -1}, "-1 workers"),
    ],
)
def test_options_out_of_range(values, text):
    with pytest.raises(SpatialError, match=text):
        GenerateOptions(**values)


def test_an_unknown_runner(tmp_path):
    with pytest.raises(SpatialError, match="runner 'spark': expected pool or ray"):
        generate([RoomRef("a")], tmp_path / "out", replace(OPTIONS, runner="spark"))


# a recording


@pytest.mark.slow
def test_a_recording(redkitchen, tmp_path):
    from spatial_mllm_training.multispa.sources import open_sources

    done = generate(open_sources([str(redkitchen)]), tmp_path / "out", replace(OPTIONS, per_task=20, test_share=0.0))
    without = {kind for kind in QUESTION_TYPES if kind.startswith("object_")}
    assert set(done.questions["train"]) == set(QUESTION_TYPES) - without
    assert set(done.questions["train"].values()) == {20, 33} and done.faults == {}
