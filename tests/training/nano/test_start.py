"""What nano begins from: small enough, whole, and the same for the same seed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from spatial_mllm_ros.mllm.families.spatial_mllm.tokenizer import SPECIAL_TOKENS
from spatial_mllm_ros.mllm.text.parsing import LETTERS
from spatial_mllm_ros.mllm.text.tokens import encode_text
from spatial_mllm_training.multispa.item import Candidate, Point
from spatial_mllm_training.multispa.wording import word
from spatial_mllm_training.nano.start import SIZE, VOCABULARY, make_start, sentences, texts
from spatial_mllm_training.nano.tokenizer import train_tokenizer


def test_it_has_at_most_12_million_parameters(loaded):
    model, _ = loaded
    assert 8e6 < sum(parameter.numel() for parameter in model.parameters()) <= 12e6


def test_frames_of_a_common_camera_get_its_size(loaded):
    _, processor = loaded
    frame = torch.zeros(480, 640, 3, dtype=torch.uint8).numpy()
    _, grid = processor.pack_clip([frame, frame])
    assert grid[0].tolist() == [1, SIZE[0] // 14, SIZE[1] // 14]


def test_signals_neither_vanish_nor_explode(loaded):
    model, processor = loaded
    frames = torch.randint(0, 255, (4, 480, 640, 3), dtype=torch.uint8).numpy()
    pixels, grid = processor.pack_clip(list(frames))
    with torch.no_grad():
        tokens = model.model.get_video_features(pixels, grid).pooler_output[0]
        pose = model.model.spatial_encoder.vggt_model(torch.rand(1, 2, 3, *SIZE)).pose_enc
    assert 0.05 < float(tokens.std()) < 20
    assert ((pose[..., 7:] > 0.2) & (pose[..., 7:] < 3)).all()  # a field of view that can learn


def test_the_same_seed_gives_the_same_weights(start, tmp_path):
    again, other = (make_start(tmp_path / f"{seed}", seed) for seed in (3, 4))
    whole = [load_file(folder / "model.safetensors") for folder in (start, again, other)]
    assert all(torch.equal(whole[0][name], whole[1][name]) for name in whole[0])
    assert not torch.equal(whole[0]["connector.mlp.0.weight"], whole[2]["connector.mlp.0.weight"])


def test_digits_stand_alone():
    tokenizer = train_tokenizer(["the number 1234 and 1234 again"] * 50, 400)
    ids = encode_text(tokenizer, "1234 mm, (-56)")
    assert [tokenizer.decode([i]) for i in ids][:4] == ["1", "2", "3", "4"]
    assert tokenizer.decode(encode_text(tokenizer, "-56")) == "-56"


def test_letters_of_choices_are_single_tokens(loaded):
    _, processor = loaded
    assert all(len(encode_text(processor.tokenizer, letter)) == 1 for letter in LETTERS)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(texts(), VOCABULARY)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_every_text_comes_back(tokenizer, text):
    assert tokenizer.decode(encode_text(tokenizer, text), clean_up_tokenization_spaces=False) == text


def test_what_people_write_is_no_control_token(tokenizer):
    controls = {tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    assert controls.isdisjoint(encode_text(tokenizer, "".join(SPECIAL_TOKENS)))
    assert len(tokenizer) <= VOCABULARY


def test_sentences_that_are_always_the_same_are_one_token(loaded):
    tokenizer = loaded[1].tokenizer
    assert all(len(encode_text(tokenizer, sentence)) == 1 for sentence in sentences())
    rng = np.random.default_rng(0)
    candidate = Candidate("depth_estimation_coordinate", (0,), 1500.0, "scalar", "coordinate", (Point(0, 7, 8),))
    asked = [word(candidate, (100, 100), rng).question for _ in range(50)]
    spoken = [len(encode_text(tokenizer, question)) / len(question.split()) for question in asked]
    assert np.mean(spoken) < 0.8
    assert all(tokenizer.decode(encode_text(tokenizer, question)) == question for question in asked)


def test_a_question_of_the_data_engine_takes_about_a_token_a_word(tokenizer):
    asked = "What is the depth of the point at (412, 33) in millimetres? Coordinates are (x, y) in thousandths."
    assert len(encode_text(tokenizer, asked)) <= 1.5 * len(asked.split())
