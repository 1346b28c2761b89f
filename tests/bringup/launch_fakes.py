"""Stand-ins for launch and launch_ros, which PyPI does not have: they keep what they are made with, and start nothing.

They let the launch file's own lines run. That launch does with it what it should is tested where it is installed.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any


class Made:
    """What was made, by its class's name."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.args = args
        self.__dict__.update(kwargs)

    @property
    def kind(self) -> str:
        return type(self).__name__


class PackageNotFoundError(KeyError):
    pass


def kinds(*names: str) -> dict[str, type]:
    return {name: type(name, (Made,), {}) for name in names}


def install(monkeypatch, share: str, executable: str, missing: set[str]) -> None:
    """Puts them where the launch file imports from.

    Args:
        share: folder of the package.
        executable: what is found as any executable of it.
        missing: packages that are not installed.
    """

    def get_package_prefix(package: str) -> str:
        if package in missing:
            raise PackageNotFoundError(package)
        return "/opt"

    found = type("ExecutableInPackage", (Made,), {"perform": lambda self, context: executable})
    packages = SimpleNamespace(
        PackageNotFoundError=PackageNotFoundError,
        get_package_prefix=get_package_prefix,
        get_package_share_directory=lambda package: share,
    )
    modules = {
        "launch": kinds("LaunchDescription"),
        "launch.actions": kinds("DeclareLaunchArgument", "ExecuteProcess", "LogInfo", "OpaqueFunction", "Shutdown"),
        "launch_ros": {},
        "launch_ros.actions": kinds("Node"),
        "launch_ros.substitutions": {"ExecutableInPackage": found},
        "ament_index_python": {},
        "ament_index_python.packages": vars(packages),
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
