"""The command ``spatial-mllm``: every command is a few lines over the library; ``--help`` is the manual."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import Config
from . import parse, show
from .lerobot import add_episodes
from .model import answered, build_engines, export_model, load_engine
from .options import (
    ASK,
    DEFAULT,
    MODEL,
    MOTION,
    AsJson,
    Bag,
    Bags,
    Copied,
    Frames,
    Goals,
    Input,
    K,
    LeRobot,
    Load,
    MapFile,
    MaxDepth,
    MaxSpeed,
    MaxTurnRate,
    MinDepth,
    Model,
    Motion,
    OptionalModel,
    Overwrite,
    Read,
    Source,
    Targets,
    Task,
    VoxelSize,
    ask_params,
    load_options,
    read_options,
    reading_config,
)
from .parse import image_size, sources, targets
from .playing import play
from .ros import NodeCommand
from .terminal import Commands, note, out, progress, track, warn

EXIT = (0, 3, 4)  # answered, not observed, unsure: by verdict

app = Commands(
    name="spatial-mllm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Coverage, motion, rewards and answers from recordings. Lengths are metres, times seconds.",
)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    app.debug = debug


@app.command()
def simulate(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="New .mcap file, or bag folder.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Which room; the same seed is the same room.")] = 0,
    duration: Annotated[float, typer.Option(help="Length, s.")] = 10.0,
    fps: Annotated[float, typer.Option(help="Frames a second of each camera, Hz.")] = 30.0,
    size: Annotated[str, typer.Option(help="Width x height of the images, pixels.", metavar="WxH")] = "640x480",
    cameras: Annotated[int, typer.Option(help="Cameras around the robot, 1 to 4.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Write a recording of a furnished room: moving camera, pushed objects, noisy depth, exact poses and tracks."""
    from ..simulation import simulate

    room = {"duration": duration, "fps": fps, "size": image_size(size), "cameras": cameras}
    with progress("simulating") as move:
        simulate(output, seed, overwrite=overwrite, progress=move, **room)
    note(f"wrote {output}")


@app.command()
@read_options
def info(
    bag: Bag,
    seconds: Annotated[
        float, typer.Option(help="How much to go through for frames and what they lack, s; 0 is all.", min=0.0)
    ] = 60.0,
    source: Source = None,
    as_json: AsJson = False,
    *,
    read: Read,
) -> None:
    """Say what is in a recording, how many of its images make whole frames, what is wrong, and what to do about it."""
    from ..lerobot.guess import guessed
    from ..recordings import recording_info

    topics = sources(source)
    known, guess = recording_info(bag, seconds, reading_config(read), **topics), guessed(bag, **topics)
    if as_json:
        typer.echo(json.dumps(show.info_values(known, guess), indent=2))
    else:
        out.print(*show.info_lines(known, guess), sep="\n")


app.command(cls=NodeCommand)(play)


@app.command()
@read_options
@load_options("device", "dtype", "compile", "encoders", "provider")
def sample(
    path: Input,
    k: K = DEFAULT.frames,
    voxel_size: VoxelSize = DEFAULT.voxel_size,
    min_depth: MinDepth = DEFAULT.min_depth,
    max_depth: MaxDepth = DEFAULT.max_depth,
    offline: Annotated[
        bool, typer.Option("--offline", help="Greedy with all frames at hand, not in one pass.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the selection as JSON.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write the selected images as JPEG.")] = None,
    model: OptionalModel = "",
    source: Source = None,
    *,
    load: Load,
    read: Read,
) -> None:
    """Select the frames that cover the scene best, best first.

    With a model: from colour alone, by the space-aware sampling of Spatial-MLLM. It sees 128 frames at most, spread
    evenly, and their geometry decides, in a unit of its own; depth, poses, voxel size and ranges do not count.
    """
    from ..recordings import read_any
    from ..scene.selection import select, select_video, write_images

    config = reading_config(read, frames=k, voxel_size=voxel_size, min_depth=min_depth, max_depth=max_depth)
    params, topics, total = config.coverage, sources(source), show.count_frames(path)
    frames = track(read_any(path, config, **topics), "reading", total)
    if model:
        engine = load_engine(ask_params(model=model, **load))
        chosen = select_video(frames, params, engine.geometry)
    else:
        chosen = select(frames, params, offline=offline)
    if json_file:
        chosen.write(json_file)
    if images:
        write_images(track(read_any(path, config, **topics), "writing images", total), chosen.frames, images)
    out.print(*show.sample_lines(chosen, "units" if model else "m"), sep="\n")


