"""Recordings in, questions out: three phases over scenes, each of which a killed run finds finished or does again."""

import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from spatial_mllm_ros.doctor import usable_cores
from spatial_mllm_ros.isolated import end_with_parent, spawning

from . import shard
from .item import bad
from .manifest import JOINED, GenerateOptions, Manifest, State
from .records import join
from .scene import SceneRef
from .splits import SPLITS, check_disjoint, place, shares, split_of

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
DIED = {"error": "the process that worked on it died, twice: perhaps there is not enough memory"}

Job = tuple[Any, ...]
Work = Callable[..., State]
Runner = Callable[[Work, Sequence[Job], int], Iterator[tuple[int, State]]]


@dataclass(frozen=True)
class Summary:
    """What a run gave, together with the runs that it went on from.

    Attributes:
        questions: split -> question type -> how many.
        scenes: split -> how many scenes have questions.
        candidates: question type -> how many could have been asked.
        skipped: scene (``source/name``) -> why nothing, or not everything, was asked of it.
        faults: what went wrong with single frames and questions -> how many.
        resumed: phases of scenes that an earlier run had finished.
    """

    questions: dict[str, dict[str, int]] = field(default_factory=dict)
    scenes: dict[str, int] = field(default_factory=dict)
    candidates: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    resumed: int = 0

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.questions.values())


def generate(
    refs: Iterable[SceneRef],
    out: Path,
    options: GenerateOptions | None = None,
    progress: Callable[[float, float | None], None] = lambda done, total: None,
) -> Summary:
    """Make spatial questions with exact answers of scenes, as the module says; the order of scenes does not matter.

    First every scene proposes candidates; then those to ask are chosen over all scenes, train and test apart, so that
    bins are even; then every scene words its own and writes their images and records. The folder holds
    ``annotations/<split>/<scene>.jsonl`` (or ``.parquet``), ``images/<scene>/``, ``train.jsonl`` and ``test.jsonl``,
    ``candidates/`` (what was chosen from) and ``manifest.json``. The same scenes and options give the same bytes with
    every runner, any number of workers and any number of kills.

    Args:
        out: made where it does not exist. progress: told of (phases of scenes done, all of them).

    Raises:
        SpatialError: no scene, none that can be read, two of one name, or ``out`` is of another run.
        OSError: ``out`` cannot be written.
    """
    options = options or GenerateOptions()
    scenes = _by_name(refs)
    run = _runner(options.runner)
    with Manifest(out, options, sorted(scenes)) as manifest:
        count = shard.candidates_wanted(options, len(scenes))
        resumed, done = 0, 0

        def do(phase: str, work: Work, jobs: dict[str, Job]) -> None:
            nonlocal done
            names = list(jobs)
            done += len(scenes) - len(names)
            progress(done, 2 * len(scenes))
            for number, state in run(work, list(jobs.values()), options.workers or usable_cores()):
                manifest.add(names[number], phase, state)
                done += 1
                progress(done, 2 * len(scenes))
            manifest.save()

        left = {
            name: (ref, options, count, out) for name, ref in scenes.items() if not manifest.finished(name, "proposed")
        }
        resumed += len(scenes) - len(left)
        do("proposed", shard.propose, left)
        proposed = {name: manifest.shards[name]["proposed"] for name in sorted(scenes)}
        splits, same = _split(scenes, proposed, options)
        if not splits:
            name, state = next(iter(proposed.items()))
            raise bad(f"none of {len(scenes)} scenes can be used; {name}: {state['error']}")
        rows = _choose(splits, options, out)
        left = {}
        for name, split in splits.items():
            key = proposed[name]["key"]
            depends = sha256(f"{proposed[name]['files']}{split}".encode() + rows[name].tobytes()).hexdigest()
            before = manifest.finished(name, "written")
            if before is None or manifest.shards[name].get("depends") != depends:
                manifest.shards[name]["depends"] = depends
                manifest.shards[name].pop("written", None)
                left[name] = (scenes[name], options, key, split, rows[name], out)
        resumed += len(splits) - len(left)
        do("written", shard.write, left)
        written = {name: manifest.shards[name]["written"] for name in splits}
        for name in scenes.keys() - splits.keys():
            manifest.shards[name] = {"proposed": proposed[name]}
        manifest.keep({file for state in (*proposed.values(), *written.values()) for file in state.get("files", ())})
        for split, joined in zip(SPLITS, JOINED):
            files = [file for name in splits if splits[name] == split for file in written[name].get("files", ())]
            join([out / file for file in files if file.endswith(".jsonl")], out / joined)
        summary = _summary(scenes, proposed, splits, same, written, resumed)
        manifest.save(skipped=summary.skipped, faults=summary.faults, questions=summary.questions)
        return summary


def inline(work: Work, jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, State]]:
    """One job after the other, in this process."""
    for number, job in enumerate(jobs):
        yield number, work(*job)


