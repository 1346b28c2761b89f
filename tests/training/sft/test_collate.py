"""Batches: padding, pictures, and what is left out."""

import json

import cv2
import numpy as np
import pytest
import torch

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_training.sft.collate import Collator
from spatial_mllm_training.sft.dataset import DataEntry, Mixture
from spatial_mllm_training.sft.media import read_video
from spatial_mllm_training.sft.recipe import SftRecipe
from spatial_mllm_training.sft.records import RecordFault
from spatial_mllm_training.sft.shown import IGNORED
from tests.closeness import assert_close

from .questions import picture, write_questions


@pytest.fixture(scope="module")
def loaded(tiny):
    return load_model(tiny)


@pytest.fixture(scope="module")
def mixture(questions):
    return Mixture([DataEntry(str(questions))])


def draws(*rows):
    return [{"source": 0, "row": row} for row in rows]


def loss_of(model, batch):
    inputs = {name: value for name, value in batch.items() if name not in ("faults", "question_types", "labels")}
    with torch.no_grad():
        logits = model(**inputs).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


@pytest.mark.parametrize("shown_as", ["clip", "written"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_its_samples_whatever_the_padding(loaded, mixture, monkeypatch, shown_as, side):
    model, processor = loaded
    monkeypatch.setattr(processor.tokenizer, "padding_side", side)
    collate = Collator(mixture, processor, SftRecipe(shown_as=shown_as, answers="written"))
    batch = collate(draws(0, 3, 5))
    alone = [collate(draws(row)) for row in (0, 3, 5)]
    lengths = [one["input_ids"].shape[1] for one in alone]
    assert len({*lengths}) > 1 and batch["input_ids"].shape == (3, max(lengths))
    assert batch["attention_mask"].sum(1).tolist() == lengths
    pad = 0 if side == "left" else -1
    assert batch["attention_mask"][lengths.index(min(lengths)), pad] == 0
    together, apart = loss_of(model, batch), sum(loss_of(model, one) for one in alone)
    assert_close(together, torch.as_tensor(apart))
    assert batch["question_types"] == ["depth_estimation_dot", "camera_vector", "not_observed"]


def test_clip_and_written_shapes(loaded, mixture):
    _, processor = loaded
    clip = Collator(mixture, processor, SftRecipe())(draws(0))
    assert clip["video_grid_thw"].tolist() == [[1, 4, 6]] and clip["pixel_values_videos"].shape == (24, 1176)
    assert clip["second_per_grid_ts"].tolist() == [1.0] and "pixel_values" not in clip
    written = Collator(mixture, processor, SftRecipe(shown_as="written"))(draws(0))
    assert written["image_grid_thw"].tolist() == [[1, 4, 6]] * 2 and written["pixel_values"].shape == (48, 1176)
    assert "pixel_values_videos" not in written


def test_broken_samples_are_left_out_and_said(loaded, tmp_path):
    folder = write_questions(tmp_path / "room", 4)
    (folder / "images" / "2.png").write_bytes(b"no picture")  # of records 1 and 2
    lines = (folder / "train.jsonl").read_text().splitlines()
    unanswered = json.loads(lines[3])
    unanswered["conversations"].pop()
    unanswered["gt_value"] = None
    (folder / "train.jsonl").write_text("\n".join([*lines[:3], json.dumps(unanswered), "{"]))
    collate = Collator(Mixture([DataEntry(str(folder))]), loaded[1], SftRecipe())
    batch = collate(draws(0, 1, 2, 3, 4))
    assert batch["input_ids"].shape[0] == 1 and len(batch["faults"]) == 4
    assert "byte" in batch["faults"][0] and "no JSON" in batch["faults"][0]
    assert batch["faults"][1] == "camera_yaw_degrees-1: 2.png is missing, or no image that can be decoded"
    assert batch["faults"][3] == "camera_vector-3: it has no answer"


def test_too_long_samples_are_broken(loaded, mixture):
    collate = Collator(mixture, loaded[1], SftRecipe(max_tokens=20))
    batch = collate(draws(0))
    assert batch["faults"][0].endswith("tokens: expected at most max_tokens, 20")


def test_a_batch_of_nothing_teaches_nothing(loaded, mixture):
    model, processor = loaded
    batch = Collator(mixture, processor, SftRecipe())([])
    assert (batch["labels"] == IGNORED).all() and loss_of(model, batch) == 0.0


def test_a_batch_without_pictures_gets_a_blank_clip_where_processes_train_together(loaded, mixture, tmp_path):
    """It uses the encoders and the connector, and changes neither loss nor what is said of the batch."""
    model, processor = loaded
    turns = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "Four."}]
    (tmp_path / "general.jsonl").write_text(json.dumps({"conversations": turns}))
    text = Mixture([DataEntry(str(tmp_path / "general.jsonl"))])
    plain, blank = (Collator(text, processor, SftRecipe(), blank=on)(draws(0)) for on in (False, True))
    assert "video_grid_thw" not in plain and blank["video_grid_thw"].tolist() == [[1, 2, 2]]
    assert plain["question_types"] == blank["question_types"] == ["general"] and not blank["faults"]
    assert (blank["labels"][1] == IGNORED).all() and len(blank["labels"]) == 2
    assert_close(loss_of(model, plain), loss_of(model, blank))
    together = Collator(mixture, processor, SftRecipe(), blank=True)
    assert loss_of(model, together([])) == 0.0 and len(together([])["video_grid_thw"]) == 1
    assert together(draws(0))["input_ids"].equal(Collator(mixture, processor, SftRecipe())(draws(0))["input_ids"])


