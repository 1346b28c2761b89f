"""The lifecycle node ``spatial_mllm``: parameters and states; what works in them is a :class:`Session`."""

from collections.abc import Callable, Sequence
from traceback import format_exc
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import NameValidationException
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn as Result
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from ..config import Config, build
from ..mllm.process.remote import ENGINE
from ..scene.warm_up import warm_up
from . import parameters
from .inputs import streams
from .log import PlainLogger
from .outputs import TOPICS
from .qos import refuse_unknown
from .session import Session

SUCCESS, FAILURE = Result.SUCCESS, Result.FAILURE


class SpatialNode(LifecycleNode):
    """configure makes pipeline, publishers and services; activate subscribes and starts to work.

    Inactive, it keeps its memory and answers requests; cleanup forgets everything. Parameters take effect with
    configure, live ones at once; the others cannot be set while it is active.

    Attributes:
        config: the parameters that are in effect; None where the given ones are wrong (the log says why).
        engine: import path of what runs in the model's process.
    """

    engine = ENGINE

    def __init__(self, **options):
        super().__init__("spatial_mllm", automatically_declare_parameters_from_overrides=True, **options)
        self.config: Config | None = None
        self._error = ""
        self._finalized = False
        self._session: Session | None = None  # from configure to cleanup
        self._configured: dict[str, Any] = {}  # values of the parameters that it was made with
        self._given, self._overrides = parameters.given(self)
        try:
            self.config = parameters.declare(self, self._given)
            self.add_on_set_parameters_callback(self._may_be_set)
            self.add_post_set_parameters_callback(self._parameters_changed)
        except ValueError as error:
            self._error = str(error)

    def get_logger(self) -> PlainLogger:
        return PlainLogger(name=super().get_logger().name)

    @property
    def autostart(self) -> bool:
        return self.config.autostart if self.config else self._given.get("autostart") is not False

    def start(self) -> bool:
        """configure and activate; False where one of them failed."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def hang_up(self) -> None:
        """Cancel every question, and let their clients know, while there is an executor to do so."""
        self._in_session(Session.hang_up)

    def end(self) -> None:
        """Stop work and close everything, whatever the state; the node can only be destroyed afterwards."""
        if not self._finalized:
            self.trigger_shutdown()

    def on_configure(self, state: LifecycleState) -> Result:
        return self._step("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> Result:
        super().on_activate(state)  # from here on publishers speak
        result = self._step("activate", lambda: self._in_session(Session.activate))
        if result != SUCCESS:
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> Result:
        result = self._step("deactivate", lambda: self._in_session(Session.deactivate))
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> Result:
        return self._step("cleanup", self._close)

    def on_shutdown(self, state: LifecycleState) -> Result:
        self._finalized = True  # whatever comes of it
        return self._step("shutdown", self._close)

    def on_error(self, state: LifecycleState) -> Result:
        result = self._step("error processing", self._close)
        self._finalized = result != SUCCESS
        return result

    def _step(self, name: str, step: Callable[[], None]) -> Result:
        """Run a transition; rclpy would swallow what it raises, so it is logged here. Each undoes what it left half."""
        try:
            step()
            return SUCCESS
        except (ValueError, NameValidationException) as error:
            self.get_logger().error(f"cannot {name}: {error}")
        except Exception:
            self.get_logger().error(f"cannot {name}:\n{format_exc()}")
        return FAILURE

    def _configure(self) -> None:
        if self.config is None:
            raise ValueError(self._error)
        self._configured = parameters.values(self, self.config.cameras)
        self.config = build(self._configured)
        topics = [stream.topic for stream in streams(self.config)]
        for topic in topics:
            validate_topic_name(topic)
        subscribed, published = (list(map(self.resolve_topic_name, names)) for names in (topics, TOPICS))
        refuse_unknown(self._overrides, subscribed, published)
        if blind := self.config.without_geometry:
            text = "no frame will be selected of {}: no depth topic, and no model gives depth; set its depth_topic, or "
            self.get_logger().warning(text.format(", ".join(blind)) + "vggt.model or ask.model (nano ships with torch)")
        warm_up(self.config)
        self._session = Session(self, self.config, self.engine)

    def _in_session(self, do: Callable[[Session], None]) -> None:
        if self._session is not None:
            do(self._session)

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _may_be_set(self, wanted: Sequence[Parameter]) -> SetParametersResult:
        """Whether these may be set now, together; rclpy has looked at type and range of each."""
        assert self.config is not None  # what is wrong is not declared
        now = parameters.values(self, self.config.cameras)
        new = {p.name: p.value for p in wanted if p.name in now}
        waits = [name for name in new if name not in parameters.live(new)]
        if waits and self._session is not None and self._session.active:
            reason = f"{', '.join(waits)}: not while the node is active; it may be set after deactivate or cleanup"
            return SetParametersResult(successful=False, reason=reason)
        try:
            build(now | new)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _parameters_changed(self, changed: Sequence[Parameter]) -> None:
        if self.config is None or self._session is None:
            return
        now = parameters.values(self, self.config.cameras)
        waits = [p.name for p in changed if p.name in now and p.name not in parameters.live(now)]
        if waits:
            self.get_logger().info(f"{', '.join(waits)}: takes effect with the next cleanup and configure")
        self.config = build(self._configured | parameters.live(now))
        self._session.update(self.config)
