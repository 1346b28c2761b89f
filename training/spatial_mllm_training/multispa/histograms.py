"""Histograms before and after balance, as inline SVG whose colours come from the page's style sheet."""

from html import escape

import numpy as np

from spatial_mllm_ros.report.charts import svg

from .stats import number_of

BINS = 40  # of a histogram that are drawn
LETTER = 7  # pixels of a letter below or beside them
FILLED = 80  # a histogram of whole numbers shows its empty bins where it spans at most so many


def bars(before: dict[str, int], after: dict[str, int], description: str) -> str:
    """Shares of the bins before balance (wide, pale) and after it (narrow, strong) as SVG."""
    names = bins_of(before, after)
    sums = max(1, sum(before.values())), max(1, sum(after.values()))
    pairs = [(before.get(name, 0), after.get(name, 0)) for name in names]
    top = max((count / total for pair in pairs for count, total in zip(pair, sums)), default=0) or 1.0
    width, height, left, floor = 420, 150, 42, 126
    step = min(64.0, (width - left) / max(1, len(names)))
    wide = max((len(name) for name in names), default=1) * LETTER + 8
    if wide > step and any(number_of(name) is None for name in names):
        return lying_bars(names, pairs, sums, top, description)
    parts = [f'<text class="tick" x="{left - 6}" y="16" text-anchor="end">{100 * top:.0f} %</text>']
    parts.append(f'<path class="grid" d="M{left} 12H{width}"/>')
    every = int(np.ceil(wide / step))
    for i, (name, pair) in enumerate(zip(names, pairs)):
        for count, total, style, share in zip(pair, sums, ("before", "after"), (0.9, 0.5)):
            tall = (floor - 12) * count / total / top
            x = left + step * (i + (1 - share) / 2)
            size = f'x="{x:.1f}" y="{floor - tall:.1f}" width="{step * share:.1f}" height="{tall:.1f}"'
            parts.append(f'<rect class="{style}" {size}><title>{escape(name)}: {count:,} {style}</title></rect>')
        if i % every == 0:
            x, text = left + step * (i + 0.5), escape(name)
            parts.append(f'<text class="tick" x="{x:.1f}" y="{floor + 17}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{left} {floor}H{width}"/>')
    return svg(width, height, parts, description)


def lying_bars(
    names: list[str], pairs: list[tuple[int, int]], sums: tuple[int, int], top: float, description: str
) -> str:
    """The same bars from left to right, for names that do not fit below them."""
    width, row = 420, 18
    left = min(200, max(len(name) for name in names) * LETTER + 8)
    parts = []
    for i, (name, pair) in enumerate(zip(names, pairs)):
        middle = row * (i + 0.5)
        short = escape(name if len(name) * LETTER < left else name[: left // LETTER - 1] + "…")
        parts.append(f'<text class="tick" x="{left - 6}" y="{middle + 4:.1f}" text-anchor="end">{short}</text>')
        for count, total, style, tall in zip(pair, sums, ("before", "after"), (14, 7)):
            size = f'x="{left}" y="{middle - tall / 2:.1f}" height="{tall}"'
            long = (width - left) * count / total / top
            title = f"<title>{escape(name)}: {count:,} {style}</title>"
            parts.append(f'<rect class="{style}" {size} width="{long:.1f}">{title}</rect>')
    parts.append(f'<path class="axis" d="M{left} 0V{row * len(names)}"/>')
    return svg(width, row * len(names), parts, description)


def bins_of(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Bins to draw: whole numbers without gaps where that is short, else the fullest ones."""
    names = list(dict.fromkeys([*before, *after]))
    if all(name.lstrip("-").isdigit() for name in names) and names:
        values = sorted(int(name) for name in names)
        gaps = values[-1] - values[0] < min(FILLED, 3 * len(values))
        names = [str(value) for value in (range(values[0], values[-1] + 1) if gaps else values)]
    if len(names) <= (FILLED if all(number_of(name) is not None for name in names) else BINS):
        return names
    fullest = set(sorted(names, key=lambda name: -max(before.get(name, 0), after.get(name, 0)))[:BINS])
    return [name for name in names if name in fullest]