@app.command()
@read_options
@load_options()
def ask(
    path: Input,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="At most 2000 characters.", show_default=False)],
    model: Model = ASK.model,
    option: Annotated[
        list[str] | None, typer.Option(help="One of the choices, may be repeated.", metavar="TEXT")
    ] = None,
    kind: Annotated[
        str, typer.Option("--type", help="Kind of answer: auto, text, number, choice, pixel or vector.")
    ] = "auto",
    frames: Frames = ASK.max_frames,
    space_aware: Annotated[
        bool, typer.Option("--space-aware", help="Choose the frames by the model's geometry, from colour alone.")
    ] = False,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Think first, and say what was thought.")] = False,
    as_json: AsJson = False,
    source: Source = None,
    *,
    load: Load,
    read: Read,
) -> None:
    """Ask a model about a recording, a video or a folder of images.

    The exit code is 0 for an answer, 3 where the model says that it was not observed, 4 where it is unsure.
    """
    wanted = parse.question(question, option, kind, reasoning)
    params = ask_params(model=model, max_frames=frames, **load)
    asked, *_ = answered(path, [wanted], params, reading_config(read), sources(source), space_aware)
    if as_json:
        typer.echo(json.dumps(asked.values(), indent=2))
    else:
        out.print(*show.answer_lines(asked), sep="\n")
    raise typer.Exit(EXIT[asked.answer.verdict])


@app.command()
def join(
    qwen: Annotated[str, typer.Argument(metavar="QWEN", help="Folder or hub id of a Qwen2.5-VL.", show_default=False)],
    vggt: Annotated[str, typer.Argument(metavar="VGGT", help="Folder or hub id of a VGGT.", show_default=False)],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.", show_default=False)],
) -> None:
    """Join a Qwen2.5-VL and a VGGT into a fresh Spatial-MLLM: the start of training."""
    from ..mllm.families.spatial_mllm.join import join

    join(qwen, vggt, output)
    note(f"wrote {output}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help=MODEL, show_default=False)] = "",
    output: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="New folder.", show_default=False)] = None,
    precision: Annotated[str, typer.Option(help="fp32 or fp16, which needs half the memory.")] = "fp32",
    frames: Annotated[
        str, typer.Option(metavar="MIN:OPT:MAX", help="Frames of a clip that the files take.")
    ] = "1:16:32",
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HxW",
            help="Height x width of images as the model sees them, pixels, the usual one first; repeated: any between."
            " By default what 640x480 and 1280x720 become.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    tensorrt: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Build engines for this machine's GPU from that export instead.", show_default=False
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="The GPU that engines are built for: cuda or cuda:N.")] = "cuda",
) -> None:
    """Write a model's encoders as ONNX files for ONNX Runtime and TensorRT, each compared with torch.

    A file that is too far from torch, or that TensorRT would not read, is not written. With --tensorrt DIR, and no
    MODEL: engines for this machine, each compared with ONNX Runtime.
    """
    if tensorrt is not None:
        if model or output or overwrite or size or (precision, frames) != ("fp32", "1:16:32"):
            raise ValueError("--tensorrt DIR takes a folder that export wrote, and --device; MODEL and others made it")
        build_engines(tensorrt, device)
    elif not model or output is None:
        raise ValueError("what to export? expected MODEL --out DIR, or --tensorrt DIR")
    else:
        export_model(model, output, precision, frames, size, overwrite)


@app.command()
@read_options
@load_options()
def annotate(
    bags: Bags,
    output: Annotated[Path | None, typer.Option("--out", metavar="NEW", help="New .mcap file, or bag folder.")] = None,
    lerobot: LeRobot = None,
    map_file: MapFile = None,
    task: Task = "",
    target: Targets = None,
    goal: Goals = None,
    topic: Copied = None,
    motion: Motion = MOTION.source,
    max_speed: MaxSpeed = MOTION.max_speed,
    max_turn_rate: MaxTurnRate = MOTION.max_turn_rate,
    model: Model = ASK.model,
    source: Source = None,
    overwrite: Overwrite = False,
    *,
    load: Load,
    read: Read,
) -> None:
    """Write a new recording with the motion reward of every frame, on /spatial_mllm/motion_reward.

    The first camera is always followed. Rewards of the model are of a frame a second. Killed and run again, it goes on
    where it was. With --lerobot, recordings become episodes of a LeRobot data set with these rewards instead.
    """
    from ..annotate.bag import annotate

    bag, topics = bags[0], sources(source)
    if (output is None) == (lerobot is None):
        raise typer.BadParameter("name one of --out, a new recording, and --lerobot, a data set")
    if lerobot is None and (len(bags) > 1 or map_file or task):
        raise typer.BadParameter("several recordings, --map and --task go with --lerobot")
    if lerobot is not None and (topic or overwrite):
        raise typer.BadParameter("--topic and --overwrite go with --out: episodes are added to what is there")
    if len(bags) > 1 and any("@" in text for text in target or ()):
        raise typer.BadParameter("the time of a region is of one recording: add one after the other")
    config = reading_config(read, {"source": motion, "max_speed": max_speed, "max_turn_rate": max_turn_rate})
    followed = targets(target, goal, lambda: first_stamp(bag, config, topics))
    copied = "all" if topic == ["all"] else topic
    asked = motion != MOTION.source
    engine = load_engine(ask_params(model=model, **load)) if asked else None
    if lerobot is not None:
        add_episodes(bags, lerobot, map_file, task, followed, config, engine, topics)
        return
    assert output is not None
    options: dict[str, Any] = {"config": config, "engine": engine, "overwrite": overwrite}
    with progress("annotating") as move:
        done = annotate(bag, output, targets=followed, topics=copied, progress=move, **options, **topics)
    for reason, count in done.skipped.most_common(5):
        warn(f"{count} frames with broken pixels: {reason}")
    resumed = f", {done.resumed} of them from an earlier run" if done.resumed else ""
    note(f"wrote {output}: {done.rewards} rewards for {done.frames} frames{resumed}")


