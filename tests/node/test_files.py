"""Parameter files, displays and documentation name only what exists."""

import importlib.util
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from spatial_mllm_ros.config import CameraParams, Config, build, node_parameters

ROOT = Path(__file__).parents[2]
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


def test_displays_show_topics_of_the_node():
    topics = set(re.findall(r"`~/(\w+)`", DOC))
    rviz = (ROOT / "rviz/spatial_mllm.rviz").read_text("utf-8")
    layout = (ROOT / "rviz/foxglove_layout.json").read_text("utf-8")
    json.loads(layout)
    shown = re.findall(r"/spatial_mllm/(\w+)", rviz + layout)
    assert set(shown) == {"coverage_markers", "motion_reward", "coverage", "selected_frames"}
    assert set(shown) <= topics
    fields = {"motion_reward": "MotionReward", "coverage": "CoverageStatus"}
    for topic, field in re.findall(r"/spatial_mllm/(\w+)(?:\{[^}]*\})*\.(\w+)", layout):
        assert re.search(rf"\s{field}\s", (ROOT / f"msg/msg/{fields[topic]}.msg").read_text("utf-8"))


def test_plots_never_mix_rewards_of_two_sources():
    layout = json.loads((ROOT / "rviz/foxglove_layout.json").read_text("utf-8"))
    plotted = [path["value"] for path in layout["configById"]["Plot!reward"]["paths"]]
    sources = [re.findall(r'\{source=="(\w+)"\}', value) for value in plotted]
    assert all(len(found) == 1 for found in sources) and {s for (s,) in sources} == {"geometry", "mllm"}
    assert len(set(plotted)) == len(plotted)
