"""Runs the node from a colcon install folder until it answers, then ends it: ``check_installed_node.py INSTALL``."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import rclpy
from lifecycle_msgs.srv import GetState

SECONDS = 60


def main(install: Path) -> int:
    executable = install / "spatial_mllm_ros/lib/spatial_mllm_ros/spatial_mllm_node"
    if not executable.is_file():
        sys.exit(f"{executable.relative_to(install)} is not in the install folder: colcon build first")
    process = subprocess.Popen([executable.resolve()], cwd="/")
    try:
        print("the installed node is", state_of("/spatial_mllm", process))
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=SECONDS)
        print("and ended with exit code", code)
        return code
    finally:
        process.kill()


def state_of(node_name: str, process: subprocess.Popen) -> str:
    """Lifecycle state of a node, by its own word; ends the program when no answer comes in time."""
    rclpy.init()
    try:
        node = rclpy.create_node("check_installed_node")
        client = node.create_client(GetState, f"{node_name}/get_state")
        deadline = time.monotonic() + SECONDS
        while not client.wait_for_service(timeout_sec=0.5):
            if process.poll() is not None:
                sys.exit(f"the installed node ended at once, with exit code {process.returncode}")
            if time.monotonic() > deadline:
                sys.exit(f"{node_name} did not come up within {SECONDS} s")
        future = client.call_async(GetState.Request())
        rclpy.spin_until_future_complete(node, future, timeout_sec=SECONDS)
        answer = future.result()
        if answer is None:
            sys.exit(f"{node_name} did not answer within {SECONDS} s")
        return answer.current_state.label
    finally:
        rclpy.shutdown()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
