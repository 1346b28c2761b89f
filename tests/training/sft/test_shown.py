"""Records as tokens: what is read, and what is learned."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor
from spatial_mllm_training.sft.collate import Collator
from spatial_mllm_training.sft.dataset import DataEntry, Mixture
from spatial_mllm_training.sft.recipe import SftRecipe
from spatial_mllm_training.sft.records import RecordFault
from spatial_mllm_training.sft.shown import IGNORED, as_clip, as_written

GRID = (1, 4, 6)  # 6 tokens
HEAD = "<|im_start|>system\nYou answer questions about the space that is seen in images.<|im_end|>\n"


@pytest.fixture(scope="module")
def processor(tiny):
    return SpatialMLLMProcessor.from_pretrained(tiny)


def record(*turns, value=None, output="scalar", kind="depth_estimation_dot"):
    said = [{"from": who, "value": text} for who, text in turns]
    meta = {"output": output, "options": []}
    return {"id": "r", "question_type": kind, "conversations": said, "gt_value": value, "meta": meta}


def text_of(processor, tokens, learned=False):
    ids = [token for token, label in zip(*tokens) if label != IGNORED or not learned]
    return processor.tokenizer.decode(ids, skip_special_tokens=False)


def test_clip_form_is_the_nodes_prompt_then_the_answer(processor):
    asked = record(("human", "<image>\n<image>\nHow far, in mm?"), ("gpt", "About two metres."), value=1734)
    tokens = as_clip(asked, "short", processor, GRID)
    question = "How far, in mm?\nPlease answer the question using a single word or phrase."
    clip = f"<|vision_start|>{'<|video_pad|>' * 6}<|vision_end|>"
    prompt = f"{HEAD}<|im_start|>user\n{clip}{question}<|im_end|>\n<|im_start|>assistant\n"
    assert text_of(processor, tokens) == f"{prompt}1734 mm<|im_end|>"
    assert text_of(processor, tokens, learned=True) == "1734 mm<|im_end|>"


def test_clip_form_asks_what_the_engine_asks(tiny, questions):
    """Decoding greedily after the same tokens gives the engine's words."""
    from spatial_mllm_ros.mllm.answering.engine import load_engine
    from spatial_mllm_training.benchmarks.answers import read_image
    from spatial_mllm_training.multispa.question import question_of

    engine = load_engine(tiny, device="cpu", max_tokens=6, not_observed=1.0)
    mixture = Mixture([DataEntry(str(questions))])
    given = mixture.read(0, 0)
    sample = Collator(mixture, engine.model.processor, SftRecipe()).sample(given)
    prompt = [token for token, label in zip(*sample.tokens) if label == IGNORED]
    import torch

    clip = sample.pictures[0]
    written = engine.model.network.generate(
        input_ids=torch.tensor([prompt]),
        pixel_values_videos=clip.pixels,
        video_grid_thw=torch.tensor([clip.grid]),
        second_per_grid_ts=[clip.seconds],
        max_new_tokens=6,
        do_sample=False,
    )
    said = engine.ask([read_image(path) for path in given["images"]], question_of(given)).text
    ours = engine.model.processor.tokenizer.decode(written[0, len(prompt) :], skip_special_tokens=True).strip()
    assert ours and ours == said


def test_written_form_puts_images_where_the_text_does(processor):
    shown = record(
        ("system", "Be brief."),
        ("human", "First <image> then <image>\nWhat?"),
        ("gpt", "A box."),
        ("human", "Sure?"),
        ("gpt", "Yes."),
    )
    tokens = as_written(shown, "written", processor, {"image": [GRID, (1, 2, 2)], "video": []})
    one, two = (f"<|vision_start|>{'<|image_pad|>' * n}<|vision_end|>" for n in (6, 1))
    assert text_of(processor, tokens) == (
        f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nFirst {one} then {two}\nWhat?<|im_end|>\n"
        "<|im_start|>assistant\nA box.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n"
    )
    assert text_of(processor, tokens, learned=True) == "A box.<|im_end|>Yes.<|im_end|>"


def test_media_without_a_place_come_first(processor):
    shown = record(("human", "What?"), ("gpt", "A box."))
    tokens = as_written(shown, "written", processor, {"image": [], "video": [GRID]})
    assert f"user\n<|vision_start|>{'<|video_pad|>' * 6}<|vision_end|>\nWhat?" in text_of(processor, tokens)


def test_short_answers_in_written_form(processor):
    shown = record(("human", "<image>How far?"), ("gpt", "It is 12 mm away."), value=12)
    tokens = as_written(shown, "short", processor, {"image": [GRID], "video": []})
    assert text_of(processor, tokens, learned=True) == "12 mm<|im_end|>"


@settings(max_examples=40)
@given(st.text("<|im_end|>\n\ue0001 aé", min_size=1, max_size=20), st.text("ab<|>_imend", min_size=1, max_size=20))
def test_what_people_wrote_controls_nothing(processor, question, answer):
    """Texts that spell control tokens are text; the conversation keeps its two turns."""
    question, answer = question + "<|im_end|>x", answer + "<|im_start|>x"
    for tokens in (
        as_written(record(("human", question), ("gpt", answer)), "written", processor, {"image": [], "video": []}),
        as_clip(record(("human", question), ("gpt", answer)), "written", processor, GRID),
    ):
        tokenizer = processor.tokenizer
        start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
        assert (tokens.ids.count(start), tokens.ids.count(end)) == (3, 3)
        learned = [token for token, label in zip(*tokens) if label != IGNORED]
        assert learned[-1] == end and tokenizer.decode(learned[:-1]) == answer.strip()


@pytest.mark.parametrize(
    ("shown", "grids", "said"),
    [
        (record(("human", "What?")), {"image": [], "video": []}, "no answer"),
        (record(("human", "<image>?"), ("gpt", "x")), {"image": [], "video": []}, "1 <image> in the text, 0 image"),
        (record(("human", "<image>?"), ("gpt", "x")), {"image": [GRID] * 2, "video": []}, "1 <image> in the text, 2"),
    ],
)
def test_faults(processor, shown, grids, said):
    with pytest.raises(RecordFault, match=said):
        as_written(shown, "written", processor, grids)


def test_clip_form_without_a_question(processor):
    with pytest.raises(RecordFault, match="r: it has no question"):
        as_clip(record(("gpt", "x")), "written", processor, GRID)
