"""A recording played into the live node, as on a robot: ``demo_live.py BAG``. Prints what the node says."""

import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SECONDS = 60
UNTRAINED = Path("out/untrained")
BIN = Path(sys.executable).parent
NODE = "/spatial_mllm"


def main(bag: Path) -> None:
    try:
        import rclpy
    except ImportError:
        print("left out: there is no rclpy for this Python (the ROS 2 wheels are for 3.11 and 3.12)")
        return
    compressed = [("camera.image_transport", "compressed"), ("camera.depth_transport", "compressed")]
    model = [("ask.model", str(untrained()))] if find_spec("torch") else []
    parameters = [p for name, value in compressed + model for p in ("-p", f"{name}:={value}")]
    quiet = ["--ros-args", "--log-level", "warn"]
    # The player is there first and waits for the node, as cameras are there before it on a robot.
    player = subprocess.Popen([BIN / "spatial-mllm", "play", bag, "--restamp", "--wait", str(SECONDS)])
    processes = [player]
    rclpy.init()
    try:
        robot = Robot()
        robot.wait(lambda: robot.node.count_publishers("/tf") or player.poll() is not None, "the player")
        processes.append(subprocess.Popen([BIN / "spatial_mllm_node", *quiet, *parameters]))
        robot.wait(lambda: player.poll() is not None, "the end of the recording")
        robot.wait(lambda: robot.ask.service_is_ready() and robot.measure.service_is_ready(), "the node")
        robot.questions()
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(SECONDS)
        rclpy.shutdown()


def untrained() -> Path:
    """A model of the right shape and of random weights."""
    if not UNTRAINED.exists():
        from spatial_mllm_ros.mllm.checkpoints.untrained import make_untrained

        make_untrained(UNTRAINED)
    return UNTRAINED


class Robot:
    """The other side: listens to coverage and rewards, and calls services."""

    def __init__(self) -> None:
        import rclpy
        from spatial_mllm_msgs.msg import CoverageStatus, MotionReward
        from spatial_mllm_msgs.srv import AskSpatial, MeasureMotion

        self.spin_once = rclpy.spin_once
        self.node = rclpy.create_node("demo")
        self.ask_type, self.measure_type = AskSpatial, MeasureMotion
        self.ask = self.node.create_client(AskSpatial, f"{NODE}/ask")
        self.measure = self.node.create_client(MeasureMotion, f"{NODE}/measure_motion")
        self.reward: Any = None
        self.told = 0.0
        self.node.create_subscription(MotionReward, f"{NODE}/motion_reward", self.rewarded, 10)
        self.node.create_subscription(CoverageStatus, f"{NODE}/coverage", self.covered, 10)

    def rewarded(self, msg: Any) -> None:
        self.reward = msg

    def covered(self, msg: Any) -> None:
        if msg.frames_seen and time.monotonic() - self.told > 1:
            self.told = time.monotonic()
            moved = f"camera moved {self.reward.distance:.2f} m" if self.reward else ""
            covered = f"{msg.frames_selected} frames cover {msg.voxels_covered} of {msg.voxels_seen} voxels"
            print(f"  {msg.frames_seen:4} frames, {1000 * msg.frame_age:3.0f} ms old: {covered}; {moved}")

    def wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                sys.exit(f"{what}: not within {SECONDS} s")
            self.spin_once(self.node, timeout_sec=0.1)

    def call(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        self.wait(future.done, "an answer")
        return future.result()

    def questions(self) -> None:
        motion = self.call(self.measure, self.measure_type.Request(target="camera"))
        print(f"  ~/measure_motion camera: {motion.distance:.3f} m, {motion.rotation_deg:.0f} degrees")
        question = "How wide is the table?"
        answer = self.call(self.ask, self.ask_type.Request(question=question, answer_type=self.ask_type.Request.NUMBER))
        if answer.error_code:
            print(f"  ~/ask '{question}': error {answer.error_code}, {answer.error_msg}")
            return
        verdict = ("answered", "not observed", "unsure")[answer.verdict]
        seconds = answer.seconds_encode + answer.seconds_generate
        print(f"  ~/ask '{question}': {verdict}, from {len(answer.evidence)} frames in {seconds:.1f} s")
        print("    (a tiny model with random weights, to show the way: what it says means nothing)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
