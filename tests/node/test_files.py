"""Launch file, parameter files, displays and documentation name only what exists."""

import ast
import importlib.util
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import typer
import yaml

from spatial_mllm_ros.cli import app
from spatial_mllm_ros.config import CameraParams, Config, build, describe, node_parameters

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch/bringup.launch.py"
FILES = sorted((ROOT / "config").glob("*.yaml"))
DOC = (ROOT / "docs/ros-api.md").read_text("utf-8")


def tool():
    spec = importlib.util.spec_from_file_location("describe_interface", ROOT / "tools/describe_interface.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat(tree, prefix=""):
    """Dotted names and values of a parameter file."""
    out = {}
    for name, value in tree.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out


def parameters(path):
    tree = yaml.safe_load(path.read_text("utf-8"))
    assert list(tree) == ["/**/spatial_mllm"]
    assert list(tree["/**/spatial_mllm"]) == ["ros__parameters"]
    return flat(tree["/**/spatial_mllm"]["ros__parameters"])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_parameter_files_are_accepted(path):
    config = build(parameters(path))
    assert config.cameras


def test_the_manual_holds_every_parameter_with_its_default():
    known = node_parameters(["camera"])
    assert parameters(ROOT / "config/rgbd.yaml") == {name: p["default"] for name, p in known.items()}
    assert asdict(build(parameters(ROOT / "config/rgbd.yaml"))) == asdict(
        Config(camera_params={"camera": CameraParams()})
    )


def test_generated_files_are_up_to_date():
    made = tool()
    how = "run python tools/describe_interface.py"
    assert made.YAML.read_text("utf-8") == made.yaml_text(), how
    assert made.page_text(DOC) == DOC, how
    models = made.MODELS.read_text("utf-8")
    assert made.models_text(models) == models, how


def test_every_field_and_constant_is_documented():
    for path in (ROOT / "msg").glob("*/*.*"):
        if path.suffix in (".msg", ".srv", ".action"):
            section = DOC.split(f"### {path.name}\n")[1].split("\n### ")[0]
            for name in re.findall(r"^[\w/\[\]]+\s+(\w+)", path.read_text("utf-8"), re.MULTILINE):
                assert re.search(rf"\| `{name}( = \S+)?` \| \S+ \| .+ \|", section), f"{path.name}: {name}"


def launch_tree():
    return ast.parse(LAUNCH.read_text("utf-8"))


def strings(tree):
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def calls(tree, name):
    """Keyword arguments of every call of a name."""
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == name]
    return [{k.arg: k.value for k in call.keywords} for call in found]


def assigned(name):
    """The value of a module-level name of the launch file."""
    for node in launch_tree().body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return node.value
    raise AssertionError(f"{name} is not assigned")


def test_launch_starts_executables_that_setup_installs():
    scripts = re.findall(r'f"([\w-]+) = \{NAME\}', (ROOT / "setup.py").read_text("utf-8"))
    named = [c["executable"].value for name in ("Node", "ExecutableInPackage") for c in calls(launch_tree(), name)]
    assert {"spatial_mllm_node", "spatial-mllm", "rviz2"} == set(named)
    assert set(named) - {"rviz2"} <= set(scripts)


def test_launch_arguments_are_those_people_expect_and_each_is_used():
    declared = [key.value for key in assigned("ARGUMENTS").keys]
    assert declared == ["params_file", "namespace", "use_sim_time", "autostart", "log_level", "bag", "rviz"]
    documented = re.findall(r"^\| `(\w+)` \| ", DOC.split("## Launch")[1].split("\n## ")[0], re.MULTILINE)
    assert documented == declared
    function = next(n for n in launch_tree().body if isinstance(n, ast.FunctionDef))
    used = {
        n.slice.value
        for n in ast.walk(function)
        if isinstance(n, ast.Subscript) and getattr(n.value, "id", "") == "argument"
    }
    assert used == set(declared)


def test_launch_names_parameters_files_and_options_that_exist():
    node = calls(launch_tree(), "Node")[0]
    names = {k.value for d in ast.walk(node["parameters"]) if isinstance(d, ast.Dict) for k in d.keys}
    assert names <= set(describe()) | {"use_sim_time"}
    data_files = (ROOT / "setup.py").read_text("utf-8")
    for path in [n for n in ast.walk(launch_tree()) if isinstance(n, ast.Call)]:
        if getattr(path.func, "id", "") == "PathJoinSubstitution":
            folder, file = [e.value for e in path.args[0].elts[1:]]
            assert (ROOT / folder / file).is_file()
            assert f'glob("{folder}/*")' in data_files
    assert 'glob("launch/*.py")' in data_files
    play = typer.main.get_command(app).commands["play"]
    options = {option for parameter in play.params for option in parameter.opts}
    words = " ".join(strings(launch_tree()))
    assert {"--clock", "--restamp", "--wait"} <= set(re.findall(r"--[a-z]+(?!-)\b", words)) & options


def test_launch_runs_where_launch_ros_is_installed():
    pytest.importorskip(
        "launch_ros", reason="launch_ros is not in this environment: it is part of a ROS 2 installation"
    )
    from launch.actions import IncludeLaunchDescription, RegisterEventHandler, Shutdown
    from launch.event_handlers import OnProcessIO
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchService

    said = []

    def heard(event):
        said.append(event.text.decode())
        return [Shutdown()] if "configured for 1 camera" in said[-1] else None

    service = LaunchService()
    service.include_launch_description(IncludeLaunchDescription(PythonLaunchDescriptionSource(str(LAUNCH))))
    handler = OnProcessIO(on_stdout=heard, on_stderr=heard)
    service.include_launch_description(RegisterEventHandler(handler))
    assert service.run() == 0
    assert any("configured for 1 camera" in text for text in said)


def test_displays_show_topics_of_the_node():
    topics = set(re.findall(r"`~/(\w+)`", DOC))
    rviz = (ROOT / "rviz/spatial_mllm.rviz").read_text("utf-8")
    layout = (ROOT / "rviz/foxglove_layout.json").read_text("utf-8")
    json.loads(layout)
    shown = re.findall(r"/spatial_mllm/(\w+)", rviz + layout)
    assert set(shown) == {"coverage_markers", "motion_reward", "coverage", "selected_frames"}
    assert set(shown) <= topics
    remapped = {f"/{e.value}" for e in assigned("SHOWN").elts}
    assert remapped == set(re.findall(r"Value: (/\S+)", yaml.safe_dump(yaml.safe_load(rviz))))
    fields = {"motion_reward": "MotionReward", "coverage": "CoverageStatus"}
    for topic, field in re.findall(r"/spatial_mllm/(\w+)(?:\{[^}]*\})*\.(\w+)", layout):
        assert re.search(rf"\s{field}\s", (ROOT / f"msg/msg/{fields[topic]}.msg").read_text("utf-8"))


def test_plots_never_mix_rewards_of_two_sources():
    layout = json.loads((ROOT / "rviz/foxglove_layout.json").read_text("utf-8"))
    plotted = [path["value"] for path in layout["configById"]["Plot!reward"]["paths"]]
    sources = [re.findall(r'\{source=="(\w+)"\}', value) for value in plotted]
    assert all(len(found) == 1 for found in sources) and {s for (s,) in sources} == {"geometry", "mllm"}
    assert len(set(plotted)) == len(plotted)
