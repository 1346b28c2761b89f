"""What the node has from configure to cleanup: memory, models, publishers, services, and while active its inputs."""

from contextlib import ExitStack, closing
from itertools import cycle
from math import ceil
from traceback import format_exc

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode

from ..assembler import FrameAssembler
from ..config import Config
from ..scene.pipeline import Processed, SpatialPipeline
from .beside import Beside
from .bond import Bond
from .detections import Detections
from .diagnostics import Diagnostics
from .frame_loop import FrameLoop
from .inputs import Inputs
from .malloc import give_back
from .models import Models
from .motion import MotionQuestions
from .outputs import Outputs
from .pictures import Pictures
from .questions import Questions
from .services import Services
from .watch import Watch
from .windows import Windows

LOOK = 0.2  # s between two looks at what everybody wants to know at once


class Session:
    """Memory and everything that works on it. Requests are answered from the beginning, frames taken while active.

    Args:
        node: where publishers, services and subscriptions are made.
        config: the parameters.
        engine: import path of what runs in the model's process, which begins to load.
    Raises:
        ValueError, NameValidationException: a parameter that cannot be used; nothing is left behind.
    """

    def __init__(self, node: LifecycleNode, config: Config, engine: str):
        self._node, self._config, self._log = node, config, node.get_logger()
        self._active: ExitStack | None = None
        self._alarm: tuple = ()
        self._pipeline = pipeline = SpatialPipeline(config)
        self._assembler = FrameAssembler(config)
        self._loop = FrameLoop(pipeline, self._assembler, self._now_ns, self._processed, self._log)
        group = ReentrantCallbackGroup()  # no request delays an image
        with ExitStack() as parts:
            outputs = Outputs(node, pipeline, lambda: self._loop.dropped().total())
            self._outputs = parts.enter_context(closing(outputs))
            parts.enter_context(closing(Services(node, pipeline, self._reset_memory, group)))
            parts.enter_context(closing(Detections(node, pipeline, group)))
            self._pictures = parts.enter_context(closing(Pictures(node, pipeline)))
            self._bond = None
            if not config.autostart and config.bond_heartbeat_period:
                self._bond = parts.enter_context(closing(Bond(node, config.bond_heartbeat_period)))
            self._models = parts.enter_context(closing(Models(config, self._log, engine)))
            answers, sees = self._models.answers, self._models.geometry
            self._questions = parts.enter_context(closing(Questions(node, pipeline, answers, outputs.answered, group)))
            motion = MotionQuestions(pipeline, answers, outputs.reward, self._log)
            self._beside: list[Beside] = [parts.enter_context(closing(motion))]
            if sees is not None:
                windows = Windows(pipeline, sees, outputs.changed, self._log)
                self._beside.append(parts.enter_context(closing(windows)))
            parts.callback(self._models.close)  # again, and first: others wait for what it is doing
            self._parts = parts.pop_all()
        self._log.info(f"configured for {len(config.cameras)} camera(s): {', '.join(config.cameras)}")

    def activate(self) -> None:
        """Subscribe and begin to work; raises as the constructor, and is then as inactive as before."""
        with ExitStack() as active:
            inputs = active.enter_context(closing(Inputs(self._node, self._config, self._loop.arrived)))
            watch = Watch(self._node, inputs.streams, self._assembler)
            name = self._node.get_fully_qualified_name()
            diagnostics = Diagnostics(name, self._loop, self._pipeline, self._models, inputs.streams)
            active.callback(self._loop.stop)
            self._loop.start(inputs)
            self._outputs.selection(again=True)
            looks = ceil(1.0 / self._config.status_rate / LOOK)
            turns = cycle([True] + [False] * (looks - 1))
            timer = self._node.create_timer(
                1.0 / self._config.status_rate / looks,
                lambda: self._look(watch, diagnostics, next(turns)),
                callback_group=MutuallyExclusiveCallbackGroup(),
                clock=Clock(clock_type=ClockType.STEADY_TIME),  # goes on while simulated time stands still
            )
            active.callback(self._node.destroy_timer, timer)
            if self._bond is not None:
                self._bond.form()
                active.callback(self._bond.part)
            self._active = active.pop_all()

    @property
    def active(self) -> bool:
        return self._active is not None

    def deactivate(self) -> None:
        """Stop to work, where it does; memory stays, and requests are answered."""
        active, self._active = self._active, None
        if active is not None:
            active.close()
            give_back()

    def update(self, config: Config) -> None:
        """Live parameters have changed."""
        self._config = config
        self._models.answers.params = config.ask

    def hang_up(self) -> None:
        """Cancel every question, and let their clients know, while there is an executor to do so."""
        self._models.close()
        self._questions.drain()

    def close(self) -> None:
        """End everything, whatever the state; memory is forgotten."""
        with self._parts:
            self.deactivate()

    def _processed(self, processed: Processed, age_ns: int | None) -> None:
        self._outputs.frame(processed, age_ns)
        self._pictures.look()
        for beside in self._beside:
            beside.look()

    def _look(self, watch: Watch, diagnostics: Diagnostics, due: bool) -> None:
        """Tell the status where it is due, or something has happened that nobody should wait for."""
        try:
            alarm, before = diagnostics.alarm(self._config), self._alarm
            self._alarm = alarm
            if not due and alarm == before:
                return
            self._outputs.changed()
            self._outputs.picture()
            now = self._node.get_clock().now().to_msg()
            self._outputs.diagnostics.publish(diagnostics.array(self._config, now))
            watch.look(self._config.sync.stale_after)
            self._questions.frames.warm()
        except Exception:
            if self._active is not None:  # not deactivated meanwhile
                self._log.error(f"status cannot be told:\n{format_exc()}", throttle_duration_sec=10.0)

    def _reset_memory(self) -> None:
        self._loop.reset()
        give_back()
        self._outputs.forgotten()

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds
