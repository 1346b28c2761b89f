"""The page of a generated folder: what it shows, where rings are, and that it stands by itself."""

import base64
import json
import os
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_training.multispa.records import write_parquet
from spatial_mllm_training.multispa.show import card, drawn, rings, show

from .generated import HEIGHT, WIDTH, record, records, write_folder

pytest.importorskip("jinja2")
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Text, pictures, rings and everything that would be loaded; tags have to nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.loads, self.images, self.rings, self.ids = [], "", [], [], [], set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [values[name] for name in ("src", "href") if name in values]
        self.ids |= {values.get("id")}
        if tag == "img":
            self.images.append(values["src"])

    def handle_startendtag(self, tag, attrs):
        if tag == "circle":
            self.rings.append(dict(attrs)["class"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "made")


def page_of(folder, **asked):
    out = folder.parent / "page.html"
    show(folder, out, **asked)
    return Page(out.read_text("utf-8"))


def test_the_page_shows_questions_answers_and_values(folder):
    page = page_of(folder)
    for kind in {known["question_type"] for known in records()}:
        assert kind in page.ids
    for text in ("How far?", "300 right, 400 back", "[300, 0, -400] mm right, down, forward", "37 degrees", "1730 mm"):
        assert text in page.text
    assert "<image>" not in page.text
    assert "object_motion: no tracks: a bag" in page.text and "frame: cut short" in page.text
    assert "<script" not in (folder.parent / "page.html").read_text()


def test_nothing_is_loaded_from_elsewhere(folder):
    page = page_of(folder)
    assert page.loads and all(load.startswith(("data:image/", "#")) for load in page.loads)
    text = (folder.parent / "page.html").read_text()
    assert not re.search(r"https?:|url\(|@import", text)


def test_what_records_say_is_escaped(folder):
    page = page_of(folder)
    text = (folder.parent / "page.html").read_text()
    assert "<b>unicorn</b>" in page.text and "<b>unicorn" not in text
    assert "<i>horn</i>" in page.text and "<i>horn" not in text
    assert "not a bag <b>&" in page.text


def test_images_are_as_stored(folder):
    page = page_of(folder, count=5)
    stored = {base64.b64encode(path.read_bytes()).decode() for path in folder.glob("images/*.jpg")}
    assert {uri.removeprefix("data:image/jpeg;base64,") for uri in page.images} == stored


def test_very_wide_images_are_made_smaller(folder):
    cv2.imwrite(str(folder / "images/camera_vector-0-0.jpg"), np.zeros((600, 2000, 3), np.uint8))
    known = next(known for known in records() if known["question_type"] == "camera_vector")
    image = card(known, folder)["images"][0]
    small = cv2.imdecode(np.frombuffer(base64.b64decode(image["uri"].partition(",")[2]), np.uint8), 1)
    assert small.shape == (288, 960, 3) and (image["width"], image["height"]) == (2000, 600)


@pytest.mark.parametrize("path", ["images/none.jpg", "../secret.jpg", "manifest.json"])
def test_an_image_that_is_missing_or_elsewhere_is_left_out(folder, path):
    cv2.imwrite(str(folder.parent / "secret.jpg"), np.zeros((9, 9, 3), np.uint8))
    known = record(7, "camera_distance", 900, "900 mm")
    known["images"] = [path]
    assert card(known, folder)["images"][0]["uri"] == ""
    with (folder / "annotations/train/kitchen.jsonl").open("a") as file:
        file.write(json.dumps(known) + "\n")
    assert "no image" in page_of(folder).text


def test_parquet_alone_is_enough(folder):
    with_files = page_of(folder, count=5)
    images = {name: folder / name for known in records() for name in known["images"]}
    for path in folder.glob("annotations/*/*.jsonl"):
        write_parquet([json.loads(line) for line in path.open()], path.with_suffix(".parquet"), images)
        path.unlink()
    for path in images.values():
        path.unlink()
    assert page_of(folder, count=5).images == with_files.images


def test_rings_stand_where_no_dot_was_drawn(folder):
    by_type = {known["question_type"]: list(rings(known)) for known in records()}
    assert by_type["depth_estimation_dot"] == by_type["correspondence_choice"] == []
    meant, answer = by_type["correspondence_coordinate"]
    assert meant == (0, 80, 60, "", "meant")
    image, u, v, name, style = answer
    assert (image, name, style) == (1, "", "answer")
    assert (int((u + 0.5) / WIDTH * 1000), int((v + 0.5) / HEIGHT * 1000)) == (500, 900)
    assert sorted(page_of(folder).rings) == ["halo", "halo", "ring meant", "ring right"]


def test_rings_of_comparisons_have_letters_and_stored_answers_are_used():
    meta = {"referring": "coordinate", "output": "choice", "options": ["A", "B"]}
    pair = record(0, "depth_comparison_coordinate", "B", "B", pixels=[[9, 8], [70, 6]], pixel_images=[0, 0], **meta)
    assert list(rings(pair)) == [(0, 9, 8, "A", "meant"), (0, 70, 6, "B", "meant")]
    meta = {"referring": "coordinate", "output": "pixel", "pixels": [[9, 8], [70, 6]], "pixel_images": [0, 1]}
    moved = record(0, "correspondence_coordinate", "[440, 54]", "there", 2, **meta)
    assert list(rings(moved)) == [(0, 9, 8, "", "meant"), (1, 70, 6, "", "answer")]


def test_a_refusal_of_a_pixel_question_has_no_answer_ring():
    meta = {"referring": "coordinate", "output": "pixel", "pixels": [[9, 8]], "pixel_images": [0]}
    assert len(list(rings(record(0, "not_observed", "not observed", "It is not there.", 2, **meta)))) == 1


def test_the_same_seed_draws_the_same_and_another_seed_others(folder):
    def ids(seed, count=1):
        return [known["id"] for known in drawn(folder, count, seed)["correspondence_choice"]]

    assert ids(3) == ids(3)
    assert len({ids(seed)[0] for seed in range(20)}) == 4
    assert ids(3, 2)[:1] == ids(3)
    assert len(ids(0, 9)) == 4


@pytest.mark.parametrize("count", [0, 51])
def test_a_page_has_a_size(folder, count):
    with pytest.raises(SpatialError, match=f"{count} records of each type: expected 1 to 50"):
        show(folder, folder / "page.html", count)


def test_a_page_is_written_whole_or_not_at_all(folder):
    with pytest.raises(OSError):
        show(folder, folder / "none" / "page.html")
    show(folder, folder / "page.html")
    before = (folder / "page.html").read_bytes()
    (folder / "annotations/train/kitchen.jsonl").write_text("cut")
    with pytest.raises(SpatialError, match="damaged"):
        show(folder, folder / "page.html")
    assert (folder / "page.html").read_bytes() == before
    assert not list(folder.glob(".page*"))


def test_a_pipe_or_device_is_not_replaced_by_a_page(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        show(folder, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo() and sorted(os.listdir(tmp_path)) == ["made", "pipe"]


def test_a_run_that_is_not_finished_says_so(folder):
    (folder / "manifest.json").write_text('{"shards": {}}')
    page = page_of(folder)
    assert "The run is not finished." in page.text and "Nothing." in page.text


def test_an_empty_folder_has_a_page(folder):
    for path in [*folder.glob("annotations/*/*"), *folder.glob("candidates/*")]:
        path.unlink()
    assert "0 questions of 0 types about 0 scenes." in page_of(folder).text
