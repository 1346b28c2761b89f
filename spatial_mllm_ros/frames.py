"""Frame and Camera: the one record that flows from sensors and bags through memory, motion and the model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_FOCAL = 1e6  # pixels
DISTORTION_LENGTHS = {"none": (0,), "plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with lens distortion, as a ``sensor_msgs/CameraInfo`` describes it.

    Attributes:
        name: the camera's name in the configuration.
        frame_id: its optical frame (x right, y down, z forward).
        width, height: image size in pixels.
        intrinsics: K, float64 [3, 3], pixels; the centre of the first pixel is (0, 0).
        distortion_model: ``none``, ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
        distortion: coefficients of that model, float64 [n].

    Raises:
        ValueError: a size, an intrinsic or the number of coefficients cannot belong to a camera.
    """

    name: str
    frame_id: str
    width: int
    height: int
    intrinsics: NDArray[np.float64]
    distortion_model: str = "none"
    distortion: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self):
        if self.width < 1 or self.height < 1:
            raise ValueError(f"camera size {self.width}x{self.height}: both must be at least 1 pixel")
        k = self.intrinsics
        if k.shape != (3, 3) or not np.isfinite(k).all() or not (0 < k[0, 0] < MAX_FOCAL and 0 < k[1, 1] < MAX_FOCAL):
            raise ValueError(
                f"camera intrinsics must be a finite 3x3 matrix, fx and fy positive and below {MAX_FOCAL:g}"
            )
        if k[2].tolist() != [0, 0, 1]:
            raise ValueError(f"camera intrinsics end with the row {k[2].tolist()}: expected [0, 0, 1]")
        if self.distortion_model not in DISTORTION_LENGTHS:
            raise ValueError(f"distortion model '{self.distortion_model}': known are {', '.join(DISTORTION_LENGTHS)}")
        if (
            self.distortion.size not in DISTORTION_LENGTHS[self.distortion_model]
            or not np.isfinite(self.distortion).all()
        ):
            raise ValueError(f"distortion model '{self.distortion_model}' with {self.distortion.size} coefficients")

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera seen at another resolution; pixel centres stay aligned (u' + 0.5 = s (u + 0.5))."""
        return self if (width, height) == (self.width, self.height) else _resized(self, width, height)


@lru_cache(maxsize=32)
def _resized(camera: Camera, width: int, height: int) -> Camera:
    sx, sy = width / camera.width, height / camera.height
    scale = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
    return replace(camera, width=width, height=height, intrinsics=scale @ camera.intrinsics)


@dataclass(frozen=True, eq=False, slots=True)
class Pixels:
    """An image as it arrived, and how to decode it.

    Attributes:
        height, width: size in pixels, known without decoding.
        nbytes: memory that the undecoded form holds.
        decode: returns the array; raises BadMessage when the bytes turn out to be broken.
    """

    height: int
    width: int
    nbytes: int
    decode: Callable[[], NDArray]

    @classmethod
    def of(cls, array: NDArray) -> "Pixels":
        """Wrap an array that is decoded already; it is not copied."""
        return cls(array.shape[0], array.shape[1], array.nbytes, partial(_itself, array))


class DepthSensor(Protocol):
    """A sensor of depth beside the colour camera.

    Attributes:
        camera: that of depth as it was measured.
        camera_from_depth: [4, 4], from its optical frame to that of colour.
        target: the colour camera, at the resolution that ``register`` carries depth over to.
    """

    camera: Camera
    camera_from_depth: NDArray[np.float64]
    target: Camera

    def register(self, depth: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """Depth as it was measured: metres, float32 [h, w], by which camera, and its pose where that is known."""

    depth: NDArray[np.float32]
    camera: Camera
    world_from_camera: NDArray[np.float64] | None


class Frame:
    """One moment of one camera: image, depth and pose under one stamp.

    Pixels stay as they arrived until they are asked for; ``image``, ``gray`` and ``depth`` decode once and keep the
    result until :meth:`release`. Arrays are read-only and shared, never copied.

    Attributes:
        stamp_ns: time of exposure, nanoseconds.
        camera: the Camera that took it (intrinsics of the colour image).
        world_from_camera: pose of the optical frame, float64 [4, 4], or None where unknown.
        world_frame: name of the world frame of that pose.
    """

    __slots__ = (
        "_color",
        "_depth",
        "_depth_pixels",
        "_gray",
        "_image",
        "_measured",
        "_sensor",
        "camera",
        "stamp_ns",
        "world_frame",
        "world_from_camera",
    )

    def __init__(
        self,
        stamp_ns: int,
        camera: Camera,
        *,
        image: Pixels | NDArray[np.uint8] | None = None,
        depth: Pixels | NDArray[np.float32] | None = None,
        sensor: DepthSensor | None = None,
        world_from_camera: NDArray[np.float64] | None = None,
        world_frame: str = "",
    ):
        self.stamp_ns = stamp_ns
        self.camera = camera
        self.world_from_camera = world_from_camera
        self.world_frame = world_frame
        self._color = Pixels.of(image) if isinstance(image, np.ndarray) else image
        self._depth_pixels = Pixels.of(depth) if isinstance(depth, np.ndarray) else depth
        self._image: NDArray[np.uint8] | None = None
        self._gray: NDArray[np.uint8] | None = None
        self._depth: NDArray[np.float32] | None = None
        self._measured: NDArray[np.float32] | None = None  # before it was carried over
        self._sensor = sensor

    def __repr__(self) -> str:
        return f"Frame({self.camera.name}, {self.stamp_ns / 1e9:.3f} s)"

    @property
    def key(self) -> tuple[int, str]:
        """(stamp_ns, camera name): what tells this frame from every other, and the order of frames in time."""
        return self.stamp_ns, self.camera.name

    @property
    def has_image(self) -> bool:
        return self._color is not None

    @property
    def has_depth(self) -> bool:
        return self._depth_pixels is not None

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """Colour image, uint8 [H, W, 3] RGB, or None. Raises BadMessage where its bytes are broken."""
        image = self._image
        if image is None and self._color is not None:
            image = self._image = _read_only(self._color.decode())
        return image

    def decoded(self) -> NDArray[np.uint8] | None:
        """The same as :attr:`image`, decoded for the caller alone: nothing is kept, nothing waits for a release."""
        image = self._image
        return self._color.decode() if image is None and self._color is not None else image

    @property
    def gray(self) -> NDArray[np.uint8] | None:
        """Luminance of the colour image, uint8 [H, W], or None."""
        gray = self._gray
        if gray is None and (image := self.image) is not None:
            gray = self._gray = _read_only(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        return gray

    @property
    def depth(self) -> NDArray[np.float32] | None:
        """Depth at the pixels of :attr:`depth_camera`, float32 [h, w] metres, 0 or NaN where there is no reading.

        None without depth. That of a sensor beside the colour camera is carried over when it is asked for.
        """
        depth = self._depth
        if depth is None and (depth := self._decoded_depth()) is not None:
            depth = self._depth = depth if self._sensor is None else _read_only(self._sensor.register(depth))
        return depth

    @property
    def depth_camera(self) -> Camera:
        """The colour camera at the resolution of :attr:`depth`, which is registered to it."""
        if self._sensor is not None:
            return self._sensor.target
        d = self._depth_pixels
        return self.camera if d is None else self.camera.resized(d.width, d.height)

    @property
    def measured_size(self) -> tuple[int, int] | None:
        """Width and height of depth as it was measured, pixels, known without decoding; None without depth."""
        return (d.width, d.height) if (d := self._depth_pixels) else None

    @property
    def measured(self) -> Measured | None:
        """Depth before it was carried over to the colour camera, or None; :attr:`depth` where it was there."""
        depth, sensor, pose = self._decoded_depth(), self._sensor, self.world_from_camera
        if depth is None or sensor is None:
            return None if depth is None else Measured(depth, self.depth_camera, pose)
        return Measured(depth, sensor.camera, None if pose is None else pose @ sensor.camera_from_depth)

    def _decoded_depth(self) -> NDArray[np.float32] | None:
        depth = self._measured
        if depth is None and self._depth_pixels is not None:
            depth = self._measured = _read_only(self._depth_pixels.decode())
        return depth

    @property
    def nbytes(self) -> int:
        """Memory held by the pixels as they arrived, bytes; decoded pixels live only until :meth:`release`."""
        return sum(p.nbytes for p in (self._color, self._depth_pixels) if p is not None)

    @property
    def decoded_nbytes(self) -> int:
        """Memory that its decoded pixels take, bytes, known without decoding: colour, luminance, depth."""
        color, depth, sensor = self._color, self._depth_pixels, self._sensor
        decoded = [part for part in (color, depth, sensor.target if sensor and depth else None) if part is not None]
        return sum(4 * part.height * part.width for part in decoded)

    def release(self) -> None:
        """Drop decoded pixels; they are decoded again when asked for."""
        self._image = self._gray = self._depth = self._measured = None


def _itself(array: NDArray) -> NDArray:
    return array


def _read_only(array: NDArray) -> NDArray:
    view = array.view()
    view.flags.writeable = False
    return view
