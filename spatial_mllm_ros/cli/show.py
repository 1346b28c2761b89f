"""Results as tables for people and as values for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..doctor import Check, can_run
from ..mllm import AnswerType, Verdict

if TYPE_CHECKING:
    from ..recordings.info import RecordingInfo
    from ..recordings.play import PlayReport
    from ..scene.asking import Asked
    from ..scene.selection import Sample


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without borders; the columns named in ``right`` hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def info_values(known: RecordingInfo, guess: dict[str, str]) -> dict[str, Any]:
    """A RecordingInfo, and what a data set would be made of, as JSON values."""
    values = asdict(known)
    found = {"path": str(known.path), "has_depth": known.has_depth, "has_poses": known.has_poses}
    return {**values, **found, "lerobot": guess}


def info_lines(known: RecordingInfo, guess: dict[str, str]) -> Iterator[Any]:
    """A RecordingInfo as text and tables: what there is, then what it makes, then what is wrong.

    ``guess``: what a data set would be made of, by feature.
    """
    size, start = known.nbytes / 1e6, known.start_ns / 1e9
    yield f"{known.path.name}: {known.duration:.2f} s, {size:.1f} MB, starts at {start:.3f} s"
    topics = plain_table("topic", "type", "messages", "Hz", right=("messages", "Hz"))
    for t in known.topics:
        topics.add_row(t.name, t.type, str(t.count), f"{t.rate:.1f}")
    yield topics
    if known.cameras:
        cameras = plain_table("camera", "", "topic", "pixels", "Hz", right=("Hz",))
        rates = {t.name: f"{t.rate:.1f}" for t in known.topics}
        for name, c in known.cameras.items():
            seen = known.seen.get(name)
            cameras.add_row(name, "image", c.image, pixels(seen and seen.size), rates[c.image])
            cameras.add_row("", "depth", c.depth or "none", pixels(seen and seen.depth_size), rates.get(c.depth, ""))
            cameras.add_row("", "info", c.camera_info, "", rates[c.camera_info])
            if c.depth_info not in ("", c.camera_info):
                cameras.add_row("", "depth's info", c.depth_info, "", rates[c.depth_info])
        yield cameras
    poses = known.poses
    yield f"poses: {poses.source} {poses.topic} in frame {poses.world_frame}" if known.has_poses else "poses: none"
    for name, seen in known.seen.items():
        part = "" if known.looked >= known.duration else f" of the first {known.looked:g} s (--seconds 0 takes all)"
        yield (
            f"camera '{name}': {seen.complete} of {seen.images} images{part} make complete frames;"
            f" {seen.frames} have camera_info, {seen.with_depth} depth, {seen.with_pose} a pose"
        )
    for name, text in known.checks.items():
        yield f"depth and poses of {name}: {text}"
    if guess:
        made = (f"{name}: {topic or 'nothing'}" for name, topic in guess.items())
        yield f"annotate --lerobot would make {', '.join(made)}"
    yield from known.notes
    for problem in known.problems:
        yield Text(f"! {problem}", style="yellow")


def pixels(size: tuple[int, int] | None) -> str:
    return f"{size[0]}x{size[1]}" if size and all(size) else ""


def played(report: PlayReport) -> str:
    """What was played, as a line."""
    line = f"played {report.messages} messages"
    if report.late:
        line += f", {report.late} more than 10 ms late, the worst {1e3 * report.worst:.0f} ms"
    if report.shifts:
        times = "once" if report.shifts == 1 else f"{report.shifts} times"
        line += f"; playing was stopped or too slow {times} and went on {report.shifted:.1f} s later than it was to"
    return line


def count_frames(path: Path) -> int | None:
    """Colour images in a recording, for a progress bar; None where that is not known."""
    from ..recordings import BagError, recording_info

    try:
        known = recording_info(path)
    except (BagError, OSError):
        return None
    counts = {t.name: t.count for t in known.topics}
    return sum(counts[camera.image] for camera in known.cameras.values()) or None


def sample_lines(chosen: Sample, unit: str = "m") -> Iterator[Any]:
    """The selection as a table, best frame first, and its sum; ``unit`` is that of the voxel size."""
    table = plain_table("", "stamp, s", "camera", "gain", "covered", right=("", "stamp, s", "gain", "covered"))
    covered = 0
    for number, frame in enumerate(chosen.frames, 1):
        covered += frame.gain
        share = f"{covered / chosen.voxels_seen:.1%}"
        table.add_row(str(number), f"{frame.stamp_ns / 1e9:.3f}", frame.camera, f"{frame.gain:,}", share)
    yield table
    yield (
        f"{len(chosen.frames)} frames cover {chosen.voxels_covered:,} of {chosen.voxels_seen:,} voxels of"
        f" {chosen.voxel_size:.4g} {unit} ({chosen.voxels_covered / chosen.voxels_seen:.1%})"
    )
    for reason, count in chosen.skipped.most_common(5):
        yield Text(f"! left out {count} frames: {reason}", style="yellow")


def answer_lines(asked: Asked) -> Iterator[Any]:
    """An answer as tables: what it is, and the frames it rests on."""
    answer, known = asked.answer, Table.grid(padding=(0, 2))
    known.add_row("answer", Text(answer.text, style="bold"))
    if not isnan(answer.value):
        known.add_row("value", f"{answer.value:g} {answer.unit}".strip())
    if answer.choice >= 0:
        known.add_row("choice", f"{answer.choice}: {asked.question.options[answer.choice]}")
    if asked.has_vector:
        known.add_row(*vector(asked))
    if answer.reasoning:
        known.add_row("reasoning", Text(answer.reasoning))
    style = "green" if answer.verdict == Verdict.ANSWERED else "yellow"
    known.add_row("verdict", Text(answer.verdict.name.lower().replace("_", " "), style=style))
    known.add_row("confidence", f"{answer.confidence:.2f}")
    known.add_row("seconds", f"{answer.seconds_encode:.2f} to encode, {answer.seconds_generate:.2f} to answer")
    yield known
    evidence = plain_table("", "stamp, s", "camera", right=("", "stamp, s"))
    for number, (stamp, camera) in enumerate(asked.evidence, 1):
        evidence.add_row(str(number), f"{stamp / 1e9:.3f}", camera)
    yield evidence
    if answer.note:
        yield Text(f"! {answer.note}", style="yellow")


def vector(asked: Asked) -> tuple[str, str]:
    """Name and value of a pixel or a vector."""
    x, y, z = asked.answer.vector
    if asked.question.answer_type == AnswerType.PIXEL:
        return "pixel", f"({x:.1f}, {y:.1f}) of frame 1"
    return "vector", f"{x:.3f} m right, {y:.3f} m down, {z:.3f} m forward, seen from frame 1"


def doctor_values(checks: list[Check]) -> dict[str, Any]:
    return {"can_run": can_run(checks), "checks": [{**asdict(check), "ok": check.ok} for check in checks]}


def doctor_table(checks: list[Check]) -> Table:
    table = plain_table("", "what", "found")
    for group, members in groupby(checks, lambda check: check.group):
        table.add_row("", Text(group, style="bold"))
        for check in members:
            mark = (
                Text("yes", style="green") if check.ok else Text("no", style="bold red" if check.needed else "yellow")
            )
            table.add_row(mark, "  " + check.name, check.found)
    return table


def remedies(checks: list[Check]) -> Iterator[str]:
    """What to do about each thing that is missing."""
    return (f"{check.name}: {check.remedy}" for check in checks if not check.ok)
