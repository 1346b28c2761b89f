"""Videos as cameras, phones and programs write them: all images, when they were shown, upright, whatever the codec."""

import socket
import struct
import warnings
from fractions import Fraction
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.recordings import BagError, BagWarning, read_any, videos
from spatial_mllm_ros.recordings.videos import is_video, read_video

PYAV = pytest.param("PyAV", marks=pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed here"))


@pytest.fixture(params=["OpenCV", PYAV], autouse=True)
def reader(request, monkeypatch):
    if request.param == "OpenCV":
        monkeypatch.setattr(videos, "pyav", lambda: None)
    return request.param


@pytest.fixture
def av():
    return pytest.importorskip("av", reason="without PyAV such videos cannot be written")


def shade(number, size=(96, 64), turns=0):
    """Red above, blue below, of a brightness that counts."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[: size[1] // 2, :, 0] = image[size[1] // 2 :, :, 2] = 60 + 3 * number
    return np.ascontiguousarray(np.rot90(image, turns))


def written(path, count=40, fourcc="mp4v", rate=30.0, **options):
    """By OpenCV: any machine can."""
    images = [shade(i, **options) for i in range(count)]
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), rate, images[0].shape[1::-1])
    assert out.isOpened()
    for image in images:
        out.write(image[..., ::-1])
    out.release()
    return path


def encoded(
    av, path, codec="libx264", count=40, times=None, sound=0.0, pixels="yuv420p", options=None, container=None, **shown
):
    """By PyAV; ``times`` in ms."""
    with av.open(str(path), "w", options=container or {}) as out:
        images = [shade(i, **shown) for i in range(count)]
        stream = out.add_stream(codec, rate=30, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        audio = out.add_stream("aac", rate=16000) if sound else None
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(times[i] if times is not None else round(i * 1000 / 30)), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for start in range(0, int(sound * 16000), 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, start
            out.mux(audio.encode(silence))
        if audio:
            out.mux(audio.encode(None))
    return path


def frames_of(path, *said):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        frames = list(read_video(path))
    texts = [str(warning.message) for warning in found if warning.category is BagWarning]
    assert len(texts) == len(said) and all(part in text for part, text in zip(said, texts)), texts
    return frames


def check(frames, count=40, times=None, size=(96, 64)):
    """Every image in order, upright, at its time."""
    wanted = np.arange(count) / 30 if times is None else np.asarray(times) / 1000
    assert [f.stamp_ns / 1e9 for f in frames] == pytest.approx(wanted - wanted[0], abs=0.002)
    for i, frame in enumerate(frames):
        assert frame.image.shape == (size[1], size[0], 3) and frame.image.dtype == np.uint8
        above, below = (frame.image[rows, 8:-8].reshape(-1, 3).mean(0) for rows in (slice(4, 24), slice(-24, -4)))
        assert np.abs(above - [60 + 3 * i, 0, 0]).max() < 12 and np.abs(below - [0, 0, 60 + 3 * i]).max() < 14, i


@pytest.mark.parametrize(
    ("name", "fourcc"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "MJPG"), ("a.mov", "mp4v"), ("film", "")]
)
def test_ordinary(tmp_path, name, fourcc):
    path = written(tmp_path / (name if fourcc else "a.avi"), fourcc=fourcc or "MJPG").rename(tmp_path / name)
    check(frames_of(path))
    check(list(read_any(path)))


@pytest.mark.parametrize("count", [1, 2])
def test_few_images(tmp_path, count):
    check(frames_of(written(tmp_path / "a.mp4", count)), count)


def test_a_matroska_that_lasts_longer_than_its_images(tmp_path):
    """Its number of images is a guess from how long it lasts: sound may, or the rate may vary."""
    path = written(tmp_path / "a.mkv", fourcc="MJPG")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # Duration, ms
    data[at : at + 8] = struct.pack(">d", 1400.0)
    path.write_bytes(data)
    check(frames_of(path))


TURNED = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise: the matrix of its track


@pytest.mark.parametrize("degrees", TURNED)
def test_held_upright(tmp_path, degrees):
    path = written(tmp_path / "a.mp4", 10, size=(64, 96), turns=degrees // 90)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in TURNED[degrees])
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    check(frames_of(path), 10, size=(64, 96))


UNEVEN = np.cumsum([0] + [33] * 19 + [200] * 20)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mov", "libx264")]
)
def test_variable_rate(av, tmp_path, name, codec):
    check(frames_of(encoded(av, tmp_path / name, codec, times=UNEVEN)), times=UNEVEN)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_goes_on_longer(av, tmp_path, name):
    check(frames_of(encoded(av, tmp_path / name, sound=4.0)))


def test_times_count_from_the_first_image(av, tmp_path):
    late = 5000 + 33 * np.arange(40)
    check(frames_of(encoded(av, tmp_path / "a.mp4", times=late)), times=late)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("a.mp4", "libx265", "yuv420p10le", (96, 64)),
        ("a.mkv", "ffv1", "bgr0", (97, 65)),
        ("a.mp4", "libx264", "yuv444p", (97, 65)),
        ("a.ts", "libx264", "yuv420p", (96, 64)),
        ("a.h264", "libx264", "yuv420p", (96, 64)),  # has no times: 30 Hz
    ],
)
def test_codecs_and_sizes(av, tmp_path, name, codec, pixels, size):
    options = {"x265-params": "log-level=none:pools=1"} if codec == "libx265" else {}
    path = encoded(av, tmp_path / name, codec, pixels=pixels, size=size, options=options)
    check(frames_of(path), size=size)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_av1(av, reader, tmp_path, name):
    path = encoded(av, tmp_path / name, "libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"})
    if reader == "PyAV":
        check(frames_of(path))
        return
    try:
        frames = frames_of(path)
    except BagError as error:
        assert "of codec AV1: install PyAV, pip install" in str(error) and "ffmpeg -i" in str(error)
    else:
        check(frames)  # an OpenCV that can


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_cut_off_avi(tmp_path):
    path = cut(written(tmp_path / "a.avi", 60, "MJPG"), 0.5)
    frames = frames_of(path, " of 60 images left out, cannot be decoded: a.avi is damaged")
    check(frames, len(frames))
    assert 20 < len(frames) < 60


def test_cut_off_mp4_has_lost_its_index(tmp_path):
    path = cut(written(tmp_path / "a.mp4"), 0.7)
    assert is_video(path)
    for read in (read_video, read_any):
        with pytest.raises(BagError, match="begins like a video, but cannot be decoded: it is cut off, or its index"):
            read(path)


def test_cut_off_mp4_whose_index_is_in_front(av, tmp_path):
    path = cut(encoded(av, tmp_path / "a.mp4", "mjpeg", pixels="yuvj420p", container={"movflags": "faststart"}), 0.6)
    frames = frames_of(path, " of 40 images left out, cannot be decoded: a.mp4 is damaged")
    check(frames, len(frames))
    assert 10 < len(frames) < 30


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_cut_off_matroska(av, reader, tmp_path, share):
    if reader == "OpenCV":
        pytest.skip("OpenCV does not know")
    path = cut(encoded(av, tmp_path / "a.mkv", "mjpeg", pixels="yuvj420p"), share)
    frames = frames_of(path, "a.mkv is cut off or damaged: it ends after")
    check(frames, len(frames))
    assert 40 * share - 4 < len(frames) < 40 * share + 4


def test_a_hole(reader, tmp_path):
    path = written(tmp_path / "a.avi", fourcc="MJPG")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 1500] = bytes(1500)
    path.write_bytes(data)
    frames = frames_of(path, " of 40 images left out, cannot be decoded: a.avi is damaged")
    assert 30 < len(frames) < 40, len(path.read_bytes())


@pytest.mark.parametrize("name", ["notes.txt", "sound.mp3", "a.nfo", "photo", "page.html"])
def test_what_is_no_video(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(cv2.imencode(".png", shade(1))[1].tobytes() if name == "photo" else b"some words\n" * 100)
    assert not is_video(path) or name == "photo"


def test_evenly_spread_of_a_video_that_does_not_know_its_count(av, tmp_path):
    """What training is shown: the container says 140, there are 40."""
    from spatial_mllm_training.sft.media import read_video as spread

    path = encoded(av, tmp_path / "a.webm", "libvpx-vp9", times=UNEVEN)
    images, step = spread(path, 4)
    brightness = [round((image[4:24].reshape(-1, 3).mean(0)[0] - 60) / 3) for image in images]
    assert np.abs(np.subtract(brightness, [0, 13, 26, 39])).max() <= 1  # it is compressed
    assert step == pytest.approx(UNEVEN[-1] / 1000 * 40 / 39 / 4, abs=0.01)


@pytest.mark.parametrize("head", ["ffconcat version 1.0\nfile a.avi\n", "#EXTM3U\n#EXTINF:9,\na.avi\n"])
def test_a_list_of_a_video_beside_it_is_none(tmp_path, head):
    written(tmp_path / "a.avi", fourcc="MJPG")
    for name in ("list.mp4", "list.ffconcat", "list.m3u8"):
        (tmp_path / name).write_text(head)
        with pytest.raises(BagError, match="no video that can be decoded"):
            list(read_video(tmp_path / name))


@pytest.mark.parametrize(
    "name, text",
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{url}/a.ts\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{url}/a.ts\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile {url}/a.mp4\n"),
        ("list.sdp", "v=0\nm=video 5000 RTP/AVP 96\nc=IN IP4 127.0.0.1\na=rtpmap:96 H264/90000\n"),
    ],
)
def test_a_list_of_other_videos_is_none_and_nobody_is_asked_for_them(tmp_path, name, text):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        (tmp_path / name).write_text(text.format(url=f"http://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(BagError, match="no video that can be decoded"):
            list(read_video(tmp_path / name))
        with pytest.raises(BlockingIOError):
            server.accept()
