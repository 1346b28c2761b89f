"""The thread that does the work: takes what the inputs stored, makes frames, runs the pipeline, publishes."""

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime, timezone
from threading import Event, Lock, Thread
from time import monotonic, monotonic_ns
from traceback import format_exc

from ..assembler import FrameAssembler
from ..errors import BadMessage
from ..frames import Frame
from ..scene.pipeline import Processed, SpatialPipeline
from .inputs import Inputs

IDLE_TURN = 0.05  # s; frames that wait for a pose are given up within this time of pose.max_wait
REMEDY = (
    "for a recording set use_sim_time to true and publish /clock, as play --clock does, or shift its stamps with play"
    " --restamp; for a camera set the clock of its driver"
)
AHEAD_BYTES = 256_000_000  # that decoded depth of waiting frames may take; the rest is decoded when its turn comes
DECODERS = 2  # threads that decode depth, half of the work, while an earlier frame is processed
APART = 60_000_000_000, -1_000_000_000  # ns; a frame that is older, or comes from later, is of another clock
REMEMBERED = 2000  # frames whose age and processing time are kept for /diagnostics


class FrameLoop:
    """Feeds the pipeline from the inputs until stopped.

    Args:
        pipeline, assembler: what it drives; nobody else touches the assembler.
        now_ns: present time of the node's clock, 0 where it is not known yet.
        publish: called after each frame with what it brought, and its age in nanoseconds or None.
        log: the node's logger.

    Attributes:
        arrived: set by the inputs when there is something to do.
        processed: frames processed, by camera.
        gone: images that were dropped here, by reason.
        ages: seconds from exposure to the end of processing of recent frames.
        busy: seconds spent on each of those.
        apart: what is wrong with the clock of the latest frame; empty: nothing.
    """

    def __init__(
        self,
        pipeline: SpatialPipeline,
        assembler: FrameAssembler,
        now_ns: Callable[[], int],
        publish: Callable[[Processed, int | None], None],
        log,
    ):
        self.arrived = Event()
        self.processed: Counter[str] = Counter()
        self.gone: Counter[str] = Counter()
        self.ages: deque[float] = deque(maxlen=REMEMBERED)
        self.busy: deque[float] = deque(maxlen=REMEMBERED)
        self.apart = ""
        self._pipeline, self._assembler = pipeline, assembler
        self._now_ns, self._publish, self._log = now_ns, publish, log
        self._inputs: Inputs | None = None
        most = assembler.config.sync.queue_size
        self._ready: dict[str, deque[tuple[Frame, Future | None]]] = {
            camera: deque(maxlen=most) for camera in assembler.config.cameras
        }
        self._lock = Lock()
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._feeds = [(stream, self._assembler.feeder(stream.kind, stream.camera)) for stream in inputs.streams]
        self._decoders = ThreadPoolExecutor(DECODERS, "decoder")
        self._stopping.clear()
        self._thread = Thread(target=self._run, name="frame loop")
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a frame in work is finished first."""
        if self._thread is not None:
            self._stopping.set()
            self.arrived.set()
            self._thread.join()
            self._thread = None
            self._decoders.shutdown()
            for waiting in self._ready.values():
                self.gone["deactivated"] += len(waiting)
                waiting.clear()
            self.gone += self._pushed_out()
            self._inputs = None

    def reset(self) -> None:
        """Forget all frames, targets and counts; between two frames, never within one."""
        with self._lock:
            self._pipeline.reset()
            self._assembler.dropped.clear()
            for counts in (self.processed, self.gone, self.ages, self.busy):
                counts.clear()
            for stream in self._inputs.streams if self._inputs else ():
                stream.dropped = stream.lost = 0

    def dropped(self) -> Counter[str]:
        """Images that were not processed, by reason."""
        return Counter(self._assembler.dropped) + Counter(self.gone) + self._pushed_out()

    def _pushed_out(self) -> Counter[str]:
        inputs = self._inputs
        images = [s for s in inputs.streams if s.kind == "image"] if inputs else []
        return Counter({"queue full": sum(s.dropped for s in images), "lost by DDS": sum(s.lost for s in images)})

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.arrived.wait(IDLE_TURN)
            self.arrived.clear()
            try:
                self._turn()
            except Exception:
                text = f"the frame loop goes on after an unexpected error:\n{format_exc()}"
                self._log.error(text, throttle_duration_sec=10.0)

    def _turn(self) -> None:
        self._collect()
        while any(self._ready.values()) and not self._stopping.is_set():
            oldest = min((frames for frames in self._ready.values() if frames), key=lambda frames: frames[0][0].key)
            frame, decoded = oldest.popleft()
            wait([decoded] if decoded else [])
            self._process(frame)
            self._collect()  # so that queues do not overflow while several frames are in work

    def _collect(self) -> None:
        """Messages to frames, which wait here; what is too much for a camera's queue pushes out the oldest."""
        for stream, feed in self._feeds:
            for arrival_ns, msg in stream.take():
                feed(msg, arrival_ns)
        for frame in self._assembler.take(monotonic_ns()):
            waiting = self._ready[frame.camera.name]
            if len(waiting) == waiting.maxlen:
                self.gone["queue full"] += 1
                if (pushed_out := waiting.popleft()[1]) is not None:
                    pushed_out.cancel()
            ahead = sum(held.decoded_nbytes for frames in self._ready.values() for held, decoded in frames if decoded)
            room = ahead + frame.decoded_nbytes <= AHEAD_BYTES
            waiting.append((frame, self._decoders.submit(_decode, frame) if room else None))

    def _process(self, frame: Frame) -> None:
        start = monotonic()
        with self._lock:
            try:
                processed = self._pipeline.process(frame)
            except BadMessage as error:
                self.gone["bad image"] += 1
                self._assembler.note("bad image", f"camera '{frame.camera.name}': {error}")
                return
            except Exception:
                self.gone["failed"] += 1
                raise
            age = self._age(frame)
            self.processed[frame.camera.name] += 1
            self.busy.append(monotonic() - start)
            if age is not None:
                self.ages.append(age / 1e9)
            if processed.reset:
                self._log.warning(f"time jumped back to {frame.stamp_ns / 1e9:.3f} s: memory was cleared")
            for line in processed.news:
                self._log.warning(line)
            self._publish(processed, age)

    def _age(self, frame: Frame) -> int | None:
        """Nanoseconds since the exposure; None where the node's clock shows no time, or is another than the frame's."""
        now = self._now_ns()
        if not now:
            return None
        age, (oldest, newest) = now - frame.stamp_ns, APART
        if newest <= age <= oldest:
            self.apart = ""
            return max(age, 0)
        self.apart = f"images are stamped {_date(frame.stamp_ns)}, this node's clock shows {_date(now)}"
        text = f"camera '{frame.camera.name}': {self.apart}, so their age is not known; {REMEDY}"
        self._assembler.note("another clock", text)
        return None


def _date(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _decode(frame: Frame) -> None:
    with suppress(BadMessage):  # the pipeline will meet it again
        _ = frame.measured
