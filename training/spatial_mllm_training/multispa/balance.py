"""Which candidates become questions, so that no answer, distance or direction is asked more often than another.

The recipe is that of Xu et al., "Multi-SpatialMLLM", 2025, section 3.2: every bin of a histogram gets the same quota,
the smallest bin first, and what it cannot fill goes to the larger ones. A candidate has bins in several histograms
(overlap, distance, answer ...); all of them are balanced at once. The order of rows does not matter.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spatial_mllm_ros.compiled import compiled

from .item import NOT_OBSERVED, bad

ROUNDS = 200  # of fitting, at most; each costs a pass over the cells, not over the rows
SETTLED = 0.01  # rows that a round of fitting still moves when it may stop

Cell = tuple[str, dict[str, Any]]


def choose(table: pa.Table, per_type: int | None, not_observed: float, seed: int) -> NDArray[np.int64]:
    """Rows to keep: ``per_type`` of every question type, balanced, and the given share of refusals.

    Rows of one type with the same bins are a cell. How many each cell gives is worked out by :func:`cell_quotas`; which
    ones is drawn by a hash of the seed and the row's id.

    Args:
        table: columns ``id`` (string, unique), ``question_type`` (string) and ``bins`` (string, a JSON object: name of
            a histogram -> bin).
        per_type: at most so many of each type; None keeps all.
        not_observed: share among all of the questions that the images do not answer, 0 to below 1; less where there
            are not enough of them. Where there are no others, they are a type like others.
        seed: another one draws other rows from the same cells.

    Returns:
        Row numbers int64, ascending.
    """
    if not 0 <= not_observed < 1:
        raise bad(f"share of not observed is {not_observed}: expected 0 to below 1")
    if per_type is not None and per_type < 1:
        raise bad(f"{per_type} questions per type: expected at least 1")
    cell_of_row, cells = _cells(table)
    counts = np.bincount(cell_of_row, minlength=len(cells))
    share = np.zeros(len(cells), np.int64)
    types = sorted({kind for kind, _ in cells}, key=lambda kind: (kind == NOT_OBSERVED, kind))
    for kind in types:
        there = [i for i, cell in enumerate(cells) if cell[0] == kind]
        wanted = available = int(counts[there].sum())
        if kind == NOT_OBSERVED and len(types) > 1:
            wanted = round(share.sum() * not_observed / (1 - not_observed))
        elif per_type is not None:
            wanted = per_type
        share[there] = cell_quotas(counts[there], _codes([cells[i][1] for i in there]), min(wanted, available))
    return _drawn(cell_of_row, counts, share, table["id"], seed)


def quotas(available: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Equal shares of ``total`` for bins that hold ``available`` [B], the smallest first, the rest carried forward.

    Returns:
        int64 [B], at most ``available``; the sum is ``total``, or all there is.
    """
    shares = np.zeros(len(available), np.int64)
    for done, i in enumerate(np.argsort(available, kind="stable")):
        shares[i] = min(available[i], total // (len(available) - done))
        total -= int(shares[i])
    return shares


def cell_quotas(available: NDArray[np.int64], codes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """How many rows of each cell, so that every histogram comes as close as can be to its own :func:`quotas`.

    Equal shares of the cells are fitted to the quotas of each histogram in turn, by proportion (iterative proportional
    fitting, Deming and Stephan, 1940) and never above what a cell holds, until they settle or ROUNDS are over. Where
    the cells do not allow all histograms to be even, the coarser ones (answer, letter) are fitted later and win.
    Fractions are rounded so that errors in the histograms cancel. One histogram alone gets its quotas exactly.

    Args:
        available: rows in each cell, int64 [C]. codes: the cell's bin in each histogram, from 0, int64 [C, K].
        total: rows wanted, at most the sum of ``available``.

    Returns:
        int64 [C], at most ``available``, with the sum ``total``.
    """
    if total == available.sum():
        return available.copy()
    codes = codes[:, np.argsort(-codes.max(axis=0), kind="stable")]
    codes = np.column_stack([codes, np.zeros(len(codes), np.int64)])  # all rows together are the coarsest histogram
    holds = [np.bincount(code, available).astype(np.int64) for code in codes.T]
    targets = [quotas(held, total) for held in holds]
    wanted = _level(available, total)
    for _ in range(ROUNDS):
        before = wanted
        for code, target in zip(codes.T, targets):
            now = np.bincount(code, wanted)
            factor = np.divide(target, now, out=np.ones(len(now)), where=now > 0)
            wanted = np.minimum(wanted * factor[code], available)
        if np.abs(wanted - before).sum() < SETTLED:
            break
    whole = np.floor(wanted + 1e-6).astype(np.int64)
    gaps = np.zeros((codes.shape[1], codes.max() + 1))
    for gap, code in zip(gaps, codes.T):
        fitted = np.bincount(code, wanted - whole)
        gap[: len(fitted)] = fitted
    order = np.random.default_rng(0).permutation(len(whole))  # neighbours share bins: in turn, errors would add up
    _round_up(whole, available, codes, gaps, order, total - int(whole.sum()))
    return whole


def _cells(table: pa.Table) -> tuple[NDArray[np.int64], list[Cell]]:
    """The cell of each row, int64 [N], and the cells, in an order that their content alone decides."""
    kind_of_row, kinds = _ranked(table["question_type"])
    bins_of_row, bins = _ranked(table["bins"], lambda text: json.dumps(json.loads(text), sort_keys=True))
    cells, cell_of_row = np.unique(kind_of_row * len(bins) + bins_of_row, return_inverse=True)
    return cell_of_row, [(kinds[cell // len(bins)], json.loads(bins[cell % len(bins)])) for cell in cells.tolist()]


def _ranked(column: pa.ChunkedArray, plain: Callable[[str], str] = str) -> tuple[NDArray[np.int64], list[str]]:
    """Rank of each row's text among the different ones, int64 [N], and those, sorted; all of one plain text are one."""
    column = column.dictionary_encode().unify_dictionaries().combine_chunks()
    texts, rank = np.unique([plain(text) for text in column.dictionary.to_pylist()], return_inverse=True)
    return rank[column.indices.to_numpy()], texts.tolist()


def _codes(bins: list[dict[str, Any]]) -> NDArray[np.int64]:
    """Number of each cell's bin in each histogram, int64 [C, K]; a cell without that histogram has a bin of its own."""
    codes = np.zeros((len(bins), 0), np.int64)
    for name in sorted({name for cell in bins for name in cell}):
        values = [cell.get(name) for cell in bins]
        number = {value: i for i, value in enumerate(sorted({*values}, key=_rank))}
        codes = np.column_stack([codes, [number[value] for value in values]])
    return codes


def _rank(value: int | float | str | None) -> tuple[int, float, str]:
    """Sort key of bins: numbers by size, then texts, then none."""
    if isinstance(value, (int, float)):
        return 0, value, ""
    return (2, 0.0, "") if value is None else (1, 0.0, value)


def _level(available: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    """Equal shares of ``total``, not whole, each at most ``available`` [C]."""
    ascending = np.sort(available)
    below = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    levels = (total - below) / np.arange(len(available), 0, -1)
    return np.minimum(available, levels[np.argmax(levels <= ascending)])


@compiled()
def _round_up(whole, available, codes, gaps, order, missing):  # pragma: no cover - compiled
    """Adds ``missing`` rows to ``whole`` in place, where each histogram lacks them (``gaps`` [K, B] rows)."""
    least = 0.5  # rows that each of its histograms lacks, for a cell to give one more
    while missing > 0:
        for i in order:
            lack = gaps[0, codes[i, 0]]
            for k in range(1, len(gaps)):
                lack = min(lack, gaps[k, codes[i, k]])
            if missing > 0 and lack >= least and whole[i] < available[i]:
                whole[i] += 1
                missing -= 1
                for k in range(len(gaps)):
                    gaps[k, codes[i, k]] -= 1
        least = least - 0.1 if least > -1 else 2 * least


@compiled()
def _hashes(starts, text, seed):  # pragma: no cover - compiled
    """FNV-1a of the texts at ``text[starts[i]:starts[i + 1]]`` and the seed, bits mixed as SplitMix64 does."""
    out = np.empty(len(starts) - 1, np.uint64)
    for i in range(len(out)):
        value = np.uint64(14695981039346656037) ^ seed
        for byte in text[starts[i] : starts[i + 1]]:
            value = (value ^ np.uint64(byte)) * np.uint64(1099511628211)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[i] = value ^ (value >> np.uint64(31))
    return out


def _drawn(
    cell_of_row: NDArray[np.int64], counts: NDArray[np.int64], share: NDArray[np.int64], ids: pa.ChunkedArray, seed: int
) -> NDArray[np.int64]:
    """The first ``share`` rows of each cell, in the order of the hashes of the seed and their ids."""
    drawn = [np.zeros(0, np.uint64)]
    for chunk in ids.chunks:
        chunk = chunk.cast(pa.large_string())
        _, starts, text = chunk.buffers()
        starts = np.frombuffer(starts, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        text = np.frombuffer(text or b"", np.uint8)
        drawn.append(_hashes(starts, text, np.uint64(seed % 2**64)))
    keys = pa.table({"cell": cell_of_row, "hash": np.concatenate(drawn), "id": ids})
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]).to_numpy()  # type: ignore[attr-defined]
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[place < np.repeat(share, counts)].astype(np.int64))
