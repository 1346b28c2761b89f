"""Pictures as cameras, phones and programs leave them in folders: upright, whole, and no depth among them."""

import warnings
from importlib.util import find_spec
from io import BytesIO

import cv2
import numpy as np
import PIL.Image
import pytest

from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.recordings import BagError, BagWarning, read_images
from spatial_mllm_ros.recordings.pictures import read_picture

RED, BLUE, GREEN, GRAY = (220, 40, 30), (30, 40, 220), (30, 200, 60), (120, 120, 120)
MP4 = b"\0\0\0\x18ftypmp42" + bytes(np.random.default_rng(4).integers(0, 255, 20_000, np.uint8))


def scene():
    """96x64: a quarter of each colour, so that every turn and mirror image of it is another picture."""
    out = np.zeros((64, 96, 3), np.uint8)
    out[:32, :48], out[:32, 48:], out[32:, :48], out[32:, 48:] = RED, BLUE, GREEN, GRAY
    return out


def encoded(pixels, kind="JPEG", mode=None, **options):
    out = BytesIO()
    image = PIL.Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(out, kind, **({"quality": 95} if kind == "JPEG" else {}), **options)
    return out.getvalue()


def put(folder, **files):
    folder.mkdir()
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def png(pixels, kind=".png"):
    return cv2.imencode(kind, pixels)[1].tobytes()


