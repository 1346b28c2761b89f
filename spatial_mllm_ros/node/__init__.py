"""The ROS 2 node ``spatial_mllm``: converts, calls the pipeline, publishes."""
