"""A launch as a whole: what it starts, and what it refuses to start. No launch, no ROS."""

import sys
from pathlib import Path

import pytest
import yaml

from spatial_mllm_ros import bringup
from spatial_mllm_ros.config import Config, build, node_parameters

ROOT = Path(__file__).parents[2]
KITCHEN = {
    "topics": [{"name": name} for name in ("/camera/color/image_raw/compressed", "/camera/depth/image_raw/compressed")]
    + [{"name": name} for name in ("/camera/color/camera_info", "/tf")],
    "cameras": {
        "camera": {
            "image": "/camera/color/image_raw/compressed",
            "depth": "/camera/depth/image_raw/compressed",
            "camera_info": "/camera/color/camera_info",
        }
    },
}
"""What ``info --json`` says of a recording, as far as it is used."""


def plan(installed=("spatial_mllm_msgs", "rviz2"), recorded=KITCHEN, **given):
    defaults = {name: default for name, (default, _) in bringup.ARGUMENTS.items()}
    assert set(given) <= set(defaults)
    return bringup.plan(defaults | given, ROOT, lambda bag: recorded, lambda package: package in installed)


def values(made: bringup.Plan) -> dict:
    """The parameters that the node will have."""
    tree = yaml.safe_load(made.parameters)
    (node,) = tree
    assert node == f"{made.namespace}/spatial_mllm" and list(tree[node]) == ["ros__parameters"]
    return tree[node]["ros__parameters"]


def test_without_arguments_the_node_alone_is_started_with_its_defaults():
    made = plan()
    assert (made.namespace, made.player, made.rviz, made.warning) == ("", [], False, "")
    assert values(made) == {name: p["default"] for name, p in node_parameters(["camera"]).items()}


@pytest.mark.parametrize("name", ["rgbd", "recording", "rgb_only", "multi_camera"])
def test_files_of_the_package_are_found_by_name(name):
    there = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())["/**/spatial_mllm"]["ros__parameters"]
    assert build(values(plan(params_file=f"{name}.yaml"))).cameras == there["cameras"]


def test_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    (tmp_path / "rgbd.yaml").write_text("/**: {ros__parameters: {status_rate: 7.0, use_sim_time: true}}")
    for name in (str(tmp_path / "rgbd.yaml"), "rgbd.yaml"):
        monkeypatch.chdir(tmp_path)
        made = plan(params_file=name)
        assert values(made) == {"status_rate": 7.0, "use_sim_time": True} and made.use_sim_time


