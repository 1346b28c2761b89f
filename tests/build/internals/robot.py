"""Rows about ROS 2, recordings, and what builds and runs the package."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing.spawn import get_command_line
from pathlib import Path
from threading import Event, Lock, get_ident
from typing import Any

import pytest

from . import Row

SECONDS = 30.0


def an_executor_asks_its_own_methods(_: Path) -> None:
    import rclpy
    from rclpy.clock import Clock
    from rclpy.clock_type import ClockType
    from rclpy.signals import SignalHandlerOptions

    from spatial_mllm_ros.node.input_thread import InputThread

    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("internals", context=context, enable_rosout=False, start_parameter_services=False)
    thread = InputThread(node)
    ours, others, called = set[int](), list[int](), Event()
    clock = Clock(clock_type=ClockType.STEADY_TIME)
    node.create_timer(0.001, lambda: others.append(get_ident()), clock=clock)
    node.create_timer(0.01, lambda: (ours.add(get_ident()), called.set()), callback_group=thread.group, clock=clock)
    thread.start()
    try:
        assert called.wait(SECONDS), "a callback of the group is not executed"
    finally:
        thread.stop()
        ident, executor = thread.ident, node.executor
        node.destroy_node()
        context.try_shutdown()
    assert ours == {ident}, "a callback of the group is executed elsewhere"
    assert not others, "a callback of another group is executed too"
    assert executor is None, "the node belongs to the executor"


def rclpy_declares_what_we_leave_to_it(_: Path) -> None:
    import rclpy
    from rclpy.lifecycle import LifecycleNode

    from spatial_mllm_ros.config import RCLPYS

    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode("internals", context=context)
    declared = set(node.get_parameters_by_prefix(""))
    node.destroy_node()
    context.try_shutdown()
    assert declared == set(RCLPYS), f"a node of rclpy's declares {sorted(declared)}"


def message_classes_name_their_package(_: Path) -> None:
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image

    from spatial_mllm_ros.node.watch import type_name

    assert [type_name(Image), type_name(Clock)] == ["sensor_msgs/msg/Image", "rosgraph_msgs/msg/Clock"]


def targets_of_generated_modules(_: Path) -> None:
    folder = Path(sys.prefix, "share/std_msgs/cmake")
    if not folder.is_dir():
        pytest.skip("ROS 2 is not installed from wheels here: from_wheels.cmake is not used")
    exported = "".join(file.read_text() for file in folder.glob("*Export.cmake"))
    assert "std_msgs__rosidl_generator_py " in exported, "std_msgs exports no such target"


def the_data_folder_of_a_wheel(_: Path) -> None:
    try:
        version("spatial_mllm_msgs")
    except PackageNotFoundError:
        pytest.skip("spatial_mllm_msgs was not built by pip here")
    assert Path(sys.prefix, "share/spatial_mllm_msgs/package.xml").is_file(), "it is not in sys.prefix"


def a_type_is_replaced_in_a_store(_: Path) -> None:
    from rosbags.typesys import get_types_from_msg

    from spatial_mllm_ros.recordings.types import own_store, typestore

    name = "std_msgs/msg/String"
    store = own_store()
    store.fielddefs.pop(name)
    store.types.pop(name)
    store.register(get_types_from_msg("int8 number\nstd_msgs/Header header", name))
    header = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](1, 2), "map")
    data = store.serialize_cdr(store.types[name](7, header), name)
    read: Any = store.deserialize_cdr(data, name)
    assert (read.number, read.header.frame_id) == (7, "map"), "what is read is not what was written"
    assert [field for field, _ in typestore().fielddefs[name][1]] == ["data"], "the shared store has changed"


def no_place_for_a_cache(_: Path) -> None:
    import numba

    from spatial_mllm_ros.compiled import compiled

    found: dict[str, Any] = {}
    exec(compile("def twice(x): return 2 * x", "/nowhere/at/all.py", "exec"), found)
    with pytest.raises(RuntimeError):
        numba.njit(found["twice"], cache=True)
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        assert compiled()(found["twice"])(4) == 8


def a_failed_task_has_its_cause(_: Path) -> None:
    from ray.exceptions import RayTaskError

    cause = ValueError("reason")
    raised = RayTaskError("task", "its traceback", cause).as_instanceof_cause()
    assert isinstance(raised, RayTaskError) and raised.cause is cause


def meteor_has_a_lock_and_a_process(folder: Path) -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    java = folder / "java"
    java.write_text("#!/bin/sh\nexec cat\n")
    java.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        scorer: Any = Meteor()
    held = scorer.lock
    held.acquire()
    scorer.lock = Lock()
    process = scorer.meteor_p
    process.stdout.close()
    process.stderr.close()
    scorer.__del__()  # would wait for ever for the lock that is held
    assert process.returncode is not None, "its process is not ended"


def the_session_has_hooks(_: Path) -> None:
    from huggingface_hub import get_session

    assert isinstance(get_session().event_hooks["request"], list)


def the_app_is_called(_: Path) -> None:
    import typer

    assert callable(vars(typer.Typer)["__call__"]) and not hasattr(typer.Typer, "debug")


def where_executables_go(_: Path) -> None:
    from setuptools.command.install import install

    assert "install-scripts=" in [option[0] for option in install.user_options]
    if find_spec("colcon_core"):  # it needs the develop of setuptools before 80, and says so to pip
        from setuptools.command.develop import develop

        assert "script-dir=" in [option[0] for option in develop.user_options]


def flags_reach_what_is_spawned(_: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multiprocessing.util._args_from_interpreter_flags", lambda: ["-X", "ours"])
        assert "ours" in get_command_line()


ROWS = [
    Row(
        "rclpy",
        "Executor waits on what its get_nodes and can_execute name, overridden or not",
        "spatial_mllm_ros/node/input_thread.py",
        "class _GroupExecutor(SingleThreadedExecutor)",
        an_executor_asks_its_own_methods,
        "rclpy",
    ),
    Row(
        "rclpy",
        "names of the parameters that a node has of itself",
        "spatial_mllm_ros/config.py",
        "RCLPYS = ",
        rclpy_declares_what_we_leave_to_it,
        "rclpy",
    ),
    Row(
        "rosidl-generator-py",
        "a message class is in a module package.msg._name",
        "spatial_mllm_ros/node/watch.py",
        'type_.__module__.split(".")',
        message_classes_name_their_package,
        "sensor_msgs",
    ),
    Row(
        "rosidl-generator-py",
        "CMake target package__rosidl_generator_py",
        "msg/cmake/from_wheels.cmake",
        "__rosidl_generator_py",
        targets_of_generated_modules,
        "rclpy",
    ),
    Row(
        "scikit-build-core",
        "wheel.install-dir /data (experimental) is sys.prefix",
        "msg/pyproject.toml",
        'wheel.install-dir = "/data"',
        the_data_folder_of_a_wheel,
        "spatial_mllm_msgs",
    ),
    Row(
        "rosbags",
        "a type is replaced by taking it out of fielddefs and types",
        "spatial_mllm_ros/recordings/definitions.py",
        "store.fielddefs.pop(",
        a_type_is_replaced_in_a_store,
        "rosbags",
    ),
    Row(
        "numba",
        "njit(cache=True) raises RuntimeError where a cache has no place",
        "spatial_mllm_ros/compiled.py",
        "except RuntimeError",
        no_place_for_a_cache,
        "numba",
    ),
    Row(
        "ray",
        "RayTaskError.cause",
        "training/spatial_mllm_training/multispa/on_ray.py",
        "error.cause",
        a_failed_task_has_its_cause,
        "ray",
    ),
    Row(
        "pycocoevalcap",
        "Meteor.lock and Meteor.meteor_p",
        "training/spatial_mllm_training/benchmarks/language.py",
        "scorer.meteor_p",
        meteor_has_a_lock_and_a_process,
        "pycocoevalcap",
    ),
    Row(
        "huggingface_hub",
        "get_session() is a client of httpx, with event_hooks",
        "spatial_mllm_ros/mllm/weights/files.py",
        'get_session().event_hooks["request"]',
        the_session_has_hooks,
        "huggingface_hub",
    ),
    Row(
        "typer",
        "Typer.__call__ runs the app; the name debug is free",
        "spatial_mllm_ros/cli/terminal.py",
        "class Commands(typer.Typer)",
        the_app_is_called,
        "typer",
    ),
    Row(
        "setuptools",
        "options install_scripts of install and, for colcon, script_dir of develop",
        "setup.cfg",
        "install_scripts=",
        where_executables_go,
        "setuptools",
    ),
    Row(
        "python",
        "spawned processes begin with what multiprocessing.util._args_from_interpreter_flags gives",
        "spatial_mllm_ros/isolated.py",
        "multiprocessing.util._args_from_interpreter_flags",
        flags_reach_what_is_spawned,
        "multiprocessing",
    ),
]