def test_general_text_beside_clips(loaded, questions, tmp_path):
    turns = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "Four."}]
    (tmp_path / "general.jsonl").write_text(json.dumps({"conversations": turns}))
    mixture = Mixture([DataEntry(str(questions)), DataEntry(str(tmp_path / "general.jsonl"))])
    batch = Collator(mixture, loaded[1], SftRecipe())([{"source": 0, "row": 0}, {"source": 1, "row": 0}])
    assert not batch["faults"] and len(batch["video_grid_thw"]) == 1
    assert batch["question_types"] == ["depth_estimation_dot", "general"]
    assert torch.isfinite(loss_of(loaded[0], batch))


def test_frames_are_spread_evenly(loaded, tmp_path):
    folder = write_questions(tmp_path / "room", 1, images=7)
    batch = Collator(Mixture([DataEntry(str(folder))]), loaded[1], SftRecipe(max_frames=4))(draws(0))
    assert batch["video_grid_thw"][0, 0] == 2


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """10 frames at 5 Hz, each of its own grey."""
    path = tmp_path_factory.mktemp("video") / "room.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (84, 56))
    for shade in range(0, 200, 20):
        writer.write(np.full((56, 84, 3), shade, np.uint8))
    writer.release()
    return path


def test_videos_as_frames_with_their_times(video, loaded):
    frames, step = read_video(video, 4)
    assert [round(frame.mean() / 20) for frame in frames] == [0, 3, 6, 9] and step == pytest.approx(0.5)
    turns = [{"from": "human", "value": "<video>\nWhere?"}, {"from": "gpt", "value": "Here."}]
    (video.parent / "data.json").write_text(json.dumps([{"video": video.name, "conversations": turns}]))
    mixture = Mixture([DataEntry(str(video.parent / "data.json"))])
    written = Collator(mixture, loaded[1], SftRecipe(shown_as="written", max_frames=4))(draws(0))
    clip = Collator(mixture, loaded[1], SftRecipe(max_frames=4))(draws(0))
    assert written["second_per_grid_ts"].tolist() == [1.0] and not written["faults"]  # 2 frames of 0.5 s
    assert torch.equal(written["pixel_values_videos"], clip["pixel_values_videos"])


def test_no_video(tmp_path):
    (tmp_path / "a.avi").write_bytes(b"nothing")
    for name in ("a.avi", "b.avi"):
        with pytest.raises(RecordFault, match=f"{name} is missing, or no video"):
            read_video(tmp_path / name, 4)


def test_the_pictures_reach_the_model(loaded, mixture):
    """Another picture gives another loss."""
    model, processor = loaded
    batch = Collator(mixture, processor, SftRecipe())(draws(0))
    other = dict(batch, pixel_values_videos=processor.pack_clip([picture(50), picture(51)])[0])
    assert abs(float(loss_of(model, batch) - loss_of(model, other))) > 1e-4
