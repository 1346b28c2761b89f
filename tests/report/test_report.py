"""The report of simulated recordings: what the page says, and that it stands by itself."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.config import Config, build
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.recordings import read_frames
from spatial_mllm_ros.report import Analysis, Recorder, analyse, read_tracks, render
from tests.report.variants import one_frame, without_depth

pytest.importorskip("jinja2")
SECTIONS = ("frames", "map", "coverage", "rewards", "timing")
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, checks that they nest, and notes everything that would be loaded."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.images: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.add(attributes["id"])
        if tag == "img":
            self.images.append(attributes["src"])
        self.loads += [attributes[name] for name in ("src", "href", "xlink:href") if name in attributes]

    def handle_startendtag(self, tag, attrs):
        pass  # drawn parts of an SVG

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def analysis(simulated_bag) -> Analysis:
    return analyse(simulated_bag, build({"coverage.frames": 5}))


@pytest.fixture(scope="module")
def page(analysis) -> Page:
    return Page(render(analysis, "room <&> test"))


def test_page_stands_by_itself(page):
    assert page.loads, "the page has images"
    assert all(load.startswith("data:image/") for load in page.loads)


def test_page_has_every_section_and_the_title_as_written(page):
    assert set(SECTIONS) <= page.ids
    assert "room <&> test" in page.text


def test_gallery_shows_each_selected_frame(analysis, page):
    assert len(analysis.selected) == 5
    for number, selected in enumerate(analysis.selected, 1):
        assert f"frame-{number}" in page.ids
        frame = selected.frame.image
        shown = [i for i in page.images if similar(decoded(i), frame)]
        assert shown, f"frame {number} is not in the gallery"


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]


def similar(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) < 5


def test_numbers_of_the_page_are_those_of_sets(analysis, simulated_bag):
    """Voxel sets made with NumPy alone give the same counts, gains and baselines."""
    params = analysis.config.coverage
    sets = {f.key: plain_voxels(f, params) for f in read_frames(simulated_bag)}
    selected = [sets[s.frame.key] for s in analysis.selected]
    assert analysis.voxels_seen == len(set.union(*sets.values()))
    assert analysis.voxels_covered == len(set.union(*selected))
    covered: set = set()
    for s, voxels in zip(analysis.selected, selected, strict=True):
        assert s.gain == len(voxels - covered)
        others = set.union(*(v for v in selected if v is not voxels))
        assert s.unique == len(voxels - others)
        covered |= voxels
    frames = list(sets.values())
    assert analysis.coverage.greedy[-1] == greedy_size(frames, 5)
    spread = [frames[i] for i in np.linspace(0, len(frames) - 1, 5).round().astype(int)]
    assert analysis.coverage.uniform[-1] == len(set.union(*spread))
    columns = analysis.floor.columns
    assert columns is not None
    union = set.union(*sets.values())
    assert {tuple(c) for c in columns.cells} == {v[:2] for v in union}
    assert int(columns.heights.sum()) == len(union)


def plain_voxels(frame, params) -> set[tuple[int, int, int]]:
    step = params.stride
    depth = frame.depth[::step, ::step].astype(float)
    v, u = np.mgrid[: frame.camera.height : step, : frame.camera.width : step]
    k = frame.camera.intrinsics
    points = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], axis=-1).astype(np.float32)
    use = (depth >= params.min_depth) & (depth <= params.max_depth)
    world = (points * depth[..., None])[use] @ frame.world_from_camera[:3, :3].T + frame.world_from_camera[:3, 3]
    return set(map(tuple, np.floor(world / params.voxel_size).astype(int).tolist()))


def greedy_size(frames: list[set], k: int) -> int:
    covered: set = set()
    for _ in range(k):
        covered |= max(frames, key=lambda f: len(f - covered))
    return len(covered)


def test_coverage_never_exceeds_what_was_seen(analysis):
    c = analysis.coverage
    assert (np.diff(c.seen) >= 0).all()
    assert all(covered <= seen for covered, seen in zip(c.streaming, c.seen, strict=True))


def test_pushed_objects_are_followed_against_their_true_tracks(analysis, simulated_bag):
    pushed = {t.name for t in read_tracks(simulated_bag)}
    followed = {s.target.label for s in analysis.series if s.track}
    waiting = {name for name in pushed - followed if any(name in note for note in analysis.notes)}
    assert pushed and followed | waiting == pushed


def test_a_target_of_ones_own_is_shown_with_its_picture(simulated_bag):
    chosen = Target("corner", "camera", (20, 20, 60, 60))
    analysis = analyse(simulated_bag, Config(), [chosen], pushed=0)
    series = next(s for s in analysis.series if s.target.label == "corner")
    assert series.failed or len(series.rewards) == analysis.frames - 1
    page = Page(render(analysis, "room"))
    assert "corner" in page.text


def test_recording_without_depth_says_so(simulated_bag, tmp_path):
    analysis = analyse(without_depth(simulated_bag, tmp_path / "flat.mcap"), Config())
    page = Page(render(analysis, "flat"))
    assert not analysis.selected and analysis.frames == 30
    assert any("no depth" in note for note in analysis.notes)
    assert "without the depth" in page.text and set(SECTIONS) <= page.ids
    assert len(analysis.series[0].rewards) == 30, "camera motion needs no depth"


def test_recording_of_one_frame(simulated_bag, tmp_path):
    analysis = analyse(one_frame(simulated_bag, tmp_path / "one.mcap"), Config())
    page = Page(render(analysis, "one"))
    assert analysis.frames == 1 and len(analysis.selected) == 1
    assert analysis.selected[0].gain == analysis.voxels_seen > 0
    assert set(SECTIONS) <= page.ids and "frame-1" in page.ids


def test_no_number_of_the_page_is_nan(page):
    assert not re.search(r"\bnan\b|\binf\b", page.text, re.IGNORECASE)


@pytest.mark.slow
def test_page_of_the_kitchen_is_small_and_close_to_greedy(redkitchen):
    analysis = analyse(redkitchen, Config())
    page = render(analysis, "kitchen")
    assert len(page) < 5_000_000
    assert analysis.floor.up == "-y", "this recording's world has y down"
    assert analysis.coverage.streaming[-1] >= 0.98 * analysis.coverage.greedy[-1]


def test_stamps_that_repeat_are_left_out_and_said(simulated_bag):
    recorder = Recorder(build({"coverage.frames": 5}))
    frames = list(read_frames(simulated_bag))[:3]
    for frame in (*frames, frames[0]):
        recorder.add(frame)
    analysis = recorder.result()
    assert analysis.coverage.stamps_ns == [f.stamp_ns for f in frames]
    assert any("1 of 4 frames" in note for note in analysis.notes)