def frames_of(path, *said, **options):
    """Frames, and that exactly these warnings came with them."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        frames = list(read_images(path, **options))
    texts = [str(warning.message) for warning in found if warning.category is BagWarning]
    assert len(texts) == len(said) and all(part in text for part, text in zip(said, texts)), texts
    assert len(found) == len(texts), [str(warning.message) for warning in found]
    return frames


def corners(image):
    """Colours near the four corners: upper left, upper right, lower left, lower right."""
    rows, columns = (8, -8), (8, -8)
    return [tuple(int(c) for c in image[y, x]) for y in rows for x in columns]


def looks_like(image, wanted, within=6):
    return np.abs(np.subtract(corners(image), wanted)).max() <= within


# What the sensor wrote where the tag says o, by the words of EXIF: which side of the scene row 0 and column 0 are.
STORED = {
    1: lambda a: a,  # row 0 is the top, column 0 the left side
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.transpose(1, 0, 2),  # left, top
    6: lambda a: a.transpose(1, 0, 2)[::-1],  # right, top
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],  # left, bottom
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation, kind):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](scene()))
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower())
    options = {"lossless": True} if kind == "WEBP" else {}
    path = put(tmp_path / "f", **{f"IMG_0__{suffix}": encoded(stored, kind, exif=exif, **options)})
    (frame,) = frames_of(path)
    assert frame.image.shape == (64, 96, 3) and (frame.camera.width, frame.camera.height) == (96, 64)
    assert looks_like(frame.image, [RED, BLUE, GREEN, GRAY])


def test_broken_exif_is_none():
    data = encoded(scene(), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xffgarbage")
    assert looks_like(read_picture(data), [RED, BLUE, GREEN, GRAY])


@pytest.mark.parametrize(
    "tail",
    [MP4, b"MakerNotes" * 60, b"\0" * 5000, b"\xff\xd8\xff\xe1\0\x10junk"],
    ids=["motion", "junk", "zeros", "another"],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_what_follows_the_end_is_ignored(tmp_path, tail, progressive):
    path = put(tmp_path / "f", a__jpg=encoded(scene(), progressive=progressive) + tail, b__png=png(scene()) + tail)
    assert len(frames_of(path)) == 2


def test_no_end_before_a_trailer(tmp_path):
    path = put(tmp_path / "f", pano__jpg=encoded(scene())[:-2] + MP4)
    assert looks_like(frames_of(path)[0].image, [RED, BLUE, GREEN, GRAY])


def detailed():
    noise = np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("fill", [b"", b"\0" * 4000])
@pytest.mark.parametrize("thumbnail", [False, True])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cut_off_is_left_out(tmp_path, share, fill, thumbnail, kind):
    """Also where zeros stand for the rest, and where a thumbnail in front has an end of its own."""
    exif = b"Exif\0\0" + encoded(scene()) if thumbnail else b""
    data = encoded(detailed(), kind, exif=exif)
    start = data.index(encoded(scene())) + len(encoded(scene())) if thumbnail and kind == "JPEG" else 0
    cut = data[: start + int((len(data) - start) * share)] + fill
    path = put(tmp_path / "f", a__jpg=cut, b__jpg=encoded(scene()))
    frames = frames_of(path, "1 of 2 images left out, cannot be read: the first is a.jpg: ")
    assert [f.stamp_ns for f in frames] == [33_333_333]


KINDS = {
    "alpha.png": encoded(np.dstack([scene(), np.full((64, 96), 90, np.uint8)]), "PNG"),
    "palette.png": encoded(scene(), "PNG", "P"),
    "clear.png": encoded(scene(), "PNG", "P", transparency=bytes([0, 100, 255])),
    "cmyk.jpg": encoded(scene(), "JPEG", "CMYK"),
    "progressive.jpeg": encoded(scene(), progressive=True),
    "cmyk.tiff": encoded(scene(), "TIFF", "CMYK"),
    "a.bmp": encoded(scene(), "BMP"),
    "a.webp": encoded(scene(), "WEBP", lossless=True),
    "a.ppm": encoded(scene(), "PPM"),
    "deep.png": png(scene()[..., ::-1].astype(np.uint16) * 257),
    "deep.tif": png(scene()[..., ::-1].astype(np.uint16) * 257, ".tif"),
    "CAPITALS.JPG": encoded(scene()),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_files(tmp_path, name):
    (frame,) = frames_of(put(tmp_path / "f", **{name: KINDS[name]}))
    assert looks_like(frame.image, [RED, BLUE, GREEN, GRAY], 45 if name == "palette.png" or name == "clear.png" else 6)


def test_gray_is_gray(tmp_path):
    gray = np.tile(np.arange(96, dtype=np.uint8), (64, 1))
    (frame,) = frames_of(put(tmp_path / "f", a__png=png(gray)))
    assert np.array_equal(frame.image, np.dstack([gray] * 3))


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_few_bits_of_16(tmp_path, bits, channels):
    """All images of a folder are stretched alike, by the brightest: the right value of level v is v >> (bits - 8)."""
    top = (1 << bits) - 1
    ramp = np.linspace(0, top, 96).round().astype(np.uint16)[None].repeat(64, 0)
    dark = ramp // 8
    shape = (lambda a: a) if channels == 1 else (lambda a: np.dstack([a] * 3))
    path = put(tmp_path / "f", a__png=png(shape(dark)), b__png=png(shape(ramp)))
    frames = frames_of(path, f"2 images of 16 bits use {bits} of them")
    for frame, levels in zip(frames, (dark, ramp)):
        assert np.array_equal(frame.image[..., 0], levels >> (bits - 8))


def test_all_of_16_bits_say_nothing(tmp_path):
    ramp = np.linspace(0, 65535, 96).round().astype(np.uint16)[None].repeat(64, 0)
    (frame,) = frames_of(put(tmp_path / "f", a__png=png(ramp)))
    assert np.array_equal(frame.image[..., 1], ramp >> 8)


DEEP = png(np.full((64, 96), 1500, np.uint16))


@pytest.mark.parametrize(
    ("depth", "colour"),
    [
        ("frame-000001.depth.png", "frame-000001.color.png"),
        ("0001_depth.png", "0001_rgb.png"),
        ("00001.png", "00001.jpg"),
        ("depthmap3.png", "image3.png"),
        ("a_depth_8bit.png", "a.png"),
    ],
)
def test_depth_is_no_picture(tmp_path, depth, colour):
    data = png(np.full((64, 96), 80, np.uint8)) if "8bit" in depth else DEEP
    names = {colour: png(scene()[..., ::-1]), colour.replace("1", "2").replace("a.", "b."): png(scene()[..., ::-1])}
    path = put(tmp_path / "f", **{depth: data}, **names)
    frames = frames_of(path, f"1 images of depth left out, which are no pictures: the first is {depth}", fps=10)
    assert [f.stamp_ns for f in frames] == [i * 100_000_000 for i in range(len(names))]
    assert all(looks_like(f.image, [RED, BLUE, GREEN, GRAY]) for f in frames)


def test_a_folder_of_depth_is_refused(tmp_path):
    path = put(tmp_path / "depth", a__png=DEEP, b__png=DEEP)
    with pytest.raises(BagError, match="holds 2 images of depth, and none of colour: name the folder of its colour"):
        read_images(path)


@pytest.mark.parametrize("folder", ["depth_dataset", "infrared"])
def test_names_alone_make_no_depth(tmp_path, folder):
    path = put(tmp_path / folder, depth_0__jpg=encoded(scene()), depth_1__jpg=encoded(scene()))
    assert len(frames_of(path)) == 2
    inside = put(tmp_path / "in_depths_of_field", indepthness__jpg=encoded(scene()), b__jpg=encoded(scene()))
    assert len(frames_of(inside)) == 2


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="pillow-heif is installed here")
def test_heic_is_named_with_what_to_do(tmp_path):
    path = put(tmp_path / "f", **{"0.HEIC": b"\0\0\0\x24ftypheic" + bytes(100), "1.jpg": encoded(scene())})
    frames = frames_of(path, "1 of 2 images left out, cannot be read: the first is 0.HEIC: HEIC ")
    assert len(frames) == 1


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic(tmp_path, orientation):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed here")
    heif.register_heif_opener()
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](scene()))
    (frame,) = frames_of(put(tmp_path / "f", IMG_0__HEIC=encoded(stored, "HEIF", exif=exif.tobytes())))
    assert looks_like(frame.image, [RED, BLUE, GREEN, GRAY], 12)


def test_files_that_systems_hide(tmp_path):
    hidden = {"._IMG_1.jpg": b"\0\5\x16\7" + bytes(200), ".DS_Store": b"\0\0\0\1Bud1", "Thumbs.db": b"x"}
    path = put(tmp_path / "f", IMG_1__jpg=encoded(scene()), IMG_2__jpg=encoded(scene()), **hidden)
    assert [f.stamp_ns for f in frames_of(path, fps=1)] == [0, 10**9]


def test_sizes_may_differ(tmp_path):
    path = put(tmp_path / "f", **{"10.jpg": encoded(scene()), "2.jpg": encoded(cv2.resize(scene(), (30, 50)))})
    assert [(f.camera.width, f.camera.height) for f in frames_of(path)] == [(30, 50), (96, 64)]


@pytest.mark.parametrize("data", [b"", b"text", encoded(np.ones((4, 4), np.float32), "TIFF")])
def test_what_is_no_picture(data):
    with pytest.raises(BadMessage):
        read_picture(data)
