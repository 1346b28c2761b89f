"""A page to look at generated questions with one's own eyes: images, dots, answers, and what balance did."""

import base64
import hashlib
import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_mllm_ros.files import write_whole
from spatial_mllm_ros.report.templates import template
from spatial_mllm_ros.scene.selection import jpeg

from .dots import is_drawn
from .histograms import bars
from .item import LETTERS, Point, bad
from .stats import Statistics, in_order, read_records, statistics

MOST = 50  # records of each type on one page
WIDEST = 960  # pixels; wider images are made smaller on the page


def show(folder: Path, out: Path, count: int = 3, seed: int = 0) -> None:
    """Write one HTML page about a generated folder; nothing on it is loaded from elsewhere.

    Args:
        count: records of each question type, 1 to MOST; ``seed`` draws others.

    Raises:
        SpatialError: the folder was not generated, or a file in it is damaged. OSError: the page cannot be written.
    """
    if not 1 <= count <= MOST:
        raise bad(f"{count} records of each type: expected 1 to {MOST}")
    known = statistics(folder)
    page = template("show.html.j2", "spatial_mllm_training.multispa")
    write_whole(out, page.render(context(known, drawn(folder, count, seed), folder)))


def drawn(folder: Path, count: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Question type -> ``count`` of its records, the same for the same seed; only these are kept in memory."""
    best: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
    for record in read_records(folder, images=True):
        chance = int.from_bytes(hashlib.sha256(f"{seed}:{record['id']}".encode()).digest()[:8], "big")
        heap = best.setdefault(record["question_type"], [])
        if len(heap) < count or -chance > heap[0][0]:
            (heapq.heappush if len(heap) < count else heapq.heapreplace)(heap, (-chance, record["id"], record))
    return {kind: [record for _, _, record in sorted(best[kind], reverse=True)] for kind in in_order(best)}


def context(known: Statistics, records: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, Any]:
    """Every value the template shows."""
    return {
        "title": folder.resolve().name,
        "lede": f"{some(known.total, 'question')} of {some(len(known.records), 'type')}"
        f" about {some(len(known.scenes), 'scene')}.{'' if known.finished else ' The run is not finished.'}",
        "shares": any(known.before.values()),
        "facts": [("questions", f"{known.total:,}")]
        + [(split, f"{sum(c.get(split, 0) for c in known.records.values()):,}") for split in known.splits]
        + [("question types", str(len(known.records))), ("scenes", f"{len(known.scenes):,}")]
        + [("candidates", f"{sum(known.candidates.values()):,}")],
        "columns": known.columns(),
        "rows": list(known.rows()),
        "left_out": [
            (title, [(f"{count:,}", why) for why, count in counts.items()])
            for title, counts in (("scenes", known.reasons), ("frames", known.dropped), ("faults", known.faults))
            if counts
        ],
        "skipped": known.skipped,
        "kinds": [
            {
                "name": kind,
                "count": some(sum(known.records[kind].values()), "question"),
                "histograms": [*histograms(known, kind)],
                "cards": [card(record, folder) for record in chosen],
            }
            for kind, chosen in records.items()
        ],
    }


def some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def histograms(known: Statistics, kind: str) -> Iterator[tuple[str, str]]:
    """(name, SVG) of a question type's histograms, and of its answers where they are not one of these."""
    before, after = known.before.get(kind, {}), known.after.get(kind, {})
    for name in sorted(before.keys() | after.keys()):
        yield name, bars(before.get(name, {}), after.get(name, {}), f"{name} of {kind}, before and after balance")
    if known.answers[kind] not in after.values():
        yield "answers", bars({}, known.answers[kind], f"answers of {kind}")


def card(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A record as it is shown."""
    meta, said = record["meta"], record["conversations"]
    question, answer = (said[i]["value"].replace("<image>", "").strip() for i in (0, 1))
    found = [*rings(record)]
    return {
        "id": record["id"],
        "question": question,
        "answer": answer,
        "truth": truth(record),
        "options": [option if isinstance(option, str) else str(option) for option in meta.get("options") or ()],
        "facts": list(about(record)),
        "images": [
            picture(*stored(folder, image), [ring for at, *ring in found if at == i])
            for i, image in enumerate(record["images"])
        ],
    }


def about(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of a record besides its question and answer."""
    meta = record["meta"]
    yield "scene", meta["scene"]
    yield "split", meta["split"]
    if stamps := meta.get("stamps_ns"):
        yield (
            "seconds since the first image" if len(stamps) > 1 else "stamp",
            ", ".join(
                f"{(stamp - stamps[0]) / 1e9:+.2f}" if len(stamps) > 1 else f"{stamp / 1e9:.3f} s" for stamp in stamps
            ),
        )
    for name in ("referring", "output", "label"):
        if meta.get(name) and name not in meta.get("bins", {}):
            yield name, str(meta[name])
    if meta.get("pixels"):
        yield "pixels", ", ".join(f"[{u}, {v}]" for u, v in meta["pixels"])
    yield from ((name, str(where)) for name, where in meta.get("bins", {}).items())


def truth(record: dict[str, Any]) -> str:
    """gt_value with its unit."""
    value, kind = record["gt_value"], record["question_type"]
    if isinstance(value, list):
        return f"[{', '.join(f'{v:g}' for v in value)}] mm right, down, forward"
    return value if isinstance(value, str) else f"{value:g} {'degrees' if kind.endswith('degrees') else 'mm'}"


def rings(record: dict[str, Any]) -> Iterator[tuple[int, float, float, str, str]]:
    """(image, u, v, name, style) of what is meant but not drawn on the stored images; whole pixels have whole u, v."""
    meta = record["meta"]
    referring, output = meta.get("referring", ""), meta.get("output", "")
    pixels: list[tuple[int, list[int]]] = [*zip(meta.get("pixel_images") or (), meta.get("pixels") or ())]
    letters = [name for name in meta.get("options") or () if name in LETTERS][: len(pixels)]
    for (image, (u, v)), name in zip(pixels, [""] * (len(pixels) - len(letters)) + letters):
        if not is_drawn(Point(image, u, v, name), referring, output):
            yield image, u, v, name, "answer" if image and output == "pixel" else "meant"
    if output == "pixel" and not any(image for image, _ in pixels) and record["gt_value"].startswith("["):
        (x, y), (width, height) = json.loads(record["gt_value"]), meta["image_size"]
        # The middle of the thousandth, between pixel centres.
        yield 1, (x + 0.5) / 1000 * width - 0.5, (y + 0.5) / 1000 * height - 0.5, "", "answer"


def stored(folder: Path, image: str | dict[str, Any]) -> tuple[str, bytes]:
    """Path and content of a record's image, which is empty where there is none in the folder."""
    if isinstance(image, dict):
        return image["path"], image["bytes"] or b""
    file = (folder / image).resolve()
    return image, file.read_bytes() if file.is_relative_to(folder.resolve()) and file.is_file() else b""


def picture(path: str, data: bytes, found: list[list[Any]]) -> dict[str, Any]:
    """An image as data URI, as it is unless it is very wide, and the rings over it in its pixels."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        return {"uri": "", "path": path}
    height, width = image.shape[:2]
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    if width > WIDEST:
        size = (WIDEST, round(height * WIDEST / width))
        data, kind = jpeg(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)), "jpeg"
    return {
        "uri": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
        "path": path,
        "width": width,
        "height": height,
        "radius": round(0.02 * max(width, height), 1),
        # Pixel centres are whole numbers; an SVG's begin half a pixel before.
        "rings": [{"x": u + 0.5, "y": v + 0.5, "name": name, "style": style} for u, v, name, style in found],
    }
