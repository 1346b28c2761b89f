"""The debug image: voxels where they are seen, targets in their colours, a border around what is selected."""

import numpy as np
import pytest

from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.node.drawing import BORDER, COVERED, FOLLOWED, LOST, Followed, debug_image, visible

FOCAL, WIDTH, HEIGHT = 100.0, 640, 480
K = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
CAMERA = Camera("camera", "optical", WIDTH, HEIGHT, K)


def frame(pose=None, depth=None):
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    return Frame(1, CAMERA, image=image, depth=depth, world_from_camera=np.eye(4) if pose is None else pose)


def colours(image, colour):
    return int((image == np.array(colour, np.uint8)).all(axis=2).sum())


def test_points_are_where_a_pinhole_camera_sees_them():
    pose = np.eye(4)
    pose[:3, 3] = 1.0, 2.0, 3.0
    seen = visible(frame(pose), np.array([[1.0, 2.0, 5.0], [1.5, 2.0, 5.0], [1.0, 2.0, 1.0], [99.0, 2.0, 5.0]]), 0.1)
    middle = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    assert seen == pytest.approx(np.array([middle, (middle[0] + FOCAL * 0.5 / 2.0, middle[1])]))


def test_what_lies_behind_the_measured_depth_is_hidden():
    depth = np.full((HEIGHT // 2, WIDTH // 2), 2.0, np.float32)  # of another resolution
    depth[:, : WIDTH // 4] = 0  # no reading: nothing is known to hide it
    points = np.array([[0.5, 0.1, 2.05], [0.5, 0.1, 2.5], [-0.5, 0.1, 2.5], [0.5, 0.1, 1.0]])
    seen = visible(frame(depth=depth), points, 0.1)
    expected = [(points[i, :2] / points[i, 2]) * FOCAL + K[:2, 2] for i in (0, 2, 3)]
    assert seen == pytest.approx(np.array(expected))


def test_without_a_pose_or_voxels_there_is_nothing_to_mark():
    bare = Frame(1, CAMERA, image=np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert len(visible(bare, np.ones((3, 3)), 0.1)) == len(visible(frame(), np.zeros((0, 3)), 0.1)) == 0
    assert not debug_image(bare, np.ones((3, 3)), 0.1).any()
    assert debug_image(Frame(1, CAMERA), np.ones((3, 3)), 0.1) is None


def test_targets_points_caption_and_border():
    plain = frame()
    cup = Followed("cup", "moved 0.25 m", False, np.array([[300.0, 200.0], [340.0, 240.0]]))
    gone = Followed("t\u00e4sse", "lost for 2 s", True, np.array([[-5.0, 9999.0], [620.0, 460.0]]))  # it leaves
    image = debug_image(plain, np.array([[0.0, 0.0, 2.0]]), 0.1, "3 of 16", True, [cup, gone])
    assert colours(image, COVERED) > BORDER * (WIDTH + HEIGHT)  # the border, and a dot in the middle
    assert tuple(image[HEIGHT // 2, WIDTH // 2]) == COVERED
    assert tuple(image[200, 300]) == FOLLOWED and tuple(image[199, 320]) == FOLLOWED  # a point, and the box around
    assert tuple(image[460, 620]) == LOST
    assert not colours(debug_image(plain, np.zeros((0, 3)), 0.1), COVERED)
    assert (plain.image == 200).all()  # the frame itself stays as it was


@pytest.mark.live
def test_pictures_are_made_for_who_looks(robot, start):
    """A debug image of each kind, the cloud and the markers of a node that sees the textured wall."""
    import cv2
    from sensor_msgs.msg import CompressedImage, Image, PointCloud2
    from spatial_mllm_msgs.msg import MotionReward
    from spatial_mllm_msgs.srv import SetRewardTarget
    from visualization_msgs.msg import Marker, MarkerArray

    from . import scene
    from .process import SENSOR, polled

    start({"status_rate": 10.0, "coverage.voxel_size": 0.2})
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    sensors = scene.Sensors(robot)
    sensors.processed(rewards, 0)
    roi = {"x_offset": 24, "y_offset": 18, "width": 48, "height": 36}
    request = SetRewardTarget.Request(label="poster")
    for name, value in roi.items():
        setattr(request.roi, name, value)
    answer = robot.call(SetRewardTarget, "/spatial_mllm/set_reward_target", label="poster", roi=request.roi)
    assert answer.error_code == 0 and answer.tracked_points
    raw = robot.listen(Image, "/spatial_mllm/debug_image/camera", SENSOR)
    packed = robot.listen(CompressedImage, "/spatial_mllm/debug_image/camera/compressed", SENSOR)
    clouds = robot.listen(PointCloud2, "/spatial_mllm/coverage_cloud", scene.LATCHED)
    arrays = robot.listen(MarkerArray, "/spatial_mllm/target_markers")
    i = iter(range(1, 1000))

    def all_came():
        sensors.processed(rewards, next(i))
        return raw and packed and clouds and any(len(a.markers) == 5 for a in arrays)

    polled(all_came, "pictures")
    image = np.frombuffer(raw[-1].data, np.uint8).reshape(scene.HEIGHT, scene.WIDTH, 3)
    assert raw[-1].encoding == "rgb8" and raw[-1].header.frame_id == "camera_optical"
    assert colours(image, FOLLOWED) > 0
    jpeg = cv2.imdecode(np.frombuffer(packed[-1].data, np.uint8), cv2.IMREAD_COLOR)
    assert jpeg is not None and jpeg.shape == image.shape
    cloud = np.frombuffer(clouds[-1].data, np.float32).reshape(-1, 3)
    assert clouds[-1].header.frame_id == "odom" and len(cloud) == clouds[-1].width
    assert np.abs(cloud[:, 2] - scene.WALL).max() <= 0.2  # all voxels are of the wall
    cleared, *markers = next(a.markers for a in arrays if len(a.markers) == 5)
    assert cleared.action == Marker.DELETEALL
    labels = [m.text.partition(":")[0] for m in markers if m.type == Marker.TEXT_VIEW_FACING]
    assert sorted(labels) == ["camera", "poster"]
    arrows = [m for m in markers if m.type == Marker.ARROW]
    lengths = [abs(m.points[1].x - m.points[0].x) for m in arrows]
    assert min(lengths) < scene.STEP / 2 < max(lengths)  # the wall stands still, the camera moves
