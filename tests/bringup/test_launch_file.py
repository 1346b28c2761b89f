"""bringup.launch.py: its own lines on stand-ins for launch, and the real launch where that is installed."""

import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
import yaml

from spatial_mllm_ros import bringup
from spatial_mllm_ros.cli import app

from . import launch_fakes

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch/bringup.launch.py"
DOC = (ROOT / "docs/ros-api.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def command(tmp_path) -> str:
    """spatial-mllm of this checkout."""
    file = tmp_path / "spatial-mllm"
    file.write_text(f"#!{sys.executable}\nfrom spatial_mllm_ros.executables import command\ncommand()\n")
    file.chmod(0o755)
    return str(file)


@pytest.fixture
def started(monkeypatch, command):
    """What the launch file starts with these arguments, by the package or the name of each."""

    def start(missing=frozenset(), **given: str):
        launch_fakes.install(monkeypatch, str(ROOT), command, set(missing))
        spec = importlib.util.spec_from_file_location("bringup_launch", LAUNCH)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        (description,) = module.generate_launch_description().args
        *declared, function = description
        defaults = {d.args[0]: d.default_value for d in declared if d.kind == "DeclareLaunchArgument" and d.description}
        assert len(defaults) == len(declared) and set(given) <= set(defaults)
        return function.function(SimpleNamespace(launch_configurations=defaults | given))

    return start


def by_name(actions) -> dict:
    return {getattr(action, "package", action.kind): action for action in actions}


def ends_all(on_exit, code=0) -> bool:
    """Whether everything ends where a process has ended with this exit code."""
    action = on_exit(SimpleNamespace(returncode=code), None) if callable(on_exit) else on_exit
    return action.kind == "Shutdown"


def test_the_node_alone(started):
    (node,) = started()
    assert (node.package, node.executable, node.name, node.namespace) == (
        "spatial_mllm_ros",
        "spatial_mllm_node",
        "spatial_mllm",
        "",
    )
    assert ends_all(node.on_exit) and node.output == "screen" and node.ros_arguments == ["--log-level", "info"]
    (file,) = node.parameters
    assert yaml.safe_load(Path(file).read_text())["/spatial_mllm"]["ros__parameters"]["status_rate"] == 1.0


def test_all_of_it_in_a_namespace_ends_together(started, simulated_bag, command):
    actions = by_name(started(namespace="robot1", bag=str(simulated_bag), rviz="true", world_frame="map"))
    node, player, rviz = (actions[name] for name in ("spatial_mllm_ros", "ExecuteProcess", "rviz2"))
    assert len(actions) == 3 and node.namespace == rviz.namespace == "/robot1"
    expected = [command, "play", str(simulated_bag), "--restamp", "--wait", "inf", "--namespace", "/robot1"]
    assert player.cmd[: len(expected)] == expected and player.cmd.count("--wait-for") == 3
    assert rviz.arguments == ["-d", str(ROOT / "rviz/spatial_mllm.rviz"), "-f", "map"]
    assert all(ends_all(action.on_exit, code) for action in actions.values() for code in (0, 1, -9))


def test_the_node_may_outlive_a_recording_that_was_played_to_its_end(started, simulated_bag):
    player = by_name(started(bag=str(simulated_bag), exit_with_bag="false"))["ExecuteProcess"]
    assert not ends_all(player.on_exit, 0) and ends_all(player.on_exit, 1) and ends_all(player.on_exit, -9)


def test_what_a_recording_lacks_is_said(started, simulated_bag):
    log, node, _ = started(bag=str(simulated_bag), camera="front")
    assert log.kind == "LogInfo" and log.msg.startswith("warning: room.mcap has no /front/color/image_raw")
    assert node.kind == "Node"


@pytest.mark.parametrize(
    ("given", "missing", "said"),
    [
        ({"rviz": "true"}, {"rviz2"}, "RViz is not installed"),
        ({}, {"spatial_mllm_msgs"}, "colcon build --paths"),
        ({"params_file": "nowhere.yaml"}, set(), "there is no such file"),
        ({"bag": "nowhere.mcap"}, set(), "does not exist"),
        ({"bag": str(LAUNCH)}, set(), "bringup.launch.py"),
    ],
)
def test_nothing_starts_where_something_is_wrong(started, given, missing, said):
    with pytest.raises(ValueError, match=said):
        started(missing, **given)


def test_ctrl_c_before_anything_has_started_ends_the_launch(started, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bringup, "look_into", interrupted)
    (action,) = started(bag="kitchen")
    assert action.kind == "Shutdown"


def test_it_starts_executables_that_setup_installs_with_options_that_they_have(started, simulated_bag):
    scripts = re.findall(r'f"([\w-]+) = \{NAME\}', (ROOT / "setup.py").read_text("utf-8"))
    assert {"spatial_mllm_node", "spatial-mllm"} <= set(scripts)
    play = typer.main.get_command(app).commands["play"]  # pyright: ignore[reportAttributeAccessIssue]
    options = {option for parameter in play.params for option in parameter.opts}
    for given in ({"namespace": "robot1"}, {"use_sim_time": "true"}):
        player = by_name(started(bag=str(simulated_bag), **given))["ExecuteProcess"]
        assert {word for word in player.cmd if word.startswith("--")} <= options
    assert all(f'glob("{folder}/' in (ROOT / "setup.py").read_text() for folder in ("launch", "config", "rviz"))


def test_arguments_are_documented_with_their_defaults():
    table = re.findall(r"^\| `(\w+)` \|([^|]*)\| \S", section(DOC, "## Launch"), re.MULTILINE)
    defaults = [(name, default) for name, (default, _) in bringup.ARGUMENTS.items()]
    assert [(name, default.strip(" `")) for name, default in table] == defaults
    rows = re.findall(r"^\| (`\w+`.*?) \|", section(README, "## In a ROS 2 workspace"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named and set(named) <= set(bringup.ARGUMENTS)


def section(page: str, title: str) -> str:
    return page.split(f"{title}\n")[1].split("\n## ")[0]


def test_the_display_of_rviz_is_remapped_as_a_whole():
    display = yaml.safe_dump(yaml.safe_load((ROOT / "rviz/spatial_mllm.rviz").read_text("utf-8")))
    defaults = {name: default for name, (default, _) in bringup.ARGUMENTS.items()}
    made = bringup.plan(defaults, ROOT, lambda bag: {}, lambda package: True)
    assert {shown for shown, _ in made.remap} == set(re.findall(r"Value: (/\S+)", display))


# the real one


def run(arguments: list[str], stop_at: str = "") -> tuple[int, list[str]]:
    """Exit code of the real launch, and what its processes said; it is stopped at the line with these words."""
    pytest.importorskip(
        "launch_ros", reason="launch_ros is not in this environment: it is part of a ROS 2 installation"
    )
    from launch.actions import IncludeLaunchDescription, RegisterEventHandler, Shutdown
    from launch.event_handlers import OnProcessIO
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchService

    said: list[str] = []

    def heard(event):
        said.append(event.text.decode())
        return [Shutdown()] if stop_at and stop_at in said[-1] else None

    service = LaunchService()
    given = [tuple(argument.split(":=", 1)) for argument in arguments]
    source = PythonLaunchDescriptionSource(str(LAUNCH))
    service.include_launch_description(IncludeLaunchDescription(source, launch_arguments=given))
    service.include_launch_description(RegisterEventHandler(OnProcessIO(on_stdout=heard, on_stderr=heard)))
    return service.run(), said


@pytest.mark.live
def test_the_real_launch_starts_the_node():
    code, said = run([], stop_at="configured for 1 camera")
    assert code == 0 and any("configured for 1 camera" in text for text in said)


@pytest.mark.live
def test_the_real_launch_plays_a_recording_to_its_end_and_ends(simulated_bag):
    code, said = run([f"bag:={simulated_bag}", "namespace:=robot1"])
    assert code == 0 and any("played" in text for text in said)


@pytest.mark.live
@pytest.mark.parametrize("wrong", ["params_file:=nowhere.yaml", "bag:=nowhere.mcap", "namespace:=my-robot"])
def test_the_real_launch_starts_nothing_where_something_is_wrong(wrong):
    assert run([wrong]) == (1, [])
