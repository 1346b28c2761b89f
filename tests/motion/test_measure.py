import numpy as np
import pytest

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.motion.measure import measure_point

from .test_rewards import pushed
from .tiny_world import CAMERA, World, project_point


def on_the_box(frame):
    """Pixel of the middle of the box's front."""
    return tuple(project_point([-0.1, 0.45, 0.15], frame.world_from_camera))


def refused(frames, pixel):
    with pytest.raises(SpatialError) as caught:
        measure_point(frames, pixel)
    return caught.value


@pytest.mark.parametrize("distance", [0.0, 0.05, 0.3])
def test_a_point_on_a_pushed_box(distance):
    frames = pushed(distance).frames(40)
    motion = measure_point(frames, on_the_box(frames[0]))
    assert abs(motion.distance - distance) < max(0.005, 0.03 * distance)
    np.testing.assert_allclose(motion.displacement, [distance, 0, 0], atol=0.009)
    turned = frames[0].world_from_camera[:3, :3] @ motion.displacement_camera
    np.testing.assert_allclose(turned, motion.displacement, atol=1e-9)
    assert (motion.from_ns, motion.to_ns) == (frames[0].stamp_ns, frames[-1].stamp_ns)
    assert 0 < motion.confidence <= 1


def test_frames_in_between_may_lack_anything():
    frames = pushed(0.1).frames(40)
    for i, what in ((5, "image"), (10, "depth"), (15, "world_from_camera")):
        has = {"image": frames[i].image, "depth": frames[i].depth, "world_from_camera": frames[i].world_from_camera}
        frames[i] = Frame(frames[i].stamp_ns, CAMERA, **{**has, what: None})
    assert measure_point(frames, on_the_box(frames[0])).distance == pytest.approx(0.1, abs=0.005)


def test_requests_that_cannot_be_met_say_why():
    frames = pushed(0.0).frames(3)
    outside = refused(frames, (320.0, 10.0))
    assert outside.code is ErrorCode.BAD_REQUEST and "outside the image of 320x240" in outside.message
    assert refused(frames, (float("nan"), 1.0)).code is ErrorCode.BAD_REQUEST
    assert refused(frames[:1], (9.0, 9.0)).code is ErrorCode.BAD_REQUEST
    assert refused(frames[::-1], (9.0, 9.0)).code is ErrorCode.BAD_REQUEST
    plain = World([], plain=True).frames(2)
    assert refused(plain, (100.0, 100.0)).code is ErrorCode.NO_GEOMETRY
    blind = [
        Frame(
            f.stamp_ns,
            CAMERA,
            image=f.image,
            depth=np.zeros((240, 320), np.float32),
            world_from_camera=f.world_from_camera,
        )
        for f in frames
    ]
    no_depth = refused(blind, (100.0, 100.0))
    assert no_depth.code is ErrorCode.NO_GEOMETRY and "no depth" in no_depth.message


def test_a_point_that_leaves_the_view_is_not_guessed():
    frames = pushed(0.0).frames(2)
    away = World([], camera=lambda t: np.array([[-1.0, 0, 0, 0], [0, 0, -1, -3], [0, -1, 0, 1], [0, 0, 0, 1]]))
    later = [away.frame(i) for i in range(10, 14)]
    gone = refused([*frames, *later], on_the_box(frames[0]))
    assert gone.code is ErrorCode.NO_GEOMETRY and "lost" in gone.message


def test_still_points_of_a_recording(redkitchen):
    """Nothing moves in the kitchen; a hand-held sensor makes points seem to. Median over 1 s windows below 20 mm."""
    from spatial_mllm_ros.recordings import read_frames

    frames = list(read_frames(redkitchen))
    found, lost = [], 0
    for start in range(0, 270, 90):
        for u in (100.0, 210.0, 320.0, 430.0, 540.0):
            for v in (120.0, 240.0, 360.0):
                try:
                    found.append(measure_point(frames[start : start + 31], (u, v)).distance)
                except SpatialError as error:
                    assert error.code is ErrorCode.NO_GEOMETRY
                    lost += 1
    assert len(found) >= 15
    assert np.median(found) < 0.020, f"median {1000 * np.median(found):.1f} mm over {len(found)} points, {lost} refused"