@app.command()
@read_options
@load_options()
def report(
    bag: Bag,
    output: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Page to write; replaced where it exists.")
    ] = Path("report.html"),
    k: K = DEFAULT.frames,
    voxel_size: VoxelSize = DEFAULT.voxel_size,
    min_depth: MinDepth = DEFAULT.min_depth,
    max_depth: MaxDepth = DEFAULT.max_depth,
    target: Targets = None,
    goal: Goals = None,
    question: Annotated[
        list[str] | None, typer.Option("--ask", help="Ask the model, may be repeated.", metavar="QUESTION")
    ] = None,
    model: Model = ASK.model,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show these answers too: what ask --json printed.")
    ] = None,
    motion: Motion = MOTION.source,
    max_speed: MaxSpeed = MOTION.max_speed,
    max_turn_rate: MaxTurnRate = MOTION.max_turn_rate,
    source: Source = None,
    *,
    load: Load,
    read: Read,
) -> None:
    """Write one HTML page: selected frames, answers, coverage map, coverage over time, rewards, timing."""
    from ..files import write_whole
    from ..report import analyse, render

    moved = {"source": motion, "max_speed": max_speed, "max_turn_rate": max_turn_rate}
    config = reading_config(read, moved, frames=k, voxel_size=voxel_size, min_depth=min_depth, max_depth=max_depth)
    asked = parse.answers(answers) if answers else []
    params = ask_params(model=model, **load)
    engine = load_engine(params) if question or motion != MOTION.source else None
    topics, total = sources(source), show.count_frames(bag)
    followed = targets(target, goal, lambda: first_stamp(bag, config, topics))
    if question:
        wanted = [parse.question(text, (), "auto", False) for text in question]
        asked += answered(bag, wanted, params, config, topics, engine=engine)
    analysis = analyse(
        bag, config, followed, lambda frames: track(frames, "reading", total), asked, engine=engine, **topics
    )
    write_whole(output, render(analysis, bag.stem))
    note(f"wrote {output}")


@app.command()
def doctor(
    node: Annotated[bool, typer.Option("--node", help="Look at a running node instead, and what feeds it.")] = False,
    name: Annotated[str, typer.Argument(help="Its full name, where more than one runs.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Say what this machine can run and what to install for the rest; exit code 1 when coverage or motion cannot.

    With --node: who publishes what a running node needs, with which QoS, how fast, whether its cameras have poses, and
    what it says of itself; exit code 1 when something is wrong.
    """
    from ..doctor import can_run, diagnose

    if name and not node:
        raise typer.BadParameter("a name goes with --node")
    if node:
        from ..node.inspection import inspect

        checks, verdict = inspect(name), ("The node has what it needs.", "Something is missing.")
    else:
        checks = diagnose()
        verdict = tuple(f"Coverage, motion and rewards {what} on this machine." for what in ("run", "cannot run"))
    if as_json:
        typer.echo(json.dumps(show.doctor_values(checks), indent=2))
    else:
        out.print(show.doctor_table(checks))
        out.print(*show.remedies(checks), "", verdict[not can_run(checks)], sep="\n", soft_wrap=True)
    raise typer.Exit(0 if can_run(checks) else 1)


def first_stamp(bag: Path, config: Config, topics: dict[str, Any]) -> int:
    """Stamp of a recording's first frame, nanoseconds."""
    from ..recordings import read_frames

    frame = next(read_frames(bag, config, **topics), None)
    return frame.stamp_ns if frame else 0
