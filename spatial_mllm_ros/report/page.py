"""The analysis as one self-contained HTML page: images and charts are inside it, nothing is loaded from elsewhere."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..motion.rewards import Reward
from .analysis import Analysis, Coverage, Selected, Series
from .answers import answer_card
from .charts import Plot, map_svg, number
from .pictures import data_uri
from .templates import template

AFTER_LOSS_NS = 1_000_000_000  # shown of a target that was lost for good
NO_COVERAGE = "no frame has both depth and a camera pose, and coverage needs both."


def render(analysis: Analysis, title: str) -> str:
    """The page of an analysis under a title."""
    return template("report.html.j2").render(context(analysis, title))


def context(a: Analysis, title: str) -> dict[str, Any]:
    """Every value the template shows."""
    covered = bool(a.selected)
    start, end = a.stamps_ns
    return {
        "title": title,
        "lede": lede(a),
        "facts": list(facts(a)),
        "notes": a.notes,
        "gallery": [card(i + 1, s, a) for i, s in enumerate(a.selected)],
        "answers": [answer_card(asked, a.shown, start) for asked in a.asked],
        "many_cameras": len(a.cameras) > 1,
        "frames": number(a.frames),
        "voxel_size": f"{a.config.coverage.voxel_size:g} m",
        "world": a.world_frame,
        "up": a.floor.up,
        "no_coverage": NO_COVERAGE,
        "map_seen": map_svg(a.floor, "seen", a.frames) if covered else "",
        "map_covered": map_svg(a.floor, "covered", a.frames) if covered else "",
        "coverage_chart": coverage_chart(a) if covered else "",
        "coverage_text": coverage_text(a.coverage, a.config.coverage.frames) if covered else "",
        "series": [series_card(s, start) for s in a.series],
        "timing": timing_rows(a),
        "timing_text": timing_text(a),
        "made": f"Stamps {start / 1e9:.3f} s to {end / 1e9:.3f} s. Lengths in metres, times in seconds.",
    }


def lede(a: Analysis) -> str:
    seconds = (a.stamps_ns[1] - a.stamps_ns[0]) / 1e9
    if not a.selected:
        return f"{number(a.frames)} frames over {seconds:.1f} s, without the depth and poses that coverage needs."
    share = a.voxels_covered / max(1, a.voxels_seen)
    streaming, uniform = ratios(a.coverage)
    return (
        f"{len(a.selected)} of {number(a.frames)} frames cover {share:.0%} of what the cameras saw in {seconds:.1f} s:"
        f" {streaming:.3f} of what offline greedy reaches with all frames at hand. Uniform sampling reaches"
        f" {uniform:.3f}."
    )


def facts(a: Analysis) -> Iterator[tuple[str, str]]:
    yield "duration", f"{(a.stamps_ns[1] - a.stamps_ns[0]) / 1e9:.1f} s"
    yield "frames", number(a.frames)
    yield "cameras", str(len(a.cameras))
    yield "selected (k)", f"{len(a.selected)} ({a.config.coverage.frames})"
    yield "voxel size", f"{a.config.coverage.voxel_size:g} m"
    yield "voxels seen", number(a.voxels_seen)
    yield "voxels covered", number(a.voxels_covered)


def card(index: int, s: Selected, a: Analysis) -> dict[str, Any]:
    largest = max(x.gain for x in a.selected)
    return {
        "number": index,
        "time": f"{(s.frame.stamp_ns - a.stamps_ns[0]) / 1e9:.2f} s",
        "camera": s.frame.camera.name,
        "gain": number(s.gain),
        "unique": number(s.unique),
        "share": round(100 * s.gain / largest, 1),
        "image": data_uri(s.frame, 440 if len(a.selected) <= 32 else 220),
    }


def ratios(c: Coverage) -> tuple[float, float]:
    """Final coverage of the streaming and of the uniform selection, as shares of offline greedy's."""
    best = max(1, c.greedy[-1])
    return c.streaming[-1] / best, c.uniform[-1] / best


def coverage_text(c: Coverage, k: int) -> str:
    streaming, uniform = ratios(c)
    return (
        f"With k = {k}, streaming ends at {number(c.streaming[-1])} voxels, {streaming:.3f} of the"
        f" {number(c.greedy[-1])} of offline greedy; uniform sampling covers {number(c.uniform[-1])}, {uniform:.3f}."
    )


def coverage_chart(a: Analysis) -> str:
    c, start = a.coverage, a.stamps_ns[0]
    time, checkpoints = seconds_since(c.stamps_ns, start), seconds_since(c.baseline_ns, start)
    plot = Plot((0, time[-1]), (0, max(c.seen) * 1.05), height=340, x_label="time, s", y_label="voxels")
    plot.area(time, c.seen, "seen")
    plot.line(checkpoints, c.uniform, "amber", "uniform sampling")
    plot.line(time, c.streaming, "teal thick", "streaming selection")
    plot.line(checkpoints, c.greedy, "ink long", "offline greedy")
    plot.marks(seconds_since([s.frame.stamp_ns for s in a.selected], start), "pick")
    return plot.svg("Voxels covered over time by streaming, uniform and offline greedy selection")


