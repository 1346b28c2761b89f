"""A simulated room played into the live node, as on a robot: ``demo_live.py BAG SEED ANSWERS``.

Prints what the node says, and writes its answers with the truth to ANSWERS, for ``spatial-mllm report --answers``.
"""

import json
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from demo_questions import Asking, askings

from spatial_mllm_ros.mllm import Answer, Verdict
from spatial_mllm_ros.mllm.calibration import known_calibration
from spatial_mllm_ros.mllm.weights.shipped import chosen
from spatial_mllm_ros.scene.asking import Asked

SECONDS = 60
UNTRAINED = Path("out/untrained")
BIN = Path(sys.executable).parent
NODE = "/spatial_mllm"


def main(bag: Path, seed: int, answers: Path) -> None:
    answers.unlink(missing_ok=True)
    try:
        import rclpy
    except ImportError:
        print("left out: there is no rclpy for this Python (the ROS 2 wheels are for 3.11 and 3.12)")
        return
    model = chosen("") or (str(untrained()) if find_spec("torch") else "none")
    judges = known_calibration(model).motion_confidence is not None
    parameters = {"ask.model": model, "motion.source": "both" if judges else "geometry", "use_sim_time": "true"}
    parameters |= {f"camera.{what}_transport": "compressed" for what in ("image", "depth")}
    arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    quiet = ["--ros-args", "--log-level", "warn"]
    # The player is there first and waits for the node, as cameras are there before it on a robot. Stamps stay as they
    # are recorded, so that the truth about every frame is known.
    command = [BIN / "spatial-mllm", "play", bag, "--clock", "--wait", str(SECONDS)]
    player = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # what is typed meanwhile does not steer it
    processes = [player]
    rclpy.init()
    try:
        robot = Robot()
        robot.wait(lambda: robot.node.count_publishers("/tf") or player.poll() is not None, "the player")
        processes.append(subprocess.Popen([BIN / "spatial_mllm_node", *quiet, *arguments]))
        robot.wait(lambda: player.poll() is not None, "the end of the recording")
        robot.wait(lambda: robot.ask.service_is_ready() and robot.measure.service_is_ready(), "the node")
        robot.motion()
        if model == "none":
            print("  no questions: torch is not installed")
        else:
            asked = robot.questions(seed)
            answers.write_text(json.dumps([one.values() for one in asked], indent=2) + "\n")
            known = [one.right for one in asked]
            print(f"  {sum(map(bool, known))} of {len(known)} answers are right{untold(model)}")
            if judges:
                print(f"  ~/motion_reward: {robot.judged} times of the model, beside geometry's")
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(SECONDS)
        rclpy.shutdown()


def untrained() -> Path:
    """A model of the right shape and of random weights."""
    if not UNTRAINED.exists():
        from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

        make_untrained(UNTRAINED)
    return UNTRAINED


def untold(model: str) -> str:
    return " (a tiny model of random weights, to show the way: what it says means nothing)" * (model == str(UNTRAINED))


class Robot:
    """The other side: listens to coverage and rewards, and calls services."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from spatial_mllm_msgs.msg import CoverageStatus, MotionReward, SelectedFrames
        from spatial_mllm_msgs.srv import AskSpatial, MeasureMotion

        self.spin_once = rclpy.spin_once
        self.node = rclpy.create_node("demo")
        self.ask_type, self.measure_type = AskSpatial, MeasureMotion
        self.ask = self.node.create_client(AskSpatial, f"{NODE}/ask")
        self.measure = self.node.create_client(MeasureMotion, f"{NODE}/measure_motion")
        self.rewards: dict[str, Any] = {}
        self.judged = 0
        self.selected: list[int] = []
        self.frames, self.told = 0, 0.0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(MotionReward, f"{NODE}/motion_reward", self.rewarded, 100)
        self.node.create_subscription(CoverageStatus, f"{NODE}/coverage", self.covered, 10)
        self.node.create_subscription(SelectedFrames, f"{NODE}/selected_frames", self.chosen, latched)

    def rewarded(self, msg: Any) -> None:
        self.judged += msg.source == "mllm"
        if msg.valid:
            self.rewards[msg.source] = msg

    def chosen(self, msg: Any) -> None:
        self.selected = sorted(nanoseconds(frame.header.stamp) for frame in msg.frames)

    def covered(self, msg: Any) -> None:
        if msg.frames_seen > self.frames and time.monotonic() - self.told > 1:
            self.frames, self.told = msg.frames_seen, time.monotonic()
            moved = "".join(
                f"; camera moved {reward.distance:.2f} m" + " by the model" * (source == "mllm")
                for source, reward in sorted(self.rewards.items())
            )
            covered = f"{msg.frames_selected} frames cover {msg.voxels_covered} of {msg.voxels_seen} voxels"
            print(f"  {msg.frames_seen:4} frames, {max(0.0, 1000 * msg.frame_age):3.0f} ms old: {covered}{moved}")

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

    def motion(self) -> None:
        motion = self.call(self.measure, self.measure_type.Request(target="camera"))
        print(f"  ~/measure_motion camera: {motion.distance:.3f} m, {motion.rotation_deg:.0f} degrees")

    def questions(self, seed: int) -> list[Asked]:
        """What the node answers about the room of that seed, and what is true."""
        from spatial_mllm_ros.simulation import make_room

        self.wait(lambda: len(self.selected) > 1, "two selected frames")
        return [self.answered(one) for one in askings(make_room(seed), self.selected)]

    def answered(self, one: Asking) -> Asked:
        question = one.question
        request = self.ask_type.Request(question=question.text, options=list(question.options))
        request.answer_type, request.max_frames = int(question.answer_type), one.frames
        for field, stamp in (("start", one.start_ns), ("end", one.end_ns)):
            time_ = getattr(request, field)
            time_.sec, time_.nanosec = divmod(stamp, 10**9)
        said = self.call(self.ask, request)
        if said.error_code:
            sys.exit(f"~/ask '{question.text}': error {said.error_code}, {said.error_msg}")
        vector = (said.vector.x, said.vector.y, said.vector.z)
        answer = Answer(Verdict(said.verdict), said.answer, said.value, said.unit, said.choice, vector)
        seconds = {"seconds_encode": said.seconds_encode, "seconds_generate": said.seconds_generate}
        answer = Answer(**(vars(answer) | seconds | {"confidence": said.confidence, "note": said.error_msg}))
        stamps = [nanoseconds(header.stamp) for header in said.evidence]
        truth, right = one.check(answer, stamps)
        shown = shorten(" ".join(filter(str.isprintable, said.answer.split())), 60)
        print(f"  ~/ask {question.text}")
        verdict = answer.verdict.name.lower().replace("_", " ")
        print(f"      {verdict}: {shown!r}, {said.confidence:.0%} sure; true: {truth}{'' if right else ' (wrong)'}")
        return Asked(question, answer, tuple((stamp, "camera") for stamp in stamps), truth, right)


def nanoseconds(stamp: Any) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
