"""The node's part of /diagnostics: one status for each camera, for processing, memory, reward targets and models."""

from math import isnan
from time import monotonic

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ..config import Config
from ..mllm.process.remote import ModelProcess
from ..motion.record import Series, State
from ..scene.pipeline import SpatialPipeline
from .frame_loop import FrameLoop
from .inputs import Stream
from .models import Models

OK, WARN, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.STALE
ERROR = DiagnosticStatus.ERROR
SOON = 0.5  # of the time between two statuses, before which rates stay as they were


class Diagnostics:
    """Turns counts into rates and levels.

    Asked for more often than ``status_rate``, as after an alarm, rates are those of the last time.
    """

    def __init__(self, name: str, loop: FrameLoop, pipeline: SpatialPipeline, models: Models, streams: list[Stream]):
        self._name = name.lstrip("/")  # of the robots in one network each has its namespace
        self._loop, self._models, self._streams = loop, models, streams
        self._pipeline, self._memory = pipeline, pipeline.memory
        self._last: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._time = monotonic()
        self._seconds = 0.0  # over which rates are taken now; 0: they stay as they were

    def array(self, config: Config, stamp) -> DiagnosticArray:
        """All statuses at this moment; ``config`` carries the live parameters."""
        seconds = monotonic() - self._time
        self._seconds = seconds if seconds > SOON / config.status_rate else 0.0
        self._time += self._seconds
        statuses = [self._camera(camera, config) for camera in config.cameras]
        statuses += [self._processing(), self._memory_status(config), self._targets()]
        statuses.append(self._process("model", self._models.answers, {"ask.model": self._models.answers.model}))
        if self._models.geometry is not None:
            windows = {f"windows: {what}": n for what, n in self._pipeline.windows.most_common()}
            values: dict[str, object] = {"vggt.model": config.geometry_model, **windows}
            statuses.append(self._process("geometry", self._models.geometry, values))
        array = DiagnosticArray(status=statuses)
        array.header.stamp = stamp
        return array

    def alarm(self, config: Config) -> tuple:
        """What everybody wants to know at once when it changes: silent cameras, clocks apart, models that ended."""
        models = [model.state.stage for model in (self._models.answers, self._models.geometry) if model]
        silent = [(camera, *self._silent(camera, config.sync.stale_after)) for camera in config.cameras]
        return *silent, *models, bool(self._loop.apart)

    def _silent(self, camera: str, stale_after: float) -> dict[str, float]:
        """Seconds of silence of each kind of a camera's topics that is silent for too long."""
        silent = {}
        for stream in self._streams:
            once = stream.is_info and stream.received > 0  # which is enough, some drivers say it once
            if stream.camera == camera and not once and (age := monotonic() - stream.arrived) > stale_after:
                silent[stream.kind] = age
        return silent

    def _camera(self, camera: str, config: Config) -> DiagnosticStatus:
        values: dict[str, object] = {}
        for stream in self._streams:
            if stream.camera == camera:
                values[f"{stream.kind} topic"] = stream.topic
                values[f"{stream.kind} rate (Hz)"] = f"{self._rate(stream.topic, stream.received):.1f}"
                values[f"{stream.kind} pushed out"] = stream.dropped
                values[f"{stream.kind} lost by DDS"] = stream.lost
        done = self._loop.processed[camera]
        values["frames processed"] = done
        values["processed rate (Hz)"] = f"{self._rate(camera + ' processed', done):.1f}"
        verdict = self._pipeline.verdicts[camera]
        values["depth and poses"] = verdict.text
        if silent := self._silent(camera, config.sync.stale_after):
            told = ", ".join(f"{kind} ({age:.0f} s)" for kind, age in silent.items())
            return self._status(f"camera {camera}", STALE, f"silent: {told}", values)
        if verdict.wrong:
            return self._status(f"camera {camera}", WARN, f"depth and poses {verdict.text}: {verdict.why}", values)
        return self._status(f"camera {camera}", OK, "receiving", values)

    def _processing(self) -> DiagnosticStatus:
        dropped = self._loop.dropped()
        ages, busy = list(self._loop.ages), list(self._loop.busy)
        values: dict[str, object] = {"frames dropped": dropped.total()}
        values |= {f"dropped: {reason}": n for reason, n in dropped.most_common()}
        for what, seconds_each in (("frame age", ages), ("processing time", busy)):
            if seconds_each:
                half, most = np.percentile(seconds_each, (50, 95)) * 1e3
                values[f"{what} p50 (ms)"], values[f"{what} p95 (ms)"] = f"{half:.1f}", f"{most:.1f}"
        if self._loop.apart:
            return self._status("processing", WARN, self._loop.apart, values)
        rate = self._rate("dropped", dropped.total())
        if rate > 0:
            reason = dropped.most_common(1)[0][0]
            return self._status("processing", WARN, f"dropping {rate:.1f} frames/s, mostly: {reason}", values)
        return self._status("processing", OK, "nothing dropped since last time", values)

    def _memory_status(self, config: Config) -> DiagnosticStatus:
        state = self._memory.state()
        values: dict[str, object] = {
            "bytes": state.nbytes,
            "limit (bytes)": config.memory.megabytes * 1_000_000,
            "recent frames": state.frames_recent,
            "selected frames": state.frames_selected,
            "voxels seen": state.voxels_seen,
            "voxels covered": state.voxels_covered,
        }
        return self._status("memory", OK, f"{state.nbytes / 1e6:.1f} MB of frames", values)

    def _targets(self) -> DiagnosticStatus:
        series = self._pipeline.target_series()
        values: dict[str, object] = {f"{s.target.label} ({s.source})": _told(s) for s in series}
        troubles = {State.GIVEN_UP: "given up", State.LOST: "lost"}
        found = [
            f"{trouble}: {', '.join(dict.fromkeys(s.target.label for s in series if s.state == state))}"
            for state, trouble in troubles.items()
            if any(s.state == state for s in series)
        ]
        if found:
            return self._status("targets", WARN, "; ".join(found), values)
        followed = len({s.target.label for s in series if s.state == State.FOLLOWED})
        return self._status("targets", OK, f"{followed} followed", values)

    def _process(self, part: str, model: ModelProcess, values: dict[str, object]) -> DiagnosticStatus:
        state = model.state
        if state.stage == "off":
            return self._status(part, OK, "no model configured", {})
        values = values | {
            "state": state.stage,
            "loaded (%)": f"{100 * state.fraction:.0f}",
            "questions waiting": state.waiting,
            "last heartbeat (s ago)": f"{state.silent:.1f}",
            "restarts": state.restarts,
            "last end": state.last_end,
            "memory (MB)": f"{state.nbytes / 1e6:.0f}",
            "process": state.pid,
            "loaded": state.loaded,
            "encoding (ms per frame)": f"{state.encoding:.1f}",
            "spare process (MB)": f"{state.spare / 1e6:.0f}",
        }
        level = {"ready": OK, "failed": ERROR}.get(state.stage, WARN)
        return self._status(part, level, f"{state.stage}: {state.message}" if level != OK else "ready", values)

    def _rate(self, key: str, count: int) -> float:
        if self._seconds:
            before, self._last[key] = self._last.get(key, 0), count
            self._rates[key] = max(0, count - before) / self._seconds
        return self._rates.get(key, 0.0)

    def _status(self, part: str, level: bytes, message: str, values: dict[str, object]) -> DiagnosticStatus:
        pairs = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
        return DiagnosticStatus(level=level, name=f"{self._name}: {part}", message=message, values=pairs)


def _told(series: Series) -> str:
    """How a target does, in a line."""
    share = "no reward yet" if isnan(series.valid_share) else f"{100 * series.valid_share:.0f} % valid"
    lost = f" for {series.lost_for:.1f} s" if series.state == State.LOST else ""
    why = f": {series.reason}" if series.reason else ""
    return f"{series.state.name.lower().replace('_', ' ')}{lost}, {share}{why}"
