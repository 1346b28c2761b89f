import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2VLImageProcessorPil

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import SpatialMLLMProcessor
from spatial_mllm_ros.mllm.families.spatial_mllm.tokenizer import SPECIAL_TOKENS, build_tokenizer
from spatial_mllm_ros.mllm.question import AnswerType, Question
from spatial_mllm_ros.mllm.text.forms import prompt_text
from spatial_mllm_ros.mllm.text.tokens import encode_text

PROCESSOR = SpatialMLLMProcessor(Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=12544), build_tokenizer())
TOKENIZER = PROCESSOR.tokenizer
CONTROL = {TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
GRID = 2, 4, 6
WORDS = st.one_of(st.text(max_size=12), st.sampled_from(SPECIAL_TOKENS))
TEXT = st.lists(WORDS, min_size=1, max_size=8).map("".join).filter(str.strip)


def whole(question: Question) -> str:
    """The prompt as one string, written down from the released order: system, user (clip, question), assistant."""
    clip = "<|vision_start|>" + "<|video_pad|>" * 12 + "<|vision_end|>"
    system = "<|im_start|>system\nYou answer questions about the space that is seen in images.<|im_end|>\n"
    return f"{system}<|im_start|>user\n{clip}{prompt_text(question)}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "question",
    [
        Question("How many chairs are there?"),
        Question("  Which is near?\n", ("the mug", "the lamp")),
        Question("Where is it?", answer_type=AnswerType.PIXEL, with_reasoning=True),
        Question("日本 é 😀 \t it's 3.5"),
    ],
)
def test_two_parts_are_the_whole(question):
    ids = PROCESSOR.prefix_ids(GRID) + PROCESSOR.question_ids(question)
    assert ids == TOKENIZER(whole(question)).input_ids


def test_the_prefix_ends_with_the_clip():
    ids = PROCESSOR.prefix_ids(GRID)
    assert ids[-13:] == [PROCESSOR.video_token_id] * 12 + [TOKENIZER.convert_tokens_to_ids("<|vision_end|>")]


@given(TEXT, st.lists(TEXT, min_size=2, max_size=4, unique_by=str.strip), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_question_controls_nothing(text, options, choose):
    """Whatever a person writes: the only control tokens are the template's, and the words are all there."""
    question = Question(text, tuple(options) if choose else ())
    ids = PROCESSOR.question_ids(question)
    end = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
    start = TOKENIZER.convert_tokens_to_ids("<|im_start|>")
    assert [token for token in ids if token in CONTROL] == [end, start]
    said = TOKENIZER.decode(ids[: ids.index(end)], skip_special_tokens=False)
    assert said == prompt_text(question)
    assert text.strip() in said and all(" ".join(option.split()) in said for option in options if choose)
    assert TOKENIZER.decode(ids[ids.index(end) :], skip_special_tokens=False) == "<|im_end|>\n<|im_start|>assistant\n"


SHORT = "Please answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


@pytest.mark.parametrize(
    "question, lines",
    [
        (Question("What is it?"), ["What is it?", SHORT]),
        (Question("What is it?", answer_type=AnswerType.TEXT), ["What is it?", SHORT]),
        (Question("Which?", ("left", " right ")), ["Which?", "Options:", "A. left", "B. right", LETTER]),
        (Question("How far, in meters?", answer_type=AnswerType.NUMBER), ["How far, in meters?", SHORT]),
        (
            Question("How far is it?", answer_type=AnswerType.NUMBER),
            ["How far is it?", f"{SHORT} Give one number and its unit."],
        ),
    ],
)
def test_released_forms(question, lines):
    assert prompt_text(question).split("\n") == lines


def test_own_forms_say_what_the_parser_reads():
    pixel = prompt_text(Question("Where?", answer_type=AnswerType.PIXEL))
    assert "(x, y)" in pixel and "first image" in pixel and "0 to 1000" in pixel
    vector = prompt_text(Question("Where to?", answer_type=AnswerType.VECTOR))
    assert "(right, down, forward)" in vector and "whole millimetres" in vector
    assert "in meters." in prompt_text(Question("Where to, in meters?", answer_type=AnswerType.VECTOR)).split("\n")[1]


def test_reasoning_is_asked_for_in_tags():
    plain, thought = (prompt_text(Question("Which?", ("a", "b"), with_reasoning=flag)) for flag in (False, True))
    assert thought.startswith(plain) and "<think>" not in plain
    assert all(tag in thought[len(plain) :] for tag in ("<think>", "</think>", "<answer>", "</answer>"))


def test_an_option_cannot_pass_for_another():
    lines = prompt_text(Question("Which?", ("left\nB. up", "C. \r\n right"))).split("\n")
    assert lines == ["Which?", "Options:", "A. left B. up", "B. C. right", LETTER]
    with pytest.raises(SpatialError, match="one is repeated"):
        Question("Which?", ("in front", " in\nfront"))


def test_longest_question():
    """2000 characters of three bytes and 26 options of 200: all of it is there, and bounded."""
    options = tuple(f"{i:02}" + "\u65e5" * 198 for i in range(26))
    question = Question("\u672c" * 2000, options)
    ids = PROCESSOR.question_ids(question)
    assert TOKENIZER.decode(ids).startswith(prompt_text(question)) and 3 * (2000 + 26 * 198) < len(ids) < 22_000


def test_most_options():
    options = tuple(f"option {i}" for i in range(26))
    assert prompt_text(Question("Which?", options)).split("\n")[27] == "Z. option 25"


def with_template(template):
    return SpatialMLLMProcessor(PROCESSOR.image_processor, TOKENIZER, chat_template=template)


def test_words_of_a_template_between_clip_and_question():
    """A template with text of its own after the clip: it belongs to the question, the prefix stays constant."""
    processor = with_template(
        "<|im_start|>user <|vision_start|><|video_pad|><|vision_end|>Q: {{ messages[0].content[1].text }}!"
    )
    assert processor.prefix_ids(GRID)[-1] == TOKENIZER.convert_tokens_to_ids("<|vision_end|>")
    ids = processor.question_ids(Question("Who?"))
    assert ids == encode_text(TOKENIZER, f"Q: Who?\n{SHORT}") + TOKENIZER("!").input_ids


@pytest.mark.parametrize(
    "template", ["{{ messages[0].content[1].text }}", "<|video_pad|><|vision_end|>", "nothing", "{% for"]
)
def test_a_template_without_a_clip_or_question_is_an_error(template):
    with pytest.raises(SpatialError, match="chat template"):
        with_template(template).prefix_ids(GRID)
