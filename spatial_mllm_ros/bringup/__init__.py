"""What ``bringup.launch.py`` starts: its arguments, checked before anything runs, and what they come to.

Needs neither ROS nor what the node needs: ``ros2 launch`` runs in the system's Python, the node perhaps in another.
"""

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config, build, is_ours
from ..doctor import INTERFACES, apt, install_command
from . import parameters
from .cameras import KINDS, NODE, Values, arguments, choose, fit, point, resolved, shown

LEVELS = ("debug", "info", "warn", "error", "fatal")
YES, NO = ("true", "1"), ("false", "0")  # as launch has them
LOOK = 120.0  # s, to look into a recording
INTERRUPTED = (130, -2)  # exit codes of what Ctrl-C has ended

ARGUMENTS = {
    "params_file": ("rgbd.yaml", "parameter file, or the name of one that comes with the package"),
    "namespace": ("", "namespace of the node, of what a bag has, and of relative topics"),
    "use_sim_time": ("", "true takes time from /clock, where a bag is then published; empty: params_file's, or false"),
    "autostart": ("", "false leaves configure and activate to a lifecycle manager; empty: params_file's, or true"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "model": (
        "",
        "folder or hub id (owner/name or owner/name@revision) of the model that answers, or none; empty: params_file's"
        " ask.model",
    ),
    "world_frame": ("", "fixed frame of poses; empty: params_file's pose.world_frame"),
    "camera": ("", "name of the only camera; empty: those of params_file"),
    "image_topic": ("", "its colour image, with /compressed where it has that; empty: params_file's"),
    "depth_topic": ("", "its depth, likewise, also /compressedDepth; none: it has none; empty: params_file's"),
    "camera_info_topic": ("", "its intrinsics; empty: beside image_topic where that is given, else params_file's"),
    "depth_info_topic": ("", "intrinsics of depth that is not registered to colour; none: it is; empty: params_file's"),
    "bag": ("", "recording to play, raw or compressed; its stamps become now unless use_sim_time is true"),
    "exit_with_bag": ("true", "false: the node stays when the recording has ended, and can be asked"),
    "rviz": ("false", "show coverage and selected frames in RViz"),
}
"""Name -> default and meaning."""


@dataclass(frozen=True)
class Plan:
    """What is to be started, with nothing left open.

    Attributes:
        namespace: of all, beginning with a slash; empty for the root.
        parameters: text of the node's parameter file.
        log_level: of the node.
        player: arguments of ``spatial-mllm``; empty where nothing is played.
        exit_with_player: whether all ends where the player has come to the end of the recording.
        rviz: whether RViz is shown.
        use_sim_time, world_frame: as the node has them.
        remap: topics of RViz's display, and what they are here.
        warning: what may not work; empty where nothing is known that would not.
    """

    namespace: str
    parameters: str
    log_level: str
    player: list[str]
    exit_with_player: bool
    rviz: bool
    use_sim_time: bool
    world_frame: str
    remap: list[tuple[str, str]]
    warning: str


def plan(
    given: Mapping[str, str],
    share: Path,
    recorded: Callable[[Path], Mapping[str, Any]],
    installed: Callable[[str], bool],
) -> Plan:
    """What launch arguments come to.

    Args:
        given: all of ARGUMENTS.
        share: where the package has its ``config`` folder.
        recorded: what ``spatial-mllm info --json`` says of a recording; raises ValueError where it is none.
        installed: whether a ROS package is.

    Raises:
        ValueError: an argument, the parameter file, the recording, or a package that is not installed; the text says
            what would be right.
    """
    namespace = absolute(given["namespace"])
    node = f"{namespace}/{NODE}"
    rviz, exit_with_player = flag("rviz", given), flag("exit_with_bag", given)
    level = given["log_level"].lower()
    if level not in LEVELS:
        raise ValueError(f"log_level = {level}: expected one of {', '.join(LEVELS)}")
    check_installed(installed, rviz)
    values = changed(parameters.read(params_file(given["params_file"], share / "config"), node), given)
    config = checked(values)
    use_sim_time = values.get("use_sim_time") is True
    player, warning = [], ""
    if given["bag"]:
        bag = Path(given["bag"]).expanduser()
        known = recorded(bag)
        values, heard, lacking = fit(
            values, namespace, [topic["name"] for topic in known["topics"]], known["cameras"].values()
        )
        if lacking:
            has = [f"{name}: {arguments(topics, namespace)}" for name, topics in known["cameras"].items()]
            warning = f"{bag.name} has no {', '.join(lacking)}; its cameras are {', '.join(has) or 'none'}"
        stamps = "--clock" if use_sim_time else "--restamp"
        player = ["play", str(bag), stamps, "--wait", "inf", *(["--namespace", namespace] if namespace else [])]
        player += [word for topic in heard for word in ("--wait-for", topic)]  # RViz is there before the node
    display = (f"/{NODE}/coverage_markers", resolved(f"{NODE}/coverage_markers", namespace))
    return Plan(
        namespace,
        parameters.text(values, node),
        level,
        player,
        exit_with_player,
        rviz,
        use_sim_time,
        config.pose.world_frame,
        [display, ("/camera/color/image_raw", shown(values, namespace))],
        warning,
    )


def changed(values: Values, given: Mapping[str, str]) -> Values:
    """The parameters of a file with what launch arguments set. Raises ValueError where that cannot be."""
    if given["camera"]:
        values = choose(values, given["camera"])
    values = point(values, {kind: given[f"{kind}_topic"] for kind in KINDS})
    flags = {name: flag(name, given) for name in ("use_sim_time", "autostart") if given[name]}
    texts = {"ask.model": given["model"], "pose.world_frame": given["world_frame"]}
    return values | flags | {name: text for name, text in texts.items() if text}


def checked(values: Values) -> Config:
    """The parameters as the node will have them. Raises ValueError where it would not start."""
    for name in values:
        if name == "use_sim_time" and not isinstance(values[name], bool):
            raise ValueError(f"use_sim_time = {values[name]!r}: expected true or false")
    return build({name: value for name, value in values.items() if is_ours(name)})


def check_installed(installed: Callable[[str], bool], rviz: bool) -> None:
    """Raises ValueError where a package is missing that will be needed."""
    if not installed(INTERFACES):
        raise ValueError(f"the package {INTERFACES} is not installed: {install_command(INTERFACES)}")
    if rviz and not installed("rviz2"):
        raise ValueError(f"rviz:=true, but RViz is not installed: {apt('rviz2')}, or leave rviz out")


def params_file(name: str, folder: Path) -> Path:
    """The file that is meant: a path, else the name of one that comes with the package. Raises ValueError."""
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    if path.name == name and (folder / name).is_file():
        return folder / name
    known = ", ".join(sorted(file.name for file in folder.glob("*.yaml")))
    raise ValueError(f"params_file = {name}: there is no such file; {known} come with the package")


def absolute(namespace: str) -> str:
    """A namespace with a slash before it, or nothing. Raises ValueError where it is none."""
    name = namespace.strip("/")
    if name and not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", name, re.ASCII):
        raise ValueError(f"namespace = {namespace}: expected letters, digits and _ between slashes, like robot1")
    return f"/{name}" if name else ""


def flag(name: str, given: Mapping[str, str]) -> bool:
    """A yes or no. Raises ValueError where it is neither."""
    if (text := given[name].lower()) not in YES + NO:
        raise ValueError(f"{name} = {given[name]}: expected true or false")
    return text in YES


def look_into(bag: Path, command: str) -> dict[str, Any]:
    """What is in a recording, by the word of ``spatial-mllm info --json``, which runs in the node's Python.

    Args:
        command: path of ``spatial-mllm``.

    Raises:
        ValueError: it is no recording. KeyboardInterrupt: Ctrl-C has ended the command.
    """
    try:
        done = subprocess.run(
            [command, "info", str(bag), "--json"], capture_output=True, text=True, timeout=LOOK, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"bag = {bag}: it could not be looked into within {LOOK:g} s") from None
    if done.returncode in INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"{command} ended with exit code {done.returncode}"]
        raise ValueError(f"bag = {bag}: {said[-1].removeprefix('error: ')}")
    return json.loads(done.stdout)
