"""A node of this process that hears and calls a player, which is a process of its own."""

from time import monotonic

from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SECONDS = 20.0  # until a test fails, on however loaded a machine; nothing waits for it to pass
COLOR, DEPTH, INFO = "/camera/color/image_raw", "/camera/depth/image_rect_raw", "/camera/color/camera_info"
TF, STATIC = "/tf", "/tf_static"
RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Listener:
    """Keeps what it hears: (topic, monotonic seconds, message or bytes)."""

    def __init__(self, node):
        self.node, self.heard = node, []
        self.executor = SingleThreadedExecutor(context=node.context)
        self.executor.add_node(node)

    def listen(self, kind, topic, qos=RELIABLE, raw=False):
        def keep(message):
            self.heard.append((topic, monotonic(), message))

        self.node.create_subscription(kind, topic, keep, qos, raw=raw)

    def until(self, done, seconds=SECONDS):
        deadline = monotonic() + seconds
        while not done() and monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.05)
        assert done(), f"heard only {len(self.heard)} messages in {seconds} s"

    def of(self, topic):
        return [message for name, _, message in self.heard if name == topic]

    def stamps(self, topic):
        """Header stamps, ns."""
        return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in self.of(topic)]

    def clock(self):
        return [m.clock.sec * 10**9 + m.clock.nanosec for m in self.of("/clock")]

    def call(self, kind, name, **request):
        """The answer of a service of the player."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready)
        answer = client.call_async(kind.Request(**request))
        self.until(answer.done)
        self.node.destroy_client(client)
        return answer.result()
