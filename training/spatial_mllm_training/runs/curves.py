"""Curves of a run: every logged number in ``curves.csv``, and a picture of them, ``curves.png``.

``name/part`` is a line of the panel ``name``: a loss or a reward of one question type. Where there are many of them,
those whose parts begin with the same word have a panel.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any

from spatial_mllm_ros.files import whole, write_whole

SUMMARY = ("train_runtime", "total_flos")  # rows about the whole run, which are no points of a curve
HIDDEN = ("epoch", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "num_tokens", "eval_num_tokens")
COLUMNS = 3
PANEL = (4.2, 2.8)  # inches
MOST = 8  # lines that one panel can show


def write_curves(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes ``curves.csv`` and ``curves.png`` of a run.

    Args:
        history: what was logged, each with its ``step``; numbers count, the rest is left out.
    """
    rows = points(history)
    names = ["step", *sorted({name for row in rows for name in row} - {"step"})]
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(folder / "curves.csv", text.getvalue())
    if rows:
        _draw(rows, folder / "curves.png")


def points(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The numbers of what was logged, one row a step, in the order of steps."""
    rows: dict[int, dict[str, float]] = {}
    for logged in history:
        if "step" in logged and not any(name in logged for name in SUMMARY):
            numbers = {name: value for name, value in logged.items() if isinstance(value, Real) and name != "step"}
            rows.setdefault(logged["step"], {"step": logged["step"]}).update(numbers)  # type: ignore[arg-type]
    return [rows[step] for step in sorted(rows)]


def _draw(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """One panel for each name, one line for each part of it."""
    from matplotlib.figure import Figure  # no window, no state: only a picture
    from matplotlib.ticker import MaxNLocator

    panels = arranged([name for name in dict.fromkeys(chain(*rows)) if name != "step" and name not in HIDDEN])
    if not panels:
        return
    lines = -(-len(panels) // COLUMNS)
    columns = min(COLUMNS, len(panels))
    figure = Figure((PANEL[0] * columns, PANEL[1] * lines), layout="constrained")
    for i, (panel, names) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, i + 1)
        axes.set_title(panel, fontsize=10)
        for name in names:
            known = [(row["step"], row[name]) for row in rows if name in row]
            part = name.partition("/")[2].removeprefix(f"{panel.partition(': ')[2]}_")
            thick = 1.0 if part else 2.0
            axes.plot(*zip(*known), label=part or "all", linewidth=thick, marker="." if len(known) < 20 else "")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    with whole(path) as beside:
        figure.savefig(beside, dpi=110)


def arranged(names: Sequence[str]) -> dict[str, list[str]]:
    """Title of each panel -> its lines; one that is alone gives its name."""
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(name.partition("/")[0], []).append(name)
    for title, lines in list(panels.items()):
        if len(lines) > MOST:
            panels[title] = [name for name in lines if "/" not in name]
            for name in sorted(set(lines) - set(panels[title])):
                panels.setdefault(f"{title}: {name.partition('/')[2].partition('_')[0]}", []).append(name)
    alone = {title: lines[0].replace("/", ": ") for title, lines in panels.items() if len(lines) == 1}
    return {alone.get(title, title): lines for title, lines in panels.items() if lines}
