"""A result as one self-contained HTML page, and as tables on a terminal."""

import base64
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.evenly import evenly
from spatial_mllm_ros.report.templates import template
from spatial_mllm_ros.scene.selection import jpeg

from .answers import read_image
from .result import Case, Result
from .scoring import Estimate
from .tables import Cell, Row, Table

WIDTH = 400  # pixels of an image on the page
PICTURES = 4  # of one case
TEXT = 600  # characters of an answer that are shown
TRUTH, SAID = ((255, 255, 255), (15, 118, 110)), ((255, 255, 255), (194, 98, 10))  # rim and ring, RGB


def render(result: Result) -> str:
    """The page of a result."""
    return template("page.html.j2", "spatial_mllm_training.benchmarks").render(context(result))


def context(result: Result) -> dict[str, Any]:
    """Every value the template shows."""
    main = result.tables[0]
    return {
        "title": result.title,
        "lede": lede(result),
        "facts": [(name, f"{count:,}") for name, count in result.counts.items() if count or name == "questions"],
        "notes": [clean(note) for note in result.notes],
        "tables": [
            {
                "title": table.title,
                "note": table.note,
                "columns": [(name, name in table.against) for name in table.columns],
                "legend": list(table.columns.items()),
                "rows": [row_of(row, table) for row in table.rows],
                "bars": table is main,
            }
            for table in result.tables
        ],
        "problems": [(clean(why), f"{count:,}") for why, count in result.problems.items()],
        "cases": [card(case) for case in result.worst],
        "pixels": any(case.item.kind == "pixel" for case in result.worst),
        "made": f"{result.title}, data {clean(result.data)}, answers of {clean(result.answers)}. Intervals hold 95 %:"
        " Wilson's for rates, a bootstrap of 2000 resamples for other means.",
    }


def lede(result: Result) -> str:
    """The figure that decides, in one sentence."""
    table = result.tables[0]
    column = list(table.columns).index(result.main)
    totals = [row for row in table.rows if row.total] or table.rows
    found = [f"{shown(row.cells[column])[0]} % ({row.name})" for row in totals]
    return f"{clean(result.answers)} on {clean(result.data)}: {result.main} {', '.join(found)}."


def shown(cell: Cell) -> tuple[str, str]:
    """(value, interval) of a cell, times 100."""
    if not isinstance(cell, Estimate):
        return cell or "-", ""
    if isnan(cell.value):
        return "-", ""
    interval = "" if isnan(cell.low) else f"{100 * cell.low:.1f} to {100 * cell.high:.1f}"
    return f"{100 * cell.value:.1f}", interval


def row_of(row: Row, table: Table) -> dict[str, Any]:
    first = row.cells[0]
    known = isinstance(first, Estimate) and not isnan(first.value)
    low, high = (first.low, first.high) if isinstance(first, Estimate) and not isnan(first.low) else (0.0, 0.0)
    return {
        "name": clean(row.name),
        "n": f"{row.n:,}",
        "total": row.total,
        "cells": [(*shown(cell), name in table.against) for name, cell in zip(table.columns, row.cells)],
        "width": round(100 * first.value, 1) if isinstance(first, Estimate) and known else 0,
        "low": round(100 * low, 1),
        "span": round(100 * (high - low), 1),
    }


def card(case: Case) -> dict[str, Any]:
    """One of the worst cases, with its pictures."""
    item, reading = case.item, case.reading
    said = "nothing" if case.prediction is None else case.prediction
    return {
        "id": item.id,
        "kind": item.question_type,
        "question": clean(item.question),
        "options": [clean(option) for option in item.options],
        "expected": clean("; ".join(item.answers)),
        "said": clean(reading.said or str(said))[:TEXT],
        "read": clean(reading.problem or read_as(case)),
        "readable": not reading.problem,
        "images": list(pictures(case)),
        "more": max(0, len(item.images) - PICTURES),
    }


def read_as(case: Case) -> str:
    """What an answer was understood as, and how far it is off."""
    value, item, error = case.reading.value, case.item, case.score["error"]
    if case.reading.refused:
        return "a refusal"
    if item.kind == "choice" and isinstance(value, int):
        return item.options[value]
    if isinstance(value, tuple):
        of_what = " of the width" if item.kind == "pixel" else ""
        return f"[{', '.join(f'{part:g}' for part in value)}], off by {100 * error:.0f} %{of_what}"
    if isinstance(value, float):
        return f"{value:g} {item.unit}, off by {100 * error:.0f} %"
    return str(value)[:TEXT]


def pictures(case: Case) -> Iterator[dict[str, str]]:
    """Images of a case as small data URIs; of a pixel, the true place and the one that was said."""
    item = case.item
    if item.video is not None:
        yield {"uri": uri(middle_frame(item.video)), "name": f"middle of {item.video.name}"}
    for i in evenly(len(item.images), PICTURES):
        path = item.images[i]
        try:
            image = read_image(path)
        except Exception as error:
            yield {"uri": "", "name": clean(str(error))}
            continue
        marks = []
        if item.kind == "pixel" and i == len(item.images) - 1:
            values = (item.truth, TRUTH), (case.reading.value, SAID)
            marks = [(value, colours) for value, colours in values if isinstance(value, tuple)]
        yield {"uri": uri(image, marks), "name": clean(path.name)}


def uri(image: NDArray[np.uint8] | None, marks: Any = ()) -> str:
    """RGB [H, W, 3] as a JPEG data URI of at most WIDTH pixels; rings at (x, y) in thousandths."""
    if image is None:
        return ""
    scale = min(1.0, WIDTH / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for (x, y), colours in marks:
        place = int(x / 1000 * size[0]), int(y / 1000 * size[1])
        for colour, thickness in zip(colours, (6, 3)):
            cv2.circle(small, place, 9, colour, thickness, cv2.LINE_AA)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(small)).decode()


def middle_frame(video: Path) -> NDArray[np.uint8] | None:
    """RGB [H, W, 3]; None where it cannot be decoded."""
    reader = cv2.VideoCapture(str(video))
    reader.set(cv2.CAP_PROP_POS_FRAMES, reader.get(cv2.CAP_PROP_FRAME_COUNT) // 2)
    read, image = reader.read()
    reader.release()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8) if read else None


def clean(text: str) -> str:
    """Text that every page can hold: no lone surrogates, no control characters but line ends."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() or c == "\n" else " " for c in whole)


def lines(result: Result) -> Iterator[Any]:
    """The tables and notes, for a terminal."""
    from rich.text import Text

    from spatial_mllm_ros.cli.show import plain_table

    yield Text(f"{result.title}: {result.answers} on {result.data}", style="bold")
    for table in result.tables:
        columns = [name for metric in table.columns for name in ((metric, "95 %"), (metric,))[metric in table.against]]
        grid = plain_table(table.title, "n", *columns, right=("n", *columns))
        for row in table.rows:
            cells = [shown(cell)[: 1 if name in table.against else 2] for name, cell in zip(table.columns, row.cells)]
            texts = [row.name, f"{row.n:,}", *(text for pair in cells for text in pair)]
            grid.add_row(*(Text(text, style="bold" if row.total else "") for text in texts))
        yield grid
    for note in result.notes:
        yield Text(f"! {note}", style="yellow")