def test_arguments_come_before_the_file_and_only_where_they_are_given(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text("/**: {ros__parameters: {autostart: false, ask: {model: none}, pose: {world_frame: map}}}")
    assert values(plan(params_file=str(file))) == {"autostart": False, "ask.model": "none", "pose.world_frame": "map"}
    made = plan(params_file=str(file), autostart="True", model="nano", world_frame="world", use_sim_time="1")
    expected = {"autostart": True, "ask.model": "nano", "pose.world_frame": "world", "use_sim_time": True}
    assert values(made) == expected and made.world_frame == "world"


def test_a_recording_is_played_where_the_node_listens():
    made = plan(bag="kitchen", namespace="robot1")
    assert made.namespace == "/robot1"
    heard = ["--wait-for", "/camera/color/image_raw/compressed", "--wait-for", "/camera/depth/image_raw/compressed"]
    heard += ["--wait-for", "/camera/color/camera_info"]
    assert made.player == ["play", "kitchen", "--restamp", "--wait", "inf", "--namespace", "/robot1", *heard]
    camera = build(values(made)).camera("camera")
    assert (camera.image_transport, camera.depth_transport, made.warning) == ("compressed", "compressed", "")


def test_a_recording_in_its_own_time():
    made = plan(bag="~/kitchen", use_sim_time="true")
    assert made.player[:5] == ["play", str(Path.home() / "kitchen"), "--clock", "--wait", "inf"]
    assert "--namespace" not in made.player
    assert values(made)["use_sim_time"] is True


def test_what_a_recording_lacks_is_a_warning_with_what_to_type():
    made = plan(bag="some/kitchen", camera="front")
    assert made.warning == (
        "kitchen has no /front/color/image_raw (front.image_topic), /front/depth/image_raw (front.depth_topic),"
        " /front/color/camera_info (front.camera_info_topic); its cameras are camera:"
        " image_topic:=/camera/color/image_raw/compressed depth_topic:=/camera/depth/image_raw/compressed"
        " camera_info_topic:=/camera/color/camera_info"
    )
    hint = dict(argument.split(":=") for argument in made.warning.split("camera: ")[1].split())
    again = plan(bag="some/kitchen", camera="front", **hint)
    camera = build(values(again)).camera("front")
    assert again.warning == "" and (camera.image_topic, camera.image_transport) == (
        "/camera/color/image_raw",
        "compressed",
    )


def test_rviz_shows_what_the_node_has():
    made = plan(rviz="true", namespace="/fleet/robot1/", camera="front", world_frame="map")
    assert (made.rviz, made.world_frame) == (True, "map")
    assert made.remap == [
        ("/spatial_mllm/coverage_markers", "/fleet/robot1/spatial_mllm/coverage_markers"),
        ("/camera/color/image_raw", "/fleet/robot1/front/color/image_raw"),
    ]


def test_the_end_of_a_recording_is_the_end_of_all_unless_told():
    assert plan(bag="kitchen").exit_with_player
    assert not plan(bag="kitchen", exit_with_bag="false").exit_with_player


WRONG = {
    "no such file": (
        {"params_file": "mine.yaml"},
        "params_file = mine.yaml: there is no such file; multi_camera.yaml, recording.yaml, rgb_only.yaml, rgbd.yaml"
        " come with the package",
    ),
    "no such folder": (
        {"params_file": "/nowhere/rgbd.yaml"},
        "/nowhere/rgbd.yaml: there is no such file",
    ),
    "no namespace": ({"namespace": "my robot"}, "namespace = my robot: expected letters, digits and _ between slashes"),
    "half a namespace": ({"namespace": "fleet//robot"}, "namespace = fleet//robot: expected"),
    "no switch": ({"rviz": "maybe"}, "rviz = maybe: expected true or false"),
    "no switch of the node": ({"autostart": "later"}, "autostart = later: expected true or false"),
    "no level": ({"log_level": "loud"}, "log_level = loud: expected one of debug, info, warn, error, fatal"),
    "no camera": (
        {"params_file": "multi_camera.yaml", "camera": "top"},
        "the parameter file has front, left",
    ),
    "a camera named like a group": ({"camera": "pose"}, "'pose' is the name of a parameter group; choose another"),
    "whose image": ({"params_file": "multi_camera.yaml", "image_topic": "/x"}, "name it with camera:="),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_refused_with_what_would_be_right(given, said):
    with pytest.raises(ValueError) as refused:
        plan(**given)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("coverage: {voxle_size: 0.1}", "unknown parameter 'coverage.voxle_size'; did you mean 'coverage.voxel_size'?"),
        ("status_rate: fast", "status_rate = 'fast': expected float"),
        ("coverage: {frames: 0}", "coverage.frames = 0: expected 1 to 256"),
        ("use_sim_time: 5", "use_sim_time = 5: expected true or false"),
        ("cameras: 5", "cameras = 5: expected a list of distinct names"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_starts(parameter, said, tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(f"/**/spatial_mllm: {{ros__parameters: {{{parameter}}}}}")
    with pytest.raises(ValueError) as refused:
        plan(params_file=str(file))
    assert said in str(refused.value)


def test_an_argument_may_mend_a_file(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text("/**: {ros__parameters: {coverage: {source: vggt}}}")
    with pytest.raises(ValueError, match=r"set vggt\.model or ask\.model"):
        plan(params_file=str(file))
    assert values(plan(params_file=str(file), model="nano"))["ask.model"] == "nano"


def test_rclpys_own_parameters_stay(tmp_path):
    file, own = (
        tmp_path / "robot.yaml",
        {"qos_overrides./tf.subscription.depth": 7, "start_type_description_service": True},
    )
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": own}}))
    assert values(plan(params_file=str(file))) == own


def test_what_is_not_installed_is_said_with_the_command(monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    with pytest.raises(ValueError, match="rviz:=true, but RViz is not installed: apt install ros-kilted-rviz2"):
        plan(installed=["spatial_mllm_msgs"], rviz="true")
    assert not plan(installed=["spatial_mllm_msgs"]).rviz
    with pytest.raises(ValueError, match=r"colcon build --paths src/spatial_mllm_ros src/spatial_mllm_ros/msg, then"):
        plan(installed=[])


# looking into the recording, by the real command


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> str:
    """The command of this checkout, as it is installed."""
    file = tmp_path_factory.mktemp("bin") / "spatial-mllm"
    file.write_text(f"#!{sys.executable}\nfrom spatial_mllm_ros.executables import command\ncommand()\n")
    file.chmod(0o755)
    return str(file)


def test_a_recording_is_looked_into(command, simulated_bag):
    known = bringup.look_into(simulated_bag, command)
    made = plan(recorded=known, bag=str(simulated_bag))
    camera = build(values(made)).camera("camera")
    assert (camera.image_transport, camera.depth_transport, made.warning) == ("compressed", "compressed", "")
    assert Config().camera("camera").image_transport == "raw"


def test_a_recording_that_is_none_is_refused(command, tmp_path):
    with pytest.raises(ValueError, match=r"bag = .*nowhere\.mcap.*does not exist"):
        bringup.look_into(tmp_path / "nowhere.mcap", command)
    (tmp_path / "text.mcap").write_text("not a recording")
    with pytest.raises(ValueError) as refused:
        bringup.look_into(tmp_path / "text.mcap", command)
    assert "text.mcap" in str(refused.value) and "Traceback" not in str(refused.value)


def test_ctrl_c_while_a_recording_is_looked_into_is_no_error(tmp_path):
    file = tmp_path / "spatial-mllm"
    end = "signal.signal(signal.SIGINT, signal.SIG_DFL)\nos.kill(os.getpid(), signal.SIGINT)\n"  # ignored in background
    file.write_text(f"#!{sys.executable}\nimport os, signal\n{end}")
    file.chmod(0o755)
    with pytest.raises(KeyboardInterrupt):
        bringup.look_into(tmp_path, str(file))
