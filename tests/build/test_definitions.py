"""The interface is what planners were promised, field for field, and every field says what it means."""

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GOAL = """
    uint8 AUTO=0
    uint8 TEXT=1
    uint8 NUMBER=2
    uint8 CHOICE=3
    uint8 PIXEL=4
    uint8 VECTOR=5
    string question
    string[] options
    uint8 answer_type
    string[] cameras
    builtin_interfaces/Time start
    builtin_interfaces/Time end
    uint16 max_frames
    float32 timeout
    bool with_reasoning
"""
RESULT = """
    uint16 NONE=0
    uint16 BAD_REQUEST=1
    uint16 MODEL_NOT_READY=2
    uint16 NO_FRAMES=3
    uint16 NO_GEOMETRY=4
    uint16 BUSY=5
    uint16 TIMEOUT=6
    uint16 CANCELED=7
    uint16 FAILED=8
    uint16 error_code
    string error_msg
    uint8 ANSWERED=0
    uint8 NOT_OBSERVED=1
    uint8 UNSURE=2
    uint8 verdict
    string answer
    float64 value
    string unit
    int16 choice
    geometry_msgs/Vector3 vector
    string reasoning
    float32 confidence
    std_msgs/Header[] evidence
    float32 seconds_encode
    float32 seconds_generate
"""
PROMISED = {
    "srv/AskSpatial.srv": f"{GOAL}---{RESULT}",
    "action/AskSpatial.action": f"{GOAL}---{RESULT}---\nstring stage\nstring partial_answer",
    "srv/MeasureMotion.srv": """
        string CAMERA=camera
        string POINT=point
        string target
        string camera
        builtin_interfaces/Time from_stamp
        builtin_interfaces/Time to_stamp
        float32 u
        float32 v
        ---
        uint16 error_code
        string error_msg
        builtin_interfaces/Time from_stamp
        builtin_interfaces/Time to_stamp
        float64 distance
        geometry_msgs/Vector3 displacement
        geometry_msgs/Vector3 displacement_camera
        float64 rotation_deg
        float32 confidence
    """,
    "srv/SetRewardTarget.srv": """
        string label
        string camera
        sensor_msgs/RegionOfInterest roi
        builtin_interfaces/Time stamp
        bool has_goal
        geometry_msgs/Point goal
        ---
        uint16 error_code
        string error_msg
        uint32 tracked_points
    """,
    "srv/ListRewardTargets.srv": """
        ---
        uint16 error_code
        string error_msg
        RewardTarget[] targets
    """,
    "srv/RemoveRewardTarget.srv": """
        string label
        ---
        uint16 error_code
        string error_msg
    """,
    "msg/RewardTarget.msg": """
        uint8 WAITING=0
        uint8 FOLLOWED=1
        uint8 LOST=2
        uint8 GIVEN_UP=3
        string label
        string camera
        string source
        uint8 state
        string reason
        float32 lost_for
        float32 valid_share
        builtin_interfaces/Time reference_stamp
        sensor_msgs/RegionOfInterest roi
        bool has_goal
        geometry_msgs/Point goal
    """,
    "msg/MotionReward.msg": """
        std_msgs/Header header
        string target
        builtin_interfaces/Time reference_stamp
        bool valid
        float64 distance
        float64 path_length
        geometry_msgs/Vector3 displacement
        float64 reward
        float32 confidence
        string source
    """,
    "msg/SelectedFrames.msg": """
        std_msgs/Header header
        SelectedFrame[] frames
    """,
    "msg/SelectedFrame.msg": """
        std_msgs/Header header
        string camera
        geometry_msgs/Pose pose
        uint32 voxels
        uint32 unique_voxels
    """,
    "msg/CoverageStatus.msg": """
        std_msgs/Header header
        uint32 frames_seen
        uint32 frames_dropped
        uint32 frames_selected
        uint64 voxels_seen
        uint64 voxels_covered
        float32 voxel_size
        string geometry_source
        float32 frame_age
    """,
}
PLAYER = {
    "Burst": "uint64 num_messages\n---\nuint64 actually_burst",
    "GetRate": "---\nfloat64 rate",
    "IsPaused": "---\nbool paused",
    "Pause": "---",
    "PlayNext": "---\nbool success",
    "Resume": "---",
    "Seek": "builtin_interfaces/Time time\n---\nbool success",
    "SetRate": "float64 rate\n---\nbool success",
    "Stop": "---",
    "TogglePaused": "---",
}
"""Services of rosbag2_interfaces 0.26, Jazzy's: by a hash of their fields two sides know that they mean the same."""
definitions = pytest.mark.parametrize("definition", PROMISED)


