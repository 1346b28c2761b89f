"""The lifecycle node ``spatial_mllm``: wires inputs, worker, outputs and services to the pipeline."""

from collections.abc import Callable
from traceback import format_exc

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.exceptions import NameValidationException
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn as Result
from rclpy.timer import Timer

from ..assembler import FrameAssembler
from ..config import Config
from ..frames import Frame
from ..mllm.process.remote import ENGINE
from ..scene.pipeline import Processed, SpatialPipeline
from ..scene.warm_up import warm_up
from . import parameters
from .beside import Beside
from .diagnostics import Diagnostics
from .frame_loop import Worker
from .inputs import Inputs
from .models import Models
from .motion import MotionQuestions
from .outputs import Outputs
from .questions import Questions
from .services import Services
from .watch import Watch
from .windows import Windows

SUCCESS, FAILURE = Result.SUCCESS, Result.FAILURE


class SpatialNode(LifecycleNode):
    """configure makes pipeline, publishers and services; activate subscribes and starts to work.

    Inactive, it keeps its memory and answers requests; cleanup forgets everything.

    Attributes:
        config: the parameters, live ones up to date; None where the given ones are wrong (the log says why).
        engine: import path of what runs in the model's process.
    """

    engine = ENGINE

    def __init__(self, **options):
        super().__init__("spatial_mllm", automatically_declare_parameters_from_overrides=True, **options)
        self.config: Config | None = None
        self._error = ""
        self._finalized = False
        self._parts: list[Services | Questions | Beside | Outputs] = []
        self._beside: list[Beside] = []
        self.models: Models | None = None
        self._inputs: Inputs | None = None
        self._timer: Timer | None = None
        self._given = parameters.given(self)
        try:
            self.config = parameters.declare(self, self._given)
            self.add_post_set_parameters_callback(self._parameters_changed)
        except ValueError as error:
            self._error = str(error)

    @property
    def autostart(self) -> bool:
        return self.config.autostart if self.config else self._given.get("autostart") is not False

    def start(self) -> bool:
        """configure and activate; False where one of them failed."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def hang_up(self) -> None:
        """Cancel every question, and let their clients know, while there is an executor to do so."""
        if self.models is not None:
            self.models.close()
            self._questions.drain()

    def end(self) -> None:
        """Stop work and close everything, whatever the state; the node can only be destroyed afterwards."""
        if not self._finalized:
            self.trigger_shutdown()

    def on_configure(self, state: LifecycleState) -> Result:
        return self._step("configure", self._configure, self._unconfigure)

    def on_activate(self, state: LifecycleState) -> Result:
        super().on_activate(state)  # from here on publishers speak
        result = self._step("activate", self._activate, self._deactivate)
        if result != SUCCESS:
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> Result:
        result = self._step("deactivate", self._deactivate)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> Result:
        return self._step("cleanup", self._unconfigure)

    def on_shutdown(self, state: LifecycleState) -> Result:
        self._finalized = True  # whatever comes of it
        return self._step("shutdown", self._end)

    def on_error(self, state: LifecycleState) -> Result:
        result = self._step("error processing", self._end)
        self._finalized = result != SUCCESS
        return result

    def _step(self, name: str, step: Callable[[], None], undo: Callable[[], None] | None = None) -> Result:
        """Run a transition; rclpy would swallow what it raises, so it is logged here and undone."""
        try:
            step()
            return SUCCESS
        except (ValueError, NameValidationException) as error:
            self.get_logger().error(f"cannot {name}: {error}")
        except Exception:
            self.get_logger().error(f"cannot {name}:\n{format_exc()}")
        if undo is not None:
            self._step(f"undo {name}", undo)
        return FAILURE

    def _configure(self) -> None:
        if self.config is None:
            raise ValueError(self._error)
        warm_up(self.config)
        self.pipeline = SpatialPipeline(self.config)
        self._assembler = FrameAssembler(self.config)
        self._outputs = Outputs(self, self.pipeline.memory, lambda: self._worker.dropped().total())
        self._parts.append(self._outputs)
        self._worker = Worker(self.pipeline, self._assembler, self._now_ns, self._processed, self.get_logger())
        self._make_services()
        cameras = ", ".join(self.config.cameras)
        self.get_logger().info(f"configured for {len(self.config.cameras)} camera(s): {cameras}")

    def _make_services(self) -> None:
        """What callers may ask, and the model, which begins to load here; no request delays an image."""
        assert self.config is not None
        group = ReentrantCallbackGroup()
        self._parts.append(Services(self, self.pipeline, self._reset_memory, group))
        self.models = Models(self.config, self.get_logger(), self.engine)
        self._questions = Questions(self, self.pipeline, self.models.answers, group)
        self._parts.append(self._questions)
        self._beside = [MotionQuestions(self.pipeline, self.models.answers, self._outputs.reward, self.get_logger())]
        if self.models.geometry is not None:
            seen = Windows(self.pipeline, self.models.geometry, self._outputs.window, self.get_logger())
            self._beside.append(seen)
        self._parts += self._beside

    def _activate(self) -> None:
        assert self.config is not None and self.models is not None
        self._inputs = Inputs(self, self.config, self._worker.arrived)
        self._watch = Watch(self, self._inputs.streams, self._assembler)
        self._diagnostics = Diagnostics(self.get_name(), self._worker, self.pipeline, self.models, self._inputs.streams)
        self._worker.start(self._inputs)
        self._outputs.selection(again=True)
        self._timer = self.create_timer(
            1.0 / self.config.status_rate,
            self._tell_status,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=Clock(clock_type=ClockType.STEADY_TIME),  # goes on while simulated time stands still
        )

    def _processed(self, frame: Frame, processed: Processed, age_ns: int | None) -> None:
        self._outputs.frame(frame, processed, age_ns)
        for beside in self._beside:
            beside.look()

    def _deactivate(self) -> None:
        if self._timer is not None:
            self.destroy_timer(self._timer)
        inputs, self._timer, self._inputs = self._inputs, None, None
        if inputs is not None:
            self._worker.stop()
            inputs.close()

    def _unconfigure(self) -> None:
        if self.models is not None:
            self.models.close()  # first: others wait for what it is doing
        while self._parts:
            self._parts.pop().close()

    def _end(self) -> None:
        self._deactivate()
        self._unconfigure()

    def _tell_status(self) -> None:
        try:
            assert self.config is not None
            self._outputs.selection()
            self._outputs.status()
            self._outputs.picture()
            self._outputs.diagnostics.publish(self._diagnostics.array(self.config, self.get_clock().now().to_msg()))
            self._watch.look(self.config.sync.stale_after)
            self._questions.scene.warm()
        except Exception:
            if self._inputs is None:
                return  # deactivated meanwhile
            self.get_logger().error(f"status cannot be told:\n{format_exc()}", throttle_duration_sec=10.0)

    def _reset_memory(self) -> None:
        self._worker.reset()
        self._outputs.forgotten()

    def _parameters_changed(self, _changed) -> None:
        if self.config is not None:
            self.config = parameters.read(self, self.config.cameras)
            if self.models is not None:
                self.models.answers.params = self.config.ask

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds
