"""What camera_info says of pixels: lenses by name and number, rectified images, regions of interest and binning."""

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.assembler import FrameAssembler
from spatial_mllm_ros.camera_info import readout_from_info
from spatial_mllm_ros.config import Config, CoverageParams, PoseParams
from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.geometry.cameras import project, ray_grid
from spatial_mllm_ros.recordings import BagWarning, read_frames, recording_info
from spatial_mllm_ros.scene.selection import select
from spatial_mllm_ros.topic_names import is_aligned, is_depth_rectified, is_rectified, is_registered
from tests.cases import room
from tests.cases.test_registration import live
from tests.recordings.recordings import T, image, pose_stamped, write_ros2

FX, FY, CX, CY = room.INTRINSICS
K = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
BROWN = [-0.11, 0.04, 0.0012, -0.0007, -0.008]
RATIONAL = [0.28, -0.18, 0.0006, -0.0004, 0.04, 0.33, -0.2, 0.035]
PRISM = [0.0012, -0.0003, -0.0011, 0.0002]
TILT = [0.012, -0.009]
ALL = RATIONAL + PRISM + TILT
FISHEYE = [0.018, -0.009, 0.004, -0.001]


def brown_rays(d):
    """Rays by fixed-point iteration of the model of OpenCV, written out; z = 1."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tx, ty = [*d, *[0.0] * (14 - len(d))]
    flat = room.rays()[..., :2].reshape(-1, 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(tx), np.sin(tx)], [0, -np.sin(tx), np.cos(tx)]])
    about_y = np.array([[np.cos(ty), 0, -np.sin(ty)], [0, 1, 0], [np.sin(ty), 0, np.cos(ty)]])
    turned = about_y @ about_x
    tilted = np.array([[turned[2, 2], 0, -turned[0, 2]], [0, turned[2, 2], -turned[1, 2]], [0, 0, 1]]) @ turned
    lying = np.column_stack([flat, np.ones(len(flat))]) @ np.linalg.inv(tilted).T
    seen = lying[:, :2] / lying[:, 2:]
    x, y = seen.T.copy()
    for _ in range(100):
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2 + s2 * r2 * r2
        dy = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + s3 * r2 + s4 * r2 * r2
        x, y = (seen[:, 0] - dx) / radial, (seen[:, 1] - dy) / radial
    return np.stack([x, y, np.ones(len(x))], axis=1).reshape(*room.SIZE[::-1], 3)


def fisheye_rays(d):
    """Rays of theta_d = theta (1 + k1 theta^2 + ...), by fixed-point iteration; z = 1."""
    flat = room.rays()[..., :2]
    theta_d = np.linalg.norm(flat, axis=2)
    theta = theta_d.copy()
    for _ in range(100):
        theta = theta_d / (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(d)))
    return np.concatenate([flat * (np.tan(theta) / theta_d)[..., None], np.ones((*theta.shape, 1))], axis=2)


PINHOLE = room.rays()
LENSES = {
    "plumb_bob with 4": ("plumb_bob", BROWN[:4], brown_rays(BROWN[:4])),
    "plumb_bob with 5": ("plumb_bob", BROWN, brown_rays(BROWN)),
    "plumb_bob with 8, three of them 0": ("plumb_bob", [*BROWN, 0, 0, 0], brown_rays(BROWN)),
    "plumb_bob with 8": ("plumb_bob", RATIONAL, brown_rays(RATIONAL)),
    "rational_polynomial with 5": ("rational_polynomial", BROWN, brown_rays(BROWN)),
    "rational_polynomial with 8": ("rational_polynomial", RATIONAL, brown_rays(RATIONAL)),
    "rational_polynomial with 12": ("rational_polynomial", RATIONAL + PRISM, brown_rays(RATIONAL + PRISM)),
    "rational_polynomial with 14": ("rational_polynomial", ALL, brown_rays(ALL)),
    "rational_polynomial with 14, six of them 0": ("rational_polynomial", RATIONAL + [0] * 6, brown_rays(RATIONAL)),
    "thin_prism": ("thin_prism", RATIONAL + PRISM, brown_rays(RATIONAL + PRISM)),
    "brown_conrady": ("brown_conrady", BROWN, brown_rays(BROWN)),
    "Brown Conrady": ("Brown Conrady", BROWN, brown_rays(BROWN)),
    "no name": ("", BROWN, brown_rays(BROWN)),
    "equidistant": ("equidistant", FISHEYE, fisheye_rays(FISHEYE)),
    "fisheye": ("fisheye", FISHEYE, fisheye_rays(FISHEYE)),
    "kannala_brandt": ("kannala_brandt", FISHEYE, fisheye_rays(FISHEYE)),
    "Kannala Brandt4": ("Kannala Brandt4", [*FISHEYE, 0.0], fisheye_rays(FISHEYE)),
    "equidistant with zeros": ("equidistant", [0.0] * 4, fisheye_rays([0.0] * 4)),
    "inverse_brown_conrady with zeros": ("inverse_brown_conrady", [0.0] * 5, PINHOLE),
    "plumb_bob without": ("plumb_bob", [], PINHOLE),
    "rational_polynomial with 14 zeros": ("rational_polynomial", [0.0] * 14, PINHOLE),
    "nothing": ("", [], PINHOLE),
}


@pytest.mark.parametrize("model, d, rays", LENSES.values(), ids=LENSES)
def test_lenses(model, d, rays):
    camera = readout_from_info("c", room.info(1, model=model, d=d)).camera_for(*room.SIZE)
    np.testing.assert_allclose(ray_grid(camera), rays, atol=1e-5)
    pixels, inside = project(camera, rays.reshape(-1, 3))  # and back
    v, u = np.mgrid[: room.SIZE[1], : room.SIZE[0]]
    np.testing.assert_allclose(pixels, np.stack([u.ravel(), v.ravel()], axis=1), atol=2e-3)
    assert inside.all()


def test_the_rays_here_are_those_of_opencv():
    d = np.array(ALL)
    pixels, _ = cv2.projectPoints(brown_rays(d).reshape(-1, 1, 3), np.zeros(3), np.zeros(3), K, d)
    v, u = np.mgrid[: room.SIZE[1], : room.SIZE[0]]
    np.testing.assert_allclose(pixels[:, 0], np.stack([u.ravel(), v.ravel()], axis=1), atol=1e-6)


def seen_along(rays, topics, frames=10, **info):
    """A recording whose images and depth follow these rays, with what its camera_info says; and the voxels of it."""
    seen = []
    messages = [("/tf_static", room.START, room.transforms((room.START, "base_link", "optical", room.MOUNT)))]
    for i in range(frames):
        ns = room.START + i * room.STEP
        metres, picture = room.see(room.camera_pose(i), rays)
        seen.append((room.millimetres(metres) / 1000, rays, room.camera_pose(i)))
        messages += [
            ("/tf", ns, room.transforms((ns, "odom", "base_link", room.base_pose(i)))),
            (topics[2], ns, room.info(ns, **info)),
            (topics[0], ns, image(ns, picture, "rgb8")),
            (topics[1], ns, image(ns, room.millimetres(metres), "16UC1")),
        ]
    return messages, room.voxels(seen)


@pytest.mark.parametrize("name", ["rational_polynomial with 14", "Kannala Brandt4", "thin_prism"])
def test_a_recording_with_such_a_lens(tmp_path, name):
    model, d, rays = LENSES[name]
    messages, voxels = seen_along(rays, (room.COLOR, room.DEPTH, room.INFO), model=model, d=d)
    found = list(read_frames(write_ros2(tmp_path / "bag", messages)))
    assert select(found, CoverageParams()).voxels_seen == voxels


@pytest.mark.parametrize(
    "model, d, why",
    [
        (
            "inverse_brown_conrady",
            BROWN,
            "'inverse_brown_conrady' is not known; known are plumb_bob, rational_polynomial",
        ),
        ("ftheta", [0.0] * 5, "'ftheta' is not known; .* equidistant, fisheye, kannala_brandt"),
        ("double_sphere", [0.1, 0.6], "is not known"),
        ("plumb_bob", [0.1, 0.2], "2 coefficients: expected 4, 5, 8, 12, 14"),
        ("plumb_bob", [*BROWN, 0.3], "6 coefficients"),
        ("rational_polynomial", [0.1] * 15, "15 coefficients"),
        ("equidistant", [], "0 coefficients: expected 4"),
        ("equidistant", [*FISHEYE, 0.1], "5 coefficients: expected 4"),
    ],
)
def test_lenses_that_cannot_be_known_are_refused(model, d, why):
    with pytest.raises(BadMessage, match=why):
        readout_from_info("c", room.info(1, model=model, d=d))


P = (112.0, 113.0, 81.0, 58.0)
P_ROW = [P[0], 0, P[2], 0, 0, P[1], P[3], 0, 0, 0, 1, 0]


def rectified(topics, p=P_ROW, rays=None):
    """:func:`seen_along` P, or other rays, with these names of colour and depth; the lens of the sensor is BROWN."""
    rays = room.rays(P) if rays is None else rays
    return seen_along(rays, (*topics, "/camera/rgb/camera_info"), d=BROWN, p=np.array(p, float))


RECT, DEPTH_RECT = "/camera/rgb/image_rect_color", "/camera/depth_registered/image_rect"


@pytest.mark.parametrize("depth", [DEPTH_RECT, "/camera/aligned_depth_to_color/image_raw", "/camera/depth/image"])
def test_rectified_images_follow_p(tmp_path, depth):
    messages, voxels = rectified((RECT, depth))
    bag = write_ros2(tmp_path / "bag", messages)
    frames = list(read_frames(bag))
    assert select(frames, CoverageParams()).voxels_seen == voxels
    assert frames[0].depth_camera is frames[0].camera and frames[0].camera.distortion_model == "none"
    assert f"{RECT} is rectified by its name" in recording_info(bag).notes[0]


def test_rectified_images_that_were_never_rectified_follow_k(tmp_path):
    """P of zeros says that nothing was."""
    messages, voxels = rectified((RECT, DEPTH_RECT), np.zeros(12), rays=brown_rays(BROWN))
    bag = write_ros2(tmp_path / "bag", messages)
    assert select(list(read_frames(bag)), CoverageParams()).voxels_seen == voxels
    assert "P of its camera_info is 0: K is used" in recording_info(bag).notes[0]


def test_images_that_are_not_rectified_follow_k_whatever_p_says(tmp_path):
    messages, voxels = rectified(("/camera/rgb/image_color", "/camera/depth/image_raw"), rays=brown_rays(BROWN))
    bag = write_ros2(tmp_path / "bag", messages)
    assert select(list(read_frames(bag)), CoverageParams()).voxels_seen == voxels
    assert not recording_info(bag).notes


def test_rectified_depth_beside_raw_colour_is_carried_over():
    """As depth_image_proc/register publishes it: at the pixels of colour once that is rectified."""
    topics = ("/camera/rgb/image_raw", DEPTH_RECT)
    messages, _ = rectified(topics)
    assembler = live(topics[1], image_topic=topics[0])
    kinds = {"/tf_static": "tf_static", "/tf": "tf", "/camera/rgb/camera_info": "camera_info"}
    for topic, ns, message in messages:
        kind = kinds.get(topic, "image" if topic == topics[0] else "depth")
        assembler.feeder(kind, "camera")(message, ns)
    frame = assembler.take(room.START + 10**10, flush=True)[0]
    np.testing.assert_allclose(ray_grid(frame.measured.camera), room.rays(P), atol=1e-6)
    right, _ = room.see(frame.world_from_camera, ray_grid(frame.depth_camera).astype(float))
    there = frame.depth > 0
    assert there.mean() > 0.9 and np.median(np.abs(frame.depth - right)[there]) < 0.001


def roi(x, y, width, height, rectify=False):
    return T["sensor_msgs/msg/RegionOfInterest"](x, y, height, width, rectify)


def full_of(binning, x=0, y=0):
    """Intrinsics of the sensor of which the room's images are binned pixels, from (x, y) on."""
    shift = (binning - 1) / 2
    return binning * FX, binning * FY, binning * CX + shift + x, binning * CY + shift + y


WIDTH, HEIGHT = room.SIZE
READ_OUT = {
    "binned by 2": (full_of(2), (2 * WIDTH, 2 * HEIGHT), {"binning_x": 2, "binning_y": 2}),
    "binned by 2, one pixel left over": (full_of(2), (2 * WIDTH + 1, 2 * HEIGHT + 1), {"binning_x": 2, "binning_y": 2}),
    "cropped": (full_of(1, 37, 22), (WIDTH + 80, HEIGHT + 50), {"roi": roi(37, 22, WIDTH, HEIGHT)}),
    "cropped, then binned": (
        full_of(2, 30, 18),
        (2 * WIDTH + 60, 2 * HEIGHT + 40),
        {"roi": roi(30, 18, 2 * WIDTH, 2 * HEIGHT), "binning_x": 2, "binning_y": 2},
    ),
    "a region of all": (room.INTRINSICS, room.SIZE, {"roi": roi(0, 0, WIDTH, HEIGHT, True)}),
    "a region that is not applied": (room.INTRINSICS, room.SIZE, {"roi": roi(20, 10, 100, 80)}),
    "binning that is not applied": (room.INTRINSICS, room.SIZE, {"binning_x": 2, "binning_y": 2}),
    "binning of 1": (room.INTRINSICS, room.SIZE, {"binning_x": 1, "binning_y": 1}),
    "twice the size": (full_of(2), (2 * WIDTH, 2 * HEIGHT), {}),
}


@pytest.mark.parametrize("intrinsics, size, fields", READ_OUT.values(), ids=READ_OUT)
def test_what_is_read_out_is_told_by_the_size(intrinsics, size, fields):
    readout = readout_from_info("c", room.info(1, intrinsics, size, **fields))
    camera = readout.camera_for(*room.SIZE)
    np.testing.assert_allclose(camera.intrinsics, K, atol=1e-9)
    assert camera is readout.camera_for(*room.SIZE)


def test_a_cropped_recording(tmp_path):
    intrinsics, size, fields = READ_OUT["cropped"]
    messages = room.recording(camera_info=lambda ns: room.info(ns, intrinsics, size, **fields))
    bag = write_ros2(tmp_path / "bag", messages)
    assert select(list(read_frames(bag)), CoverageParams()).voxels_seen == room.right_voxels()
    assert "160x120 are read out of 240x170 pixels" in recording_info(bag).notes[0]


def test_a_size_that_fits_nothing_is_refused_with_all_that_is_known(tmp_path):
    fields = {"roi": roi(10, 20, 100, 90), "binning_x": 3, "binning_y": 3}
    messages = room.recording(3, camera_info=lambda ns: room.info(ns, size=(640, 480), **fields))
    why = r"image of 160x120, camera_info of 640x480 with a region of interest of 100x90 at \(10, 20\) with binning"
    with pytest.warns(BagWarning, match=f"3 images left out.*{why}"):
        assert not list(read_frames(write_ros2(tmp_path / "bag", messages)))


def test_a_size_at_which_no_camera_has_such_a_focal_length_is_refused():
    """Of 4 x 3 pixels with a focal length of 90,000, images of 160 x 120 would have one of 3.6 million."""
    readout = readout_from_info("c", room.info(1, (9e4, 9e4, 2.0, 1.5), (4, 3)))
    with pytest.raises(BadMessage, match="160x120, camera_info of 4x3: camera intrinsics must be"):
        readout.camera_for(160, 120)


def test_a_region_beyond_the_sensor_is_refused():
    with pytest.raises(BadMessage, match=r"100x90 at \(100, 20\) is not within the 160x120 pixels"):
        readout_from_info("c", room.info(1, roi=roi(100, 20, 100, 90)))


def test_a_camera_info_without_a_frame_takes_that_of_the_images(tmp_path):
    messages = room.recording(camera_info=lambda ns: room.info(ns, frame=""))
    bag = write_ros2(tmp_path / "bag", messages)
    frames = list(read_frames(bag))
    assert {frame.camera.frame_id for frame in frames} == {"optical"}
    assert select(frames, CoverageParams()).voxels_seen == room.right_voxels()
    assert not recording_info(bag).problems


def test_poses_of_such_a_camera_by_its_own_topic():
    """A PoseStamped is of the camera's frame, which the images name."""
    assembler = FrameAssembler(Config(pose=PoseParams(source="pose", world_frame="world")), needs=())
    assembler.add_info("camera", room.info(room.START, frame=""))
    assembler.add_color("camera", image(room.START, np.zeros((120, 160, 3), np.uint8), "rgb8"), 0)
    assembler.add_pose(pose_stamped(room.START, 1.5))
    (frame,) = assembler.take(10**10, flush=True)
    assert frame.world_from_camera[0, 3] == 1.5


@pytest.mark.parametrize(
    "topic, rectified, aligned, registered",
    [
        ("/camera/rgb/image_rect_color", True, False, False),
        ("/camera/depth/image_rect_raw/compressedDepth", True, False, False),
        ("/left/image_rectified", True, False, False),
        ("/left/image_unrectified", False, False, False),
        ("/rectified_camera/image_raw", False, False, False),
        ("/camera/depth_registered/image_raw", False, False, True),
        ("/camera/unregistered_depth/image", False, False, False),
        ("/camera/aligned_depth_to_color/image_raw", False, True, True),
        ("/depth_to_rgb/image_raw/compressed", False, True, True),
    ],
)
def test_what_names_of_topics_say(topic, rectified, aligned, registered):
    assert (is_rectified(topic), is_aligned(topic), is_registered(topic)) == (rectified, aligned, registered)


@pytest.mark.parametrize(
    "depth, image_topic, rectified",
    [
        ("depth_registered/image_raw", "rgb/image_rect_color", False),
        ("depth_registered/image", "rgb/image_rect_color", True),
        ("aligned_depth_to_color/image_raw", "color/image_rect_raw", True),
        ("depth_registered/image_rect", "rgb/image_raw", True),
        ("depth/image_raw", "rgb/image_raw", False),
    ],
)
def test_depth_of_colour_is_rectified_as_the_names_say(depth, image_topic, rectified):
    assert is_depth_rectified(depth, image_topic) == rectified
