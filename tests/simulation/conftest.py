"""One small room for all tests of the simulation: 20 frames of 160x120 without sensor noise."""

import pytest

pytest.importorskip("embreex", reason="rooms are simulated with embreex")


@pytest.fixture(scope="session")
def room():
    from spatial_mllm_ros.simulation import make_room

    return make_room(seed=4, size=(160, 120), fps=10, duration=2, noise=0)


@pytest.fixture(scope="session")
def views(room):
    """Every frame of the room."""
    return list(room.frames())
