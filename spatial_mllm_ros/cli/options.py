"""Arguments and options that several commands share."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import AskParams, Config, build, describe

PARAMETERS = describe()
DEFAULT = Config().coverage
MOTION = Config().motion
ASK = Config().ask
LOAD = tuple(ASK.options)
Command = Callable[..., None]


def parameter(name: str, *flags: str) -> Any:
    """An option that is a parameter of the node: its sentence and unit come from config.py."""
    known = PARAMETERS[name]
    unit = f", {known['unit']}" if known["unit"] else ""
    return typer.Option(*flags, help=f"{known['doc'][0].upper()}{known['doc'][1:]}{unit} (parameter {name}).")


def load_options(*names: str) -> Callable[[Command], Command]:
    """Gives a command the options that a model is loaded with, all or those named; it takes them as one, ``load``.

    Which model is for the command to ask: some need one, some do not.
    """
    return _options("load", {f"ask.{name}": name for name in names or LOAD})


def _options(into: str, wanted: Mapping[str, str]) -> Callable[[Command], Command]:
    """Gives a command an option for each of these parameters; it takes them as one dict by name."""

    def give(command: Command) -> Command:
        @wraps(command)
        def with_options(**values: Any) -> None:
            taken = {name: values.pop(name) for name in wanted.values()}
            command(**values, **{into: taken})

        own = signature(command)
        parameters = [p for p in own.parameters.values() if p.name != into]
        for full, name in wanted.items():
            known = PARAMETERS[full]
            option = Annotated[known["type"], parameter(full, "--" + name.replace("_", "-"))]
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=known["default"], annotation=option))
        with_options.__signature__ = own.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
        return with_options

    return give


READING = {"sync.tolerance": "tolerance", "pose.max_gap": "max_gap", "pose.still": "still"}
read_options = _options("read", READING)
"""Gives a command the options that frames are put together with; it takes them as one, ``read``."""


def ask_params(**values: Any) -> AskParams:
    """The node's parameters of questions with these; ValueError where one is out of range."""
    return build({f"ask.{name}": value for name, value in values.items()}).ask


def reading_config(read: Mapping[str, Any], motion: Mapping[str, Any] | None = None, **values: float) -> Config:
    """The node's parameters with these of reading, motion and coverage; ValueError where one is out of range."""
    groups = {"motion": motion or {}, "coverage": values}
    given = {f"{group}.{name}": value for group, named in groups.items() for name, value in named.items()}
    return build(given | {full: read[name] for full, name in READING.items()})


K = Annotated[int, parameter("coverage.frames", "--k")]
VoxelSize = Annotated[float, parameter("coverage.voxel_size", "--voxel-size")]
MinDepth = Annotated[float, parameter("coverage.min_depth", "--min-depth")]
MaxDepth = Annotated[float, parameter("coverage.max_depth", "--max-depth")]

BAG = "Recording: an .mcap, .db3 or .bag file, or a bag folder."
Bag = Annotated[Path, typer.Argument(metavar="BAG", help=BAG, show_default=False)]
Bags = Annotated[list[Path], typer.Argument(metavar="BAG...", help=BAG, show_default=False)]
INPUT = "Recording, video file or image folder."
Input = Annotated[Path, typer.Argument(metavar="INPUT", help=INPUT, show_default=False)]

SOURCE = (
    "What not to guess, may be repeated: image, depth, camera_info, depth_info, odometry, pose (topics), world_frame,"
    " child_frame (frames), camera (one of those that info lists)."
)
Source = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help=SOURCE)]

TARGET = (
    "Also follow what moves in a region, may be repeated: a name, the camera, x,y,width,height in pixels of its image,"
    " and after @ the time of that image, s since the first frame (default 0) or since 1970."
    " Like mug:front:310,220,40,52@2.5"
)
Targets = Annotated[list[str] | None, typer.Option(metavar="NAME:CAMERA:X,Y,W,H[@T]", help=TARGET)]

GOAL = (
    "Reward approach to a point, m in the world frame, may be repeated: a target's name, or camera. Like mug:1.5,0,0.8"
)
Goals = Annotated[list[str] | None, typer.Option(metavar="NAME:X,Y,Z", help=GOAL)]

COPIED = "Topic to copy, may be repeated; all copies everything. By default those of poses and transforms."
Copied = Annotated[list[str] | None, typer.Option(metavar="NAME", help=COPIED)]

LeRobot = Annotated[
    Path | None, typer.Option("--lerobot", metavar="DIR", help="LeRobot data set v3.0, new or to add episodes to.")
]
MapFile = Annotated[
    Path | None,
    typer.Option("--map", metavar="FILE", help="YAML: what becomes what in a data set. By default as info guesses."),
]
Task = Annotated[str, typer.Option("--task", metavar="TEXT", help="What is done in all episodes of a data set.")]

MODEL = "Folder or hub id, OWNER/NAME or OWNER/NAME@REVISION, of a checkpoint; models/README.md lists those that load."
Model = Annotated[str, typer.Option("--model", metavar="M", help=f"{MODEL} By default nano, which ships.")]
OptionalModel = Annotated[str, typer.Option("--model", metavar="M", help=MODEL)]
Frames = Annotated[int, parameter("ask.max_frames", "--frames")]
Load = dict[str, Any]  # by name, what load_options gives
Read = dict[str, Any]  # by name, what read_options gives

Motion = Annotated[str, parameter("motion.source", "--motion")]
MaxSpeed = Annotated[float, parameter("motion.max_speed", "--max-speed")]
MaxTurnRate = Annotated[float, parameter("motion.max_turn_rate", "--max-turn-rate")]

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output where it exists.")]
