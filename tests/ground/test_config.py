import pytest

from spatial_mllm_ros.config import CameraParams, Config, build, node_parameters


def test_defaults_are_valid_and_documented():
    parameters = node_parameters(["camera"])
    assert build({name: p["default"] for name, p in parameters.items()}) == build({"cameras": ["camera"]})
    assert build({}).coverage == Config().coverage
    for name, p in parameters.items():
        assert p["doc"], name


def test_values_reach_their_place():
    config = build({"cameras": ["left", "right"], "left.depth_topic": "", "coverage.frames": 8, "pose.max_gap": 1})
    assert config.coverage.frames == 8
    assert config.pose.max_gap == 1.0 and type(config.pose.max_gap) is float
    assert config.camera("left").depth_topic == ""
    assert config.camera("right") == CameraParams()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"coverage.voxelsize": 0.1}, "did you mean 'coverage.voxel_size'"),
        ({"coverage.voxel_size": 0.0}, "expected 0.001 to 10.0 m"),
        ({"coverage.voxel_size": float("nan")}, "expected 0.001"),
        ({"coverage.voxel_size": "big"}, "expected float"),
        ({"coverage.frames": 8.5}, "expected int"),
        ({"coverage.frames": True}, "expected int"),
        ({"autostart": 1}, "expected bool"),
        ({"coverage.source": "lidar"}, "expected one of auto, depth, vggt"),
        ({"cameras": []}, "at least one"),
        ({"cameras": ["a", "a"]}, "distinct"),
        ({"coverage.source": "depth", "camera.depth_topic": ""}, "'camera' has no depth_topic"),
        ({"cameras": ["a", "b"], "pose.source": "pose"}, "give pose.child_frame"),
        ({"cameras": ["coverage"]}, "name of a parameter group"),
        ({"cameras": ["left"], "right.image_topic": "x"}, "unknown parameter 'right.image_topic'; did you mean"),
        ({"coverage.min_depth": 7.0}, "expected less than coverage.max_depth"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        build(values)


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000, 2**63], ids=["large", "small", "endless", "next"])
@pytest.mark.parametrize("name", ["coverage.voxel_size", "coverage.frames", "ask.model"])
def test_numbers_that_nothing_holds(name, value):
    with pytest.raises(ValueError, match=rf"{name} is a number of \d+ bits: expected (float|int|str) within 64"):
        build({name: value})


@pytest.mark.parametrize("values", [None, [], "coverage.frames", 5])
def test_parameters_that_are_none(values):
    with pytest.raises(ValueError, match=r"parameters are \w+: expected names and values"):
        build(values)