def series_card(s: Series, start_ns: int) -> dict[str, Any]:
    """A target's charts: distance and path over time, below them the reward of each frame."""
    shown = {"label": s.target.label, "picture": data_uri(s.frame, 360, s.target.roi) if s.target.roi else ""}
    if not s.rewards:
        return {**shown, "text": s.failed or "No frame followed it."}
    c = curves(s, start_ns)
    judged = by_model(s, c)
    metres = np.array([r.distance for r in judged])
    top = np.nanmax([np.nanmax(v, initial=0.0) for v in (c.distance, c.path, c.truth, metres)] + [0.01])
    large = Plot((c.time.min(), c.time.max()), (0, 1.08 * top), height=240, y_label="metres")
    large.spans(c.time, ~c.valid, "lost")
    large.line(c.time, c.path, "violet", "path length")
    large.line(c.time, c.distance, "teal thick", "distance")
    large.line(c.time, c.truth, "ink long", "true distance")
    large.dots(seconds_since([r.stamp_ns for r in judged], start_ns), metres, "judged", "distance by the model")
    extent = 1.1 * np.nanmax(np.abs(c.reward), initial=1.0)
    small = Plot((c.time.min(), c.time.max()), (-extent, extent), height=130, x_label="time, s", y_label="reward, mm")
    small.spans(c.time, ~c.valid, "lost")
    small.line(c.time, c.reward, "amber", "reward")
    truth = [("l-ink l-long", "true distance (simulated)")] if s.track else []
    model = [("l-judged", "distance by the model")] if s.judged else []
    return {
        **shown,
        "text": f"{series_text(s, c)}{judged_text(s, c)}",
        "chart": large.svg(f"Distance and path length of {s.target.label}"),
        "reward_chart": small.svg(f"Reward of {s.target.label}"),
        "legend": [
            ("l-teal", "distance"),
            *truth,
            *model,
            ("l-violet", "path length"),
            ("l-amber", "reward of each frame"),
            ("l-lost", "not valid"),
        ],
    }


@dataclass(frozen=True)
class Curves:
    """Rewards as arrays [T]: seconds, metres, reward in millimetres; NaN where not valid or, for truth, not known."""

    time: NDArray[np.float64]
    valid: NDArray[np.bool_]
    distance: NDArray[np.float64]
    path: NDArray[np.float64]
    reward: NDArray[np.float64]
    truth: NDArray[np.float64]
    start_ns: int
    until_ns: int


def curves(s: Series, start_ns: int) -> Curves:
    """The rewards until shortly after they were last valid."""
    last = max((i for i, r in enumerate(s.rewards) if r.valid), default=len(s.rewards) - 1)
    until = s.rewards[last].stamp_ns + AFTER_LOSS_NS
    rewards = [r for r in s.rewards if r.stamp_ns <= until]
    stamps = [r.stamp_ns for r in rewards]
    valid = np.array([r.valid for r in rewards])
    distance, path, reward = (
        np.where(valid, [getattr(r, name) for r in rewards], np.nan) for name in ("distance", "path_length", "reward")
    )
    truth = (
        s.track.distance_since(rewards[0].reference_ns, np.array(stamps)) if s.track else np.full(len(stamps), np.nan)
    )
    return Curves(seconds_since(stamps, start_ns), valid, distance, path, 1e3 * reward, truth, start_ns, until)


def series_text(s: Series, c: Curves) -> str:
    share = sum(r.valid for r in s.rewards) / len(s.rewards)
    reasons = Counter(r.reason for r in s.rewards if not r.valid and r.reason)
    why = f" Otherwise: {'; '.join(reason for reason, _ in reasons.most_common(2))}." if reasons else ""
    if not share:
        return f"Never valid.{why}"
    last = np.flatnonzero(c.valid)[-1]
    text = f"Ends {c.distance[last]:.3f} m from its start after a path of {c.path[last]:.3f} m;"
    text += f" valid in {share:.0%} of its frames.{why}"
    if s.track:
        median, p95 = np.percentile(1e3 * np.abs(c.distance - c.truth)[c.valid], (50, 95))
        text += f" Against the true track: median error {median:.1f} mm, 95 % below {p95:.1f} mm."
    return text


def by_model(s: Series, c: Curves) -> list[Reward]:
    """What the model judged within the time that is shown, where it is sure enough."""
    return [r for r in s.judged if r.valid and r.stamp_ns <= c.until_ns]


def judged_text(s: Series, c: Curves) -> str:
    """How well the model judged, against the truth where that is known, else against geometry."""
    if not s.judged:
        return ""
    valid = by_model(s, c)
    text = f" The model was asked {len(s.judged)} times and was sure enough {sum(r.valid for r in s.judged)} times"
    if not valid:
        return f"{text}."
    seconds = seconds_since([r.stamp_ns for r in valid], c.start_ns)
    true = c.truth if s.track else c.distance
    known = np.isfinite(true)
    if not known.any():
        return f"{text}."
    off = 1e3 * np.median(np.abs([r.distance for r in valid] - np.interp(seconds, c.time[known], true[known])))
    return f"{text}: median error {off:.0f} mm against the {'true track' if s.track else 'geometry'}."


def timing_rows(a: Analysis) -> list[dict[str, Any]]:
    rows = {stage: np.percentile(values, (50, 95)) for stage, values in a.timing.items()}
    longest = max((p95 for _, p95 in rows.values()), default=1.0)
    return [
        {
            "stage": stage,
            "median": f"{median:.2f}",
            "p95": f"{p95:.2f}",
            "p95_width": round(100 * p95 / longest, 1),
            "median_width": round(100 * median / max(p95, 1e-9), 1),
        }
        for stage, (median, p95) in rows.items()
    ]


def timing_text(a: Analysis) -> str:
    total = sum(values.sum() for values in a.timing.values()) / 1e3
    seconds = (a.stamps_ns[1] - a.stamps_ns[0]) / 1e9
    speed = f", {seconds / total:.1f} times as fast as it was recorded" if total > 0 and seconds > 0 else ""
    return f"Per frame, on one core. All stages together took {total:.1f} s for {seconds:.1f} s of recording{speed}."


def seconds_since(stamps_ns: list[int], start_ns: int) -> np.ndarray:
    return (np.asarray(stamps_ns, np.int64) - start_ns) / 1e9
