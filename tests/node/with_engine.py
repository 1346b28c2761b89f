"""The node with another engine for its model: ``python -m tests.node.with_engine module:Class --ros-args ...``."""

import sys

from spatial_mllm_ros.node.main import main
from spatial_mllm_ros.node.spatial_node import SpatialNode

SpatialNode.engine = sys.argv.pop(1)
main()
