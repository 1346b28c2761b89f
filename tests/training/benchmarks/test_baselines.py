from collections import Counter

import numpy as np
import pytest

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_training.benchmarks.baselines import baseline
from spatial_mllm_training.multispa.item import QUESTION_TYPES

from ...geometry.room import HEIGHT
from ..scenes import room_scene
from .asked import Ref, answered, record


def told(kind, gt, number=0, **meta):
    meta = {"split": "train", "bins": {}, **meta}
    return {"id": f"{kind}{number}", "question_type": kind, "gt_value": gt, "meta": meta}


def test_majority_is_the_commonest_answer_or_the_median():
    records = [
        *(told("camera_left_right", word) for word in ("left", "right", "right")),
        *(told("camera_distance", number) for number in (10, 700.0, 30)),
        *(told("camera_vector", vector) for vector in ([1, 50, 3], [2, 40, -9], [90, -6, 1])),
        *(
            told("correspondence_coordinate", pixel, output="pixel")
            for pixel in ("[10, 900]", "[30, 500]", "[401, 600]", "[400, 7]")
        ),
        *(told("not_observed", "not observed", bins={"asks": "correspondence_coordinate"}) for _ in range(2)),
        *(told("not_observed", "not observed", bins={"asks": "object_height"}) for _ in range(2)),
        told("object_height", 800),
        told("camera_distance", 9000.0, split="test"),
    ]
    model = baseline("majority", records)
    wanted = {
        "camera_left_right": "right",
        "camera_distance": "30",
        "camera_vector": "[2, 40, 1]",
        "correspondence_coordinate": "[215, 550]",
        "object_height": "not observed",
        "object_width": "",
    }
    assert {kind: model(told(kind, None)) for kind in wanted} == wanted
    assert model(told("not_observed", "not observed", bins={"asks": "camera_distance"})) == "30", "no peeking"


def test_without_training_records_all_are_learned_from():
    records = [told("camera_distance", number, split="test") for number in (1, 2.5, 4)]
    assert baseline("majority", records)(records[0]) == "2.5"


def test_chance_draws_evenly_and_the_same_for_the_same_record():
    records = [told("camera_left_right", "left", n, options=["left", "right"]) for n in range(2000)]
    model, again, other = (baseline("chance", records, seed=seed) for seed in (0, 0, 1))
    drawn = [model(each) for each in records]
    assert drawn[::-1] == [again(each) for each in reversed(records)]
    assert drawn != [other(each) for each in records]
    assert abs(Counter(drawn)["left"] - 1000) < 5 * np.sqrt(2000) / 2


def test_chance_takes_answers_of_the_type_where_there_are_no_options():
    records = [told("camera_distance", number, number) for number in range(100, 400)]
    model = baseline("chance", records)
    drawn = np.array([float(model(each)) for each in records])
    assert set(drawn) <= set(range(100, 400)) and len(set(drawn)) > 100
    assert model(told("camera_vector", [1, 2, 3])) == "", "never seen"


@pytest.mark.parametrize("answer", ["{}", "{}. a chair", "({}) a chair"])
def test_lettered_choices_are_answered_by_letter(answer):
    """Benchmarks with options of their own: what repeats is the letter, not the text."""
    records = [
        told("route", answer.format(letter), n, split="", output="choice", options=["a chair", "a table", "a bed"])
        for n, letter in enumerate("ABBCBA")
    ]
    assert baseline("majority", records)(records[0]) == "B"
    model = baseline("chance", records)
    assert {model(records[0] | {"id": f"{n}"}) for n in range(100)} == set("ABC")


def test_an_unknown_baseline_is_told():
    with pytest.raises(SpatialError, match="known are chance, majority, geometry"):
        baseline("oracle", [])


def test_one_scene_is_held_at_a_time_and_pixels_are_released():
    refs = [Ref(room_scene(3, name)) for name in ("one", "two")]
    model = baseline("geometry", [], refs)
    for ref in (refs[0], refs[0], refs[1], refs[1]):
        model(record(ref.scene, "depth_estimation_dot", [1], [(0, 5, 5)]))
    assert [ref.opened for ref in refs] == [["one"], ["two"]]
    assert all(frame._depth is None for ref in refs for frame in ref.scene.frames)


def test_what_geometry_cannot_answer_says_why():
    scene = room_scene(3)
    good = record(scene, "depth_estimation_dot", [1], [(0, 5, 5)])
    with pytest.raises(SpatialError, match=r"'test/room' is not among the sources given \(none\)"):
        baseline("geometry", [], [])(good)
    with pytest.raises(SpatialError, match="has no frame of front at 7 ns"):
        baseline("geometry", [], [Ref(scene)])(good | {"meta": good["meta"] | {"stamps_ns": [7]}})
    with pytest.raises(SpatialError, match="'object_counting' is no question about a scene"):
        baseline("geometry", [], [Ref(scene)])({"id": "1", "question_type": "object_counting", "meta": {}})
    with pytest.raises(SpatialError, match="a frame has no pose"):
        answered(room_scene(3, known=False), "camera_distance", [0, 1])
    with pytest.raises(SpatialError, match="no point was followed there"):
        answered(scene, "object_distance_dot", [0, 0], [(0, 5, 20)])


@pytest.mark.parametrize(
    ("kind", "broken", "said"),
    [
        ("depth_estimation_dot", {"cameras": []}, "'1': its meta should have scene, a camera for each"),
        ("depth_estimation_dot", {"pixels": [[3]]}, "'1': its meta should have scene, a camera for each"),
        ("depth_estimation_dot", {"pixels": [[-1, 5]]}, r"pixel \(-1, 5\) is not in image 0"),
        ("depth_estimation_dot", {"pixels": [[5, HEIGHT]]}, r"pixel \(5, 42\) is not in image 0"),
        ("depth_estimation_dot", {"pixel_images": [1]}, r"pixel \(5, 5\) is not in image 1"),
        ("depth_estimation_dot", {"pixels": [], "pixel_images": []}, "less images or pixels"),
        ("depth_comparison_dot", {}, "less images or pixels than 'depth_comparison_dot'"),
        ("camera_distance", {}, "less images or pixels than 'camera_distance'"),
        ("correspondence_coordinate", {}, "less images or pixels"),
    ],
)
def test_records_that_are_not_whole_are_told(kind, broken, said):
    scene = room_scene(3)
    good = record(scene, kind, [1], [(0, 5, 5)])
    with pytest.raises(SpatialError, match=said):
        baseline("geometry", [], [Ref(scene)])(good | {"id": "1", "meta": good["meta"] | broken})


def test_every_question_type_has_an_answer():
    """None fails for want of a formula: they fail, if at all, with what the scene lacks."""
    scene = room_scene(3)
    for kind in QUESTION_TYPES:
        try:
            assert answered(scene, kind, [0, 0], [(0, 5, 20), (0, 9, 9), (1, 5, 20)])
        except SpatialError as error:
            assert kind.startswith("object_"), error
