"""ModelProcess: the model as the node sees it. Questions queue here; a process of its own answers them.

The queue, the deadlines and every outcome live on this side, so that a question gets exactly one outcome whatever
happens to the other: an answer, TIMEOUT, CANCELED, FAILED or MODEL_NOT_READY. Needs no torch.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from math import inf
from threading import Condition, Thread
from time import monotonic
from traceback import format_exc
from typing import Any

from ...config import AskParams
from ...errors import ErrorCode, SpatialError
from ...frames import Frame
from ...geometry.window import WindowGeometry
from ...versions import outside
from ..calibration import known_calibration
from ..question import Answer, Question
from ..weights.shipped import chosen
from .child import Child
from .lifetime import Lifetime, ModelState
from .protocol import Message
from .sending import send_frames
from .ticket import Ticket, clip_key

ENGINE = "spatial_mllm_ros.mllm.loading:load_engine"
CLOSED = "the node is shutting down"
GRACE = 30.0  # s that a job may go on after it was canceled; longer where ask.timeout is
LAGGING = 2.0  # s after which that is shown
KINDS = ("ask", "geometry", "motion", "warm")  # jobs, the most urgent first
MOST_WINDOWS = 2  # geometry jobs that may wait


class ModelProcess:
    """Loads the model of ``params`` in a process of its own, and keeps that running until closed.

    Frames are decoded, and sent, only where the process does not know the clip yet. One job is in work at a time:
    first questions, in the order they came, then windows of geometry, motion, then warming up. A process that ends
    takes the question in work with it (FAILED) and is started again, see ``Lifetime``; so does one that hangs. A
    question that is late while its clip is encoded leaves that to be finished for the next one, unless it is about
    another.

    Args:
        params: the group ``ask``; :attr:`params` may be replaced while it runs, for what is live.
        log: logger with ``debug``, ``info``, ``warning`` and ``error``.
        engine: import path ``module:name`` of what makes the engine that runs in the process.
    Attributes:
        model: the model that is meant, see ``shipped.chosen``; empty: none.
        calibration: that of the model, as far as it can be told while that is not loaded.
    """

    def __init__(self, params: AskParams, log: Any, engine: str = ENGINE):
        self.params, self._log, self._engine = params, log, engine
        self.model = chosen(params.model, params.encoders)
        self.calibration = known_calibration(self.model, params.adapter)
        self._changed = Condition()
        self._queues: dict[str, deque[Ticket]] = {kind: deque() for kind in KINDS}
        self._running: Ticket | None = None
        self._number = 0  # of the running job
        self._encoding = 0.0  # ms per frame
        self._canceled_at = inf  # when the running job was canceled
        self._heard_of: deque[tuple[Child, Message]] = deque()
        self._life = Lifetime(log, self._make, params.heartbeat_timeout, params.spare)
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to load; returns at once. Without a model there is nothing to do."""
        if self.model:
            self._life.stage, self._life.message = "loading", "starting"
            for odd in outside():
                self._log.warning(f"the model may fail: {odd}")
            self._sender = ThreadPoolExecutor(1, "frames")
            self._thread = Thread(target=self._run, name="model")
            self._thread.start()

    def close(self) -> None:
        """End the process; whatever waits is CANCELED."""
        with self._changed:
            self._life.stage, self._life.message = "closed", CLOSED
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._sender.shutdown()
            self._thread = None

    @property
    def max_frames(self) -> int:
        """Frames to show where the question does not say how many."""
        return self.calibration.frames(self.params.max_frames)

    @property
    def state(self) -> ModelState:
        with self._changed:
            state, ago = self._life.state(len(self._queues["ask"])), monotonic() - self._canceled_at
            state = replace(state, encoding=self._encoding)
        if state.stage == "ready" and ago >= LAGGING:
            return replace(state, stage="unresponsive", message=f"it is busy with what was canceled {ago:.0f} s ago")
        return state

    def ask(
        self,
        question: Question,
        frames: Sequence[Frame],
        timeout: float = 0.0,
        on_progress: Callable[[str, str], None] | None = None,
        epoch: int = 0,
    ) -> Ticket:
        """Queue a question about frames.

        Args:
            timeout: seconds from now to the answer; 0 means ``ask.timeout``.
            on_progress: called with (stage, text so far); stages are ``encoding`` and ``generating``.
            epoch: tells frames of the same stamps apart, from before and after memory was reset.
        Raises:
            SpatialError: BUSY, MODEL_NOT_READY (with the reason), or CANCELED after :meth:`close`.
        """
        values = self._values(question, frames, epoch)
        ticket = Ticket("ask", frames, values, timeout or self.params.timeout, on_progress, self._notify)
        self._queue(ticket, self.params.waiting, "questions")
        return ticket

    def motion(self, question: Question, frames: Sequence[Frame], epoch: int = 0) -> Future[Answer]:
        """Ask about frames that nobody will ask about again, when nothing else waits; CANCELED by any question."""
        ticket = Ticket("motion", frames, self._values(question, frames, epoch), wake=self._notify)
        self._queue(ticket, 1, "questions about motion")
        return ticket.future

    def _values(self, question: Question, frames: Sequence[Frame], epoch: int) -> tuple:
        asked = question.text, question.options, question.answer_type, question.with_reasoning
        return (clip_key(frames, epoch), *asked, self.params.not_observed)

    def warm(self, frames: Sequence[Frame], epoch: int = 0) -> Future[None]:
        """Encode a clip while nothing else is to be done; a later call takes the place of one that waits."""
        ticket = Ticket("warm", frames, (clip_key(frames, epoch),), wake=self._notify)
        with self._changed:
            for earlier in self._queues["warm"]:
                earlier.canceled = True
            self._queue(ticket)
        return ticket.future

    def geometry(self, frames: Sequence[Frame]) -> Future[WindowGeometry]:
        """Depth and poses of a window of frames, when no question waits; fails as a question would."""
        ticket = Ticket("geometry", frames, wake=self._notify)
        self._queue(ticket, MOST_WINDOWS, "windows")
        return ticket.future

    def check(self) -> None:
        """Whether a job would be taken; raises MODEL_NOT_READY with the reason, or CANCELED after :meth:`close`."""
        with self._changed:
            if self._life.stage in ("off", "failed"):
                raise SpatialError(ErrorCode.MODEL_NOT_READY, self._life.message)
            if self._life.stage == "closed":
                raise SpatialError(ErrorCode.CANCELED, self._life.message)

    def _queue(self, ticket: Ticket, most: float = inf, what: str = "") -> None:
        with self._changed:
            self.check()
            queue = self._queues[ticket.kind]
            waiting = sum(not t.canceled for t in queue)
            if waiting >= most:
                raise SpatialError(ErrorCode.BUSY, f"{waiting} {what} are waiting; ask again later")
            queue.append(ticket)
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _post(self, child: Child, message: Message) -> None:
        with self._changed:
            self._heard_of.append((child, message))
            self._changed.notify_all()

    # What follows runs in the thread of this object, which also is the one that the process lives as long as.

    def _run(self) -> None:
        end = SpatialError(ErrorCode.CANCELED, CLOSED)
        try:
            self._loop()
        except Exception:
            self._log.error(f"the model is given up after an unexpected error:\n{format_exc()}")
            end = SpatialError(ErrorCode.FAILED, "the model is given up; the node's log has the details")
        with self._changed:
            if self._life.stage != "closed":
                self._life.stage, self._life.message = "failed", end.message
            child, self._life.child = self._life.child, None
            self._life.end_spare()
            calls = [call for ticket in self._tickets() for call in self._settle(ticket, end)]
        self._tell(calls)
        if child is not None:
            child.close()

    def _loop(self) -> None:
        while True:
            with self._changed:
                if self._life.stage == "closed":
                    return
                calls = self._turn()
                if not calls and not self._heard_of:
                    self._changed.wait(self._pause())
            self._tell(calls)

    def _tell(self, calls: list[Callable[[], None]]) -> None:
        """Outcomes and progress, told while nothing is locked; a listener that fails is not ours to fail with."""
        for call in calls:
            try:
                call()
            except Exception:
                self._log.error(f"a listener of the model failed:\n{format_exc()}")

    def _turn(self) -> list[Callable[[], None]]:
        """Look at everything once; what is to be told."""
        now, calls = monotonic(), []
        while self._heard_of:
            child, message = self._heard_of.popleft()
            if child is self._life.child:  # not one that has ended
                calls += self._hear(message)
            elif child is self._life.spare and message.kind == "end":
                self._life.end_spare()
        for ticket in self._tickets():
            if ticket.canceled:
                calls += self._settle(ticket, SpatialError(ErrorCode.CANCELED, "canceled by the client"))
            elif now >= ticket.deadline:
                calls += self._settle(ticket, self._late(ticket))
                self._go_on_encoding(ticket)
            elif self._life.stage == "failed":
                calls += self._settle(ticket, SpatialError(ErrorCode.MODEL_NOT_READY, self._life.message))
        for kind, queue in self._queues.items():
            self._queues[kind] = deque(ticket for ticket in queue if not ticket.settled)
        calls += self._make_room()
        calls += self._failed(self._end_what_is_over(now) or self._life.look())
        self._dispatch()
        return calls

    def _tickets(self) -> list[Ticket]:
        """All that wait, and the one in work."""
        waiting = [ticket for queue in self._queues.values() for ticket in queue]
        return [*waiting, self._running] if self._running else waiting

    def _pause(self) -> float | None:
        """Seconds until something is due; None where that is for others to say."""
        times = [ticket.deadline for ticket in self._tickets() if not ticket.settled]
        times += [self._life.due, self._canceled_at + self._grace]
        finite = [time for time in times if time < inf]
        return max(0.0, min(finite) - monotonic()) if finite else None

    def _late(self, ticket: Ticket) -> SpatialError:
        if self._life.stage != "ready" and ticket is not self._running:
            return SpatialError(
                ErrorCode.MODEL_NOT_READY, f"the model was not loaded within {ticket.seconds:g} s: {self._life.message}"
            )
        return SpatialError(ErrorCode.TIMEOUT, f"no answer within {ticket.seconds:g} s; it was {ticket.stage}")

    def _go_on_encoding(self, late: Ticket) -> None:
        """A question that is late leaves its clip to be encoded to the end, where the next one finds it."""
        if late is self._running and late.kind == "ask" and late.stage == "encoding":
            self._running = Ticket("warm", late.frames, late.values[:1], wake=self._notify)

    def _settle(self, ticket: Ticket, outcome: Any) -> list[Callable[[], None]]:
        """Give a ticket its outcome, unless it has one."""
        if ticket.settled:
            return []
        ticket.settled = True
        if isinstance(outcome, SpatialError):
            return [lambda: ticket.future.set_exception(outcome)]
        return [lambda: ticket.future.set_result(outcome)]

    def _make_room(self) -> list[Callable[[], None]]:
        """A question waits neither for the warming up of another clip nor for motion."""
        running, questions = self._running, self._queues["ask"]
        if running is None or running.kind not in ("warm", "motion") or not questions:
            return []
        if running.kind == "warm" and questions[0].values[0] == running.values[0]:
            return []
        return self._settle(running, SpatialError(ErrorCode.CANCELED, "a question came first"))

    def _end_what_is_over(self, now: float) -> str:
        """Cancel the job in work once it has its outcome, and kill what does not end it; then why that failed."""
        child = self._life.child
        if child is None or self._running is None or not self._running.settled:
            return ""
        if self._canceled_at == inf:
            self._canceled_at = now
            child.send("cancel", self._number)
        late = now >= self._canceled_at + self._grace
        return self._life.replace(f"did not end within {self._grace:g} s what was canceled") if late else ""

    @property
    def _grace(self) -> float:
        return max(GRACE, self.params.timeout)

    def _make(self) -> Child:
        return Child(self._engine, {"path": self.model, **self.params.options}, self._log, self._post)

    def _dispatch(self) -> None:
        """Give the process its next job."""
        child = self._life.child
        if self._life.stage != "ready" or self._running is not None or child is None:
            return
        queue = next((queue for queue in self._queues.values() if queue), None)
        if queue is not None:
            self._running, self._canceled_at = queue.popleft(), inf
            self._number += 1
            self._life.job = self._running.kind
            child.send(self._running.kind, self._number, *self._running.values)

    def _hear(self, message: Message) -> list[Callable[[], None]]:
        """A message of the process; what is to be told."""
        kind, values = message.kind, message.values
        if kind in ("loading", "ready", "failed"):
            self._life.hear(kind, values)
            self.calibration = values[0] if kind == "ready" else self.calibration
            return []
        if kind == "end":
            return self._failed(self._life.ended(values[0]))
        ticket = self._running
        if ticket is None or values[0] != self._number:
            return []
        if kind == "frames?":
            assert self._life.child is not None
            self._sender.submit(self._send_frames, self._life.child, ticket, self._number)
            return []
        if kind in ("stage", "text"):
            return self._progress(ticket, kind, values[1])
        if kind == "unsent":
            return self._settle(ticket, SpatialError(ErrorCode(values[1]), values[2]))
        self._running, self._canceled_at = None, inf
        if kind == "last":  # the process is about to end by itself
            self._life.stage = "restarting"
        if kind in ("error", "last"):
            return self._settle(ticket, SpatialError(ErrorCode(values[1]), values[2]))
        self._life.worked()
        if kind == "geometry":
            return self._settle(ticket, window_of(message.arrays))
        if kind == "answer" and (seconds := values[1].seconds_encode) and values[1].frames:
            self._encoding = 1000 * seconds / len(values[1].frames)
        return self._settle(ticket, values[1] if kind == "answer" else None)

    def _progress(self, ticket: Ticket, kind: str, value: str) -> list[Callable[[], None]]:
        if kind == "stage":
            ticket.stage = value
            if ticket.kind == "warm" and value == "generating":  # an answer that nobody waits for any more
                return self._settle(ticket, None)
        tell, stage, text = ticket.on_progress, ticket.stage, value if kind == "text" else ""
        return [] if tell is None or ticket.settled else [lambda: tell(stage, text)]

    def _failed(self, why: str) -> list[Callable[[], None]]:
        """The process is over, if something says why: so is what it was doing, but for a question not yet begun."""
        ticket = self._running
        if not why or ticket is None:
            return []
        self._running, self._canceled_at = None, inf
        if ticket.kind == "ask" and ticket.stage == "waiting" and not ticket.settled:
            self._queues["ask"].appendleft(ticket)
            return []
        return self._settle(ticket, SpatialError(ErrorCode.FAILED, why))

    def _send_frames(self, child: Child, ticket: Ticket, number: int) -> None:
        """Runs in a thread of its own: many frames take a while to decode."""
        error = send_frames(child, ticket, number, self._log)
        if error is not None:
            self._post(child, Message("unsent", (number, int(error.code), error.message), []))


def window_of(arrays: list[Any]) -> WindowGeometry | SpatialError:
    try:
        return WindowGeometry(*arrays)
    except (ValueError, TypeError) as error:
        return SpatialError(ErrorCode.FAILED, f"the model's geometry is broken: {error}")