def pool(work: Work, jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, State]]:
    """Jobs in processes of this machine, (number, result) as they come.

    When a process dies, all that ran then is done again, one job at a time, so that the next to die is known.
    """
    waiting, suspects = deque(enumerate(jobs)), deque[tuple[int, Job]]()
    while waiting or suspects:
        alone = bool(suspects)
        queue, width = (suspects, 1) if alone else (waiting, min(workers, len(waiting)))
        running: dict[Future[State], tuple[int, Job]] = {}
        try:
            with ProcessPoolExecutor(width, spawning(), initializer=begin) as executor:
                while queue or running:
                    while queue and len(running) < (1 if alone else 2 * width):
                        future = executor.submit(work, *queue[0][1])
                        running[future] = queue.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future)[0], result
        except BrokenProcessPool:
            if not alone:
                suspects.extend(running.values())
            for number, _ in running.values() if alone else ():
                yield number, dict(DIED)


def begin() -> None:
    """Make this process a worker: one thread, and no longer alive than the process that started it."""
    import cv2

    os.environ.update(dict.fromkeys(THREADS, "1"))
    cv2.setNumThreads(1)
    end_with_parent()


def _runner(name: str) -> Runner:
    if name == "ray":
        from .on_ray import run

        return run
    if name not in ("pool", "inline"):
        raise bad(f"runner '{name}': expected pool or ray")
    return pool if name == "pool" else inline


def _by_name(refs: Iterable[SceneRef]) -> dict[str, SceneRef]:
    scenes: dict[str, SceneRef] = {}
    for ref in refs:
        other = scenes.setdefault(shard.shard_name(ref), ref)
        if other != ref:
            raise bad(f"two scenes are called {ref.source}/{ref.name}: rename one of them")
    if not scenes:
        raise bad("no scene is given")
    return dict(sorted(scenes.items()))


def _split(
    scenes: dict[str, SceneRef], proposed: dict[str, State], options: GenerateOptions
) -> tuple[dict[str, str], dict[str, str]]:
    """Shard -> split, of those that can be used; and shard -> another one with the same content, which is used."""
    first: dict[str, str] = {}
    splits, same = {}, {}
    for name, state in proposed.items():
        if "error" in state:
            continue
        if (other := first.setdefault(state["key"], name)) != name:
            same[name] = other
            continue
        where = place(scenes[name].source, scenes[name].name, state["key"])
        splits[name] = split_of(where, options.test_share)
    check_disjoint((split, name, proposed[name]["key"]) for name, split in splits.items())
    return splits, same


def _choose(splits: dict[str, str], options: GenerateOptions, out: Path) -> dict[str, NDArray[np.int64]]:
    """Second phase: rows of the table of each shard, int64 [N] ascending, balanced over all shards of a split."""
    from .balance import choose

    names: dict[str, list[str]] = defaultdict(list)
    for name, split in splits.items():
        names[split].append(name)
    total = shares(options.per_task, {split: len(names[split]) for split in SPLITS})
    rows = {name: np.zeros(0, np.int64) for name in splits}
    for split, there in names.items():
        if not total[split]:
            continue
        columns = ["id", "question_type", "bins"]
        files = (out / shard.candidates_file(name) for name in there)
        tables = [parquet.read_table(file, columns=columns, read_dictionary=columns[1:]) for file in files]
        chosen = choose(pa.concat_tables(tables), total[split], options.not_observed, options.seed)
        ends = np.cumsum([len(table) for table in tables])
        for name, part, end, table in zip(there, np.split(chosen, np.searchsorted(chosen, ends[:-1])), ends, tables):
            rows[name] = part - (end - len(table))
    return rows


def _summary(
    scenes: dict[str, SceneRef],
    proposed: dict[str, State],
    splits: dict[str, str],
    same: dict[str, str],
    written: dict[str, State],
    resumed: int,
) -> Summary:
    questions = {split: Counter[str]() for split in SPLITS}
    candidates, faults, skipped, used = Counter[str](), Counter[str](), {}, Counter[str]()
    title = {name: f"{ref.source}/{ref.name}" for name, ref in scenes.items()}
    for name, state in proposed.items():
        candidates.update(state.get("candidates", {}))
        faults.update(state.get("faults", {}))
        after = written.get(name, {})
        faults.update(after.get("faults", {}))
        why = [error for error in (state.get("error"), after.get("error")) if error]
        why += [f"the same as {title[same[name]]}"] if name in same else []
        why += [f"{task}: {text}" for task, text in state.get("skipped", {}).items()]
        if why:
            skipped[title[name]] = "; ".join(why)
        if counts := after.get("questions"):
            questions[splits[name]].update(counts)
            used[splits[name]] += 1
    return Summary(
        {split: dict(sorted(counts.items())) for split, counts in questions.items()},
        dict(used),
        dict(sorted(candidates.items())),
        skipped,
        dict(sorted(faults.items())),
        resumed,
    )
