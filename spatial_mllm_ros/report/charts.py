"""Charts as inline SVG; colours come from the page's style sheet, so one drawing serves light and dark."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .floor import FloorMap, Frustum

MAX_POINTS = 600


class Plot:
    """Lines over a shared x axis. Ranges are data units; everything drawn is clipped to them by the caller's choice."""

    def __init__(
        self,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        *,
        height: int,
        x_label: str = "",
        y_label: str = "",
    ):
        self.width, self.height = 860, height
        self.left, self.right, self.top, self.floor = 58, 12, 12, height - (44 if x_label else 24)
        self.x_range, self.y_range = widen(x_range), widen(y_range)
        self._parts: list[str] = []
        self._axes(x_label, y_label)

    def x(self, values: ArrayLike) -> NDArray[np.float64]:
        low, high = self.x_range
        return self.left + (np.asarray(values, float) - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, values: ArrayLike) -> NDArray[np.float64]:
        low, high = self.y_range
        parts = (np.asarray(values, float) - low) / (high - low)
        return self.floor - parts * (self.floor - self.top)

    def _axes(self, x_label: str, y_label: str) -> None:
        end, floor = self.width - self.right, self.floor
        for tick in ticks(*self.y_range, 5):
            y = self.y(tick)
            self._parts.append(f'<path class="grid" d="M{self.left} {y:.1f}H{end}"/>')
            self._parts.append(text("tick", self.left - 8, f"{y + 4:.1f}", "end", number(tick)))
        for tick in ticks(*self.x_range, 8):
            x = self.x(tick)
            self._parts.append(f'<path class="axis" d="M{x:.1f} {floor}v5"/>')
            self._parts.append(text("tick", f"{x:.1f}", floor + 18, "middle", number(tick)))
        self._parts.append(f'<path class="axis" d="M{self.left} {floor}H{end}"/>')
        if x_label:
            self._parts.append(text("label", end, self.height - 6, "end", x_label))
        if y_label:
            middle = f"{(self.top + floor) / 2:.0f}"
            self._parts.append(text("label", 14, middle, "middle", y_label, f' transform="rotate(-90 14 {middle})"'))

    def line(self, x: ArrayLike, y: ArrayLike, style: str, title: str = "") -> None:
        """A polyline, broken where y is NaN; thinned to what a screen can show."""
        x, y = thin(np.asarray(x, float)), thin(np.asarray(y, float))
        runs = np.split(np.arange(len(y)), np.flatnonzero(~np.isfinite(y)))
        pieces = []
        for run in runs:
            run = run[np.isfinite(y[run])]
            if run.size:
                points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(self.x(x[run]), self.y(y[run]), strict=True))
                pieces.append("M" + points + ("h.01" if run.size == 1 else ""))
        self._parts.append(f'<path class="line {style}" d="{"".join(pieces)}"><title>{escape(title)}</title></path>')

    def dots(self, x: ArrayLike, y: ArrayLike, style: str, title: str = "") -> None:
        """A dot for each pair."""
        for px, py in zip(self.x(x), self.y(y), strict=True):
            self._parts.append(
                f'<circle class="{style}" cx="{px:.1f}" cy="{py:.1f}" r="4.5"><title>{escape(title)}</title></circle>'
            )

    def area(self, x: ArrayLike, y: ArrayLike, style: str) -> None:
        """The surface between a line and the bottom of the chart."""
        x, y = self.x(thin(np.asarray(x, float))), self.y(thin(np.asarray(y, float)))
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x, y, strict=True))
        d = f"M{x[0]:.1f},{self.floor} {points} {x[-1]:.1f},{self.floor}Z"
        self._parts.append(f'<path class="area {style}" d="{d}"/>')

    def spans(self, x: NDArray[np.float64], on: NDArray[np.bool_], style: str) -> None:
        """Shade the stretches of x where ``on`` holds."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(int)))
        for first, last in edges.reshape(-1, 2):
            a, b = self.x(x[first]), self.x(x[min(last, len(x) - 1)])
            size = f'width="{max(b - a, 1):.1f}" height="{self.floor - self.top}"'
            self._parts.append(f'<rect class="{style}" x="{a:.1f}" y="{self.top}" {size}/>')

    def marks(self, x: ArrayLike, style: str) -> None:
        """Short strokes on the x axis."""
        d = "".join(f"M{px:.1f} {self.floor}v-7" for px in self.x(x))
        self._parts.append(f'<path class="{style}" d="{d}"/>')

    def svg(self, description: str) -> str:
        return svg(self.width, self.height, self._parts, description)


def text(style: str, x: object, y: object, anchor: str, words: str, more: str = "") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def map_svg(floor: FloorMap, show: str, frames: int, width: int = 640) -> str:
    """The scene from above, or an empty string where no voxel was seen.

    Args:
        show: ``seen`` shades columns by the share of frames that saw them; ``covered`` tells those the selected
            frames cover from those they miss, with the views of these frames. The floor is paler than what is on it.
        frames: number of frames in all.
    """
    columns, voxel_size, paths, frusta = floor.columns, floor.voxel_size, floor.paths, floor.frusta
    if columns is None:
        return ""
    ends = [*paths.values()] + [np.array([f.apex, f.left, f.right]) for f in frusta if show == "covered"]
    points = np.concatenate([columns.cells * voxel_size, (columns.cells + 1) * voxel_size, *ends])
    low, high = points.min(axis=0) - 2 * voxel_size, points.max(axis=0) + 2 * voxel_size
    scale = min(width / (high[0] - low[0]), width / (high[1] - low[1]))
    size = (high - low) * scale

    def place(xy: ArrayLike) -> NDArray[np.float64]:
        xy = np.asarray(xy, float).reshape(-1, 2)
        return np.stack([(xy[:, 0] - low[0]) * scale, size[1] - (xy[:, 1] - low[1]) * scale], axis=1)

    tall = np.digitize(columns.heights, (3, 8))
    if show == "seen":
        # Shares of frames, a class for each factor of about two.
        style = np.digitize(columns.seen_by / max(1, frames), (0.03, 0.08, 0.2, 0.45))
        names = [f"seen{i}" for i in range(5)]
    else:
        style = (columns.covered < 0.5).astype(int)
        names = ["covered", "missed"]
    parts = []
    for kind, height in np.ndindex(len(names), 3):
        cells = columns.cells[(style == kind) & (tall == height)]
        if len(cells):
            parts.append(f'<path class="cell {names[kind]} tall{height}" d="{cells_path(cells, voxel_size, place)}"/>')
    for name, path in paths.items():
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in place(thin(path)))
        parts.append(f'<polyline class="path" points="{points}"><title>path of {escape(name)}</title></polyline>')
        x, y = place(path[0])[0]
        parts.append(
            f'<circle class="start" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>start of {escape(name)}</title></circle>'
        )
    if show == "covered":
        # The numbers stand where views are farther apart: at the cameras, or at what they look at.
        apexes, ends = (np.array([getattr(f, name) for f in frusta]) for name in ("apex", "end"))
        spots = apexes if apexes.std() >= ends.std() else ends
        parts += [frustum_svg(f, spot, place) for f, spot in zip(frusta, spots, strict=True)]
    parts.append(scale_bar(size, scale))
    what = "how often each part was seen" if show == "seen" else "parts covered and missed by the selected frames"
    return svg(size[0], size[1] + 26, parts, f"Map from above: {what}, with the camera path")


def cells_path(cells: NDArray[np.int64], voxel_size: float, place) -> str:
    """One path of squares, neighbours in a row joined."""
    cells = cells[np.lexsort((cells[:, 0], cells[:, 1]))]
    new = np.concatenate([[True], (np.diff(cells[:, 0]) != 1) | (np.diff(cells[:, 1]) != 0)])
    first = np.flatnonzero(new)
    runs = np.diff(np.append(first, len(cells)))
    corners = place((cells[first] + [0, 1]) * voxel_size)
    side = float(np.abs(place([voxel_size, 0]) - place([0, 0]))[0, 0])
    over = 0.6  # squares overlap a little, else screens show hairlines between them
    return "".join(
        f"M{x:.1f} {y:.1f}h{n * side + over:.1f}v{side + over:.1f}h-{n * side + over:.1f}z"
        for (x, y), n in zip(corners, runs, strict=True)
    )


def frustum_svg(view: Frustum, spot: NDArray[np.float64], place) -> str:
    (ax, ay), (lx, ly), (rx, ry), (x, y) = place([view.apex, view.left, view.right, spot])
    return (
        f'<g class="view view-{view.number}"><title>selected frame {view.number}</title>'
        f'<path d="M{ax:.1f} {ay:.1f}L{lx:.1f} {ly:.1f}L{rx:.1f} {ry:.1f}Z"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{view.number}</text></g>'
    )


def scale_bar(size: NDArray[np.float64], scale: float) -> str:
    metres = next((m for m in (10, 5, 2, 1, 0.5, 0.2, 0.1) if m * scale < size[0] / 3), 0.05)
    y, length = size[1] + 16, metres * scale
    return (
        f'<path class="axis" d="M4 {y - 4:.1f}v8m0 -4h{length:.1f}m0 -4v8"/>'
        f'<text class="tick" x="{length + 12:.1f}" y="{y + 4:.1f}">{number(metres)} m</text>'
    )


def svg(width: float, height: float, parts: Sequence[str], description: str) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(description)}"'
    return f"<svg {box}>{''.join(parts)}</svg>"


def ticks(low: float, high: float, about: int) -> NDArray[np.float64]:
    """Round values (1, 2, 5 times a power of ten) within a range, roughly ``about`` of them."""
    raw = (high - low) / about
    power = 10 ** np.floor(np.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    return np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step


def widen(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    return (low, high) if high - low > 1e-9 else (low, low + 1)


def thin(values: NDArray) -> NDArray:
    """Every n-th value, so that at most MAX_POINTS remain, and always the last."""
    every = -(-len(values) // MAX_POINTS)
    return values if every <= 1 else np.concatenate([values[:-1:every], values[-1:]])


def number(value: float) -> str:
    """A short number with thousands separated."""
    value = value + 0.0  # no minus zero
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"
