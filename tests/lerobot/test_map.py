"""Maps: what they say, and what is said of those that cannot be meant."""

import pytest

from spatial_mllm_ros.lerobot.map import Cuts, DatasetMap, RewardOf, Text, Vector, read_map
from spatial_mllm_ros.recordings import BagError

WHOLE = """
fps: 10
max_age: 0.1
robot: arm
codec: av1
state:
- {topic: /joints, joints: [b, a]}
- {topic: /odom, field: pose.pose.position}
action: /commands
images: {front: /front/image_raw, wrist: /wrist/image_raw}
depth: {front: /front/depth}
task: {topic: /said, field: text}
episodes: {start: /begin, stop: /end}
reward: {target: mug, source: mllm, way: 0.4}
"""


def given(tmp_path, text):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    return path


def test_everything(tmp_path):
    assert read_map(given(tmp_path, WHOLE)) == DatasetMap(
        10,
        0.1,
        "arm",
        "av1",
        (Vector("/joints", joints=("b", "a")), Vector("/odom", "pose.pose.position")),
        (Vector("/commands"),),
        {"front": "/front/image_raw", "wrist": "/wrist/image_raw"},
        {"front": "/front/depth"},
        Text(topic="/said", field="text"),
        Cuts("/begin", "/end"),
        RewardOf(target="mug", source="mllm", way=0.4),
    )


def test_what_is_left_open_is_guessed(tmp_path):
    assert read_map(given(tmp_path, "")) == DatasetMap()
    left = read_map(given(tmp_path, "action: []\nreward: none\nepisodes: {times: [[0, 1.5], [2, 3]]}"))
    assert (left.state, left.action, left.reward.off) == (None, (), True)
    assert left.episodes.times == ((0, 1.5), (2, 3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat: /joints", "the map has no 'stat', did you mean state?"),
        ("state: {topc: /joints}", "state has no 'topc', did you mean topic?"),
        ("state: {field: position}", "state names no topic"),
        ("fps: many", "fps is 'many': expected a number"),
        ("fps: 29.97", "whole numbers"),
        ("fps: 0", "expected 1 to 1000"),
        ("max_age: 0", "seconds above 0"),
        ("max_age: nan", "seconds above 0"),
        ("codec: vp9", "expected one of h264, av1"),
        ("images: [/a]", "expected NAME: TOPIC"),
        ("images: {front/left: /a}", "letters, digits and _"),
        ("images: {a_depth: /a}\ndepth: {a: /b}", "of one name"),
        ("episodes: {stop: /a}", "expected one of start"),
        ("episodes: {start: /a, signal: /b}", "expected one of start"),
        ("episodes: {times: [[2, 3], [0, 1]]}", "in order of time"),
        ("episodes: {times: [[0, 2], [1, 3]]}", "in order of time"),
        ("episodes: {times: 3}", "in order of time"),
        ("reward: {way: -1}", "metres"),
        ("reward: {source: model}", "source is 'model': expected geometry or mllm"),
        ("- a", "expected fps"),
        ("a: [", "map.yaml"),
        ("state: " + "[" * 40, "map.yaml"),
        ("state: " + "x" * 1_000_001, "more than 1,000,000 bytes"),
    ],
)
def test_what_cannot_be_meant(tmp_path, text, said):
    with pytest.raises(BagError) as error:
        read_map(given(tmp_path, text))
    assert said in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(BagError, match="cannot be read"):
        read_map(tmp_path / "none.yaml")
