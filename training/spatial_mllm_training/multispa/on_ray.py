"""The same functions as tasks of Ray: on a cluster whose nodes see the output folder, or on this machine."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from .generate import DIED, Job, Work, begin
from .item import bad
from .manifest import State


def run(work: Work, jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, State]]:
    """(number, result) of each job as they come; a job whose process died runs once more.

    With RAY_ADDRESS set, or Ray begun already, that cluster is used, as much of it as is free; else ``workers``
    processes of this machine.

    Raises:
        SpatialError: Ray is not installed.
    """
    try:
        import ray
        from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError
    except ImportError:
        raise bad("ray is not installed: pip install 'ray[data]', or --engine pool") from None
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        here: dict[str, Any] = (
            {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        )
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
    try:
        task = ray.remote(num_cpus=1, max_retries=0)(_begun)
        width = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting, running, died = deque(enumerate(jobs)), {}, set()
        while waiting or running:
            while waiting and len(running) < width:
                number, job = waiting.popleft()
                running[task.remote(work, *job)] = number, job
            (ready,), _ = ray.wait(list(running), num_returns=1)
            number, job = running.pop(ready)
            try:
                yield number, ray.get(ready)
            except (WorkerCrashedError, OutOfMemoryError):
                if number in died:
                    yield number, dict(DIED)
                else:
                    died.add(number)
                    waiting.append((number, job))
            except RayTaskError as error:
                raise error.cause from None
    finally:
        if ours:
            ray.shutdown()


def _begun(work: Work, *job: Any) -> State:
    begin()
    return work(*job)
