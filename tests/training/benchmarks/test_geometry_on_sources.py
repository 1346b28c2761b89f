"""The geometry baseline against all that the engine makes of every kind of source."""

import numpy as np
import pytest

from spatial_mllm_ros.geometry.poses import inverse, transform
from spatial_mllm_training.benchmarks.baselines import baseline
from spatial_mllm_training.benchmarks.suites import multispa
from spatial_mllm_training.multispa.generate import generate
from spatial_mllm_training.multispa.item import (
    CAMERA_MOTION,
    CORRESPONDENCE,
    DEPTH,
    NOT_OBSERVED,
    OBJECT_MOTION,
    QUESTION_TYPES,
)
from spatial_mllm_training.multispa.manifest import GenerateOptions
from spatial_mllm_training.multispa.sources import open_sources

from ..source_files import tapvid3d_arrays, write_scannet, write_seven_scenes, write_tum

LEVEL = {"camera_pitch_direction", "camera_pitch_degrees"}  # the camera of the room never nods
STILL = {*DEPTH, *CORRESPONDENCE, *CAMERA_MOTION, NOT_OBSERVED} - LEVEL


@pytest.mark.slow
def test_geometry_is_right_about_a_simulated_room(tmp_path):
    """All question types and refusals, and at least 99 % of the engine's answers found by other formulas."""
    pytest.importorskip("embreex", reason="rooms are simulated with embreex")
    from spatial_mllm_training.multispa.sources.simulated import SimulatedRef

    refs = [SimulatedRef(0, (160, 120))]
    generate(refs, tmp_path, GenerateOptions(per_task=20, test_share=1.0, runner="inline"))
    items = list(multispa.load(tmp_path))
    assert {item.question_type for item in items} == {*QUESTION_TYPES}
    model = baseline("geometry", [], refs)
    assert np.mean([multispa.score(item, model(item.record()))["accuracy"] for item in items]) >= 0.99


def write_tapvid3d(folder):
    """A box of twelve points that moves among others, before the walking camera."""
    folder.mkdir()
    arrays, poses, world = tapvid3d_arrays(12, 60)
    box = transform(poses[4], np.random.default_rng(0).uniform([-0.3, -0.3, 2], [0.3, 0.3, 2.5], (12, 3)))
    world[:, :12] = box + np.linspace(0, 1, 12)[:, None, None] * [0.2, 0.1, 0.5]
    arrays["tracks_XYZ"] = np.stack([transform(inverse(pose), at) for pose, at in zip(poses, world)])
    np.savez(folder / "video.npz", **arrays)


@pytest.mark.parametrize(
    ("write_source", "types"),
    [
        (write_scannet, STILL),
        (write_seven_scenes, STILL),
        (write_tum, STILL),
        (write_tapvid3d, {*OBJECT_MOTION}),
    ],
)
def test_geometry_is_right_about_every_source(write_source, types, tmp_path):
    write_source(tmp_path / "source", *([24] if write_source is not write_tapvid3d else []))
    refs = open_sources([str(tmp_path / "source")])
    generate(refs, tmp_path / "out", GenerateOptions(per_task=12, test_share=1.0, runner="inline"))
    items = list(multispa.load(tmp_path / "out"))
    assert {item.question_type for item in items} == types
    model = baseline("geometry", [], refs)
    for item in items:
        said = model(item.record())
        assert multispa.score(item, said)["accuracy"] == 1, (item.record()["gt_value"], said, item.record()["meta"])