def lines(text: str) -> list[str]:
    """Fields, constants and separators without comments and layout."""
    return [" ".join(code) for line in text.splitlines() if (code := line.split("#")[0].split())]


def test_all_definitions_are_promised():
    found = {f"{f.parent.name}/{f.name}" for kind in ("msg", "srv", "action") for f in (ROOT / "msg" / kind).iterdir()}
    assert found == set(PROMISED)


@definitions
def test_definition(definition):
    assert lines((ROOT / "msg" / definition).read_text()) == lines(PROMISED[definition])


@pytest.mark.parametrize("name", PLAYER)
def test_definition_of_a_player_is_that_of_rosbag2(name):
    assert lines((ROOT / "msg/rosbag2_interfaces/srv" / f"{name}.srv").read_text()) == lines(PLAYER[name])


@definitions
def test_every_field_is_explained(definition):
    text = (ROOT / "msg" / definition).read_text()
    assert text.startswith("# ")
    silent = [line for line in text.splitlines() if lines(line) not in ([], ["---"]) and "# " not in line]
    assert not silent


@definitions
def test_is_built(definition):
    pytest.importorskip("rclpy", reason="no ROS 2 in this environment (wheels exist for Python 3.11 and 3.12)")
    kind, name = definition.split(".")[0].split("/")
    built = getattr(import_module(f"spatial_mllm_msgs.{kind}"), name)
    parts = {"msg": [built], "srv": ["Request", "Response"], "action": ["Goal", "Result", "Feedback"]}[kind]
    classes = [getattr(built, part) if isinstance(part, str) else part for part in parts]
    for cls, section in zip(classes, PROMISED[definition].split("---")):
        promised = [line.split() for line in lines(section)]
        constants = dict(word.split("=") for _, word in promised if "=" in word)
        fields = [(in_python(type_), word) for type_, word in promised if "=" not in word]
        assert [(t, f) for f, t in cls.get_fields_and_field_types().items()] == fields
        assert {c: str(getattr(cls, c)) for c in constants} == constants


def in_python(type_: str) -> str:
    """A type of a definition as the generated Python class names it."""
    base = type_.removesuffix("[]")
    base = {
        "bool": "boolean",
        "float32": "float",
        "float64": "double",
        "RewardTarget": "spatial_mllm_msgs/RewardTarget",
        "SelectedFrame": "spatial_mllm_msgs/SelectedFrame",
    }.get(base, base)
    return f"sequence<{base}>" if type_.endswith("[]") else base


def test_error_codes_of_the_package_are_those_of_the_interface():
    from spatial_mllm_ros.errors import ErrorCode

    promised = dict(line.split()[1].split("=") for line in lines(RESULT) if line.startswith("uint16") and "=" in line)
    assert {code.name: str(code.value) for code in ErrorCode} == promised


def test_states_of_the_package_are_those_of_the_interface():
    from spatial_mllm_ros.motion.record import State

    said = lines(PROMISED["msg/RewardTarget.msg"])
    promised = dict(line.split()[1].split("=") for line in said if "=" in line)
    assert {state.name: str(state.value) for state in State} == promised
