"""The engine on an untrained checkpoint: equal to the model without any cache, and sound when things go wrong."""

import gc
import json
import shutil
import tracemalloc
from dataclasses import replace
from itertools import count, pairwise
from math import exp

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.answering import engine as engine_module
from spatial_mllm_ros.mllm.answering.answer import Speech
from spatial_mllm_ros.mllm.answering.decode import TextStream, Turn
from spatial_mllm_ros.mllm.answering.engine import Engine, content_key, load_engine
from spatial_mllm_ros.mllm.answering.refusal import REFUSAL
from spatial_mllm_ros.mllm.device import choose
from spatial_mllm_ros.mllm.encoders.view import fit
from spatial_mllm_ros.mllm.question import AnswerType, Question, Verdict
from spatial_mllm_ros.mllm.text.tokens import encode_text
from tests.closeness import assert_close, rounding

TOKENS = 16
QUESTIONS = [
    Question("Where is the mug?", answer_type=AnswerType.TEXT),
    Question("How far is the door?", answer_type=AnswerType.NUMBER),
    Question("What is behind the chair, and why?", answer_type=AnswerType.TEXT, with_reasoning=True),
    Question("Where is the middle of the plate?", answer_type=AnswerType.PIXEL),
]
CHOICE = Question("What is left of the chair?", ("a table", "the door", "nothing"))


def clip(seed: int, frames: int = 4) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (60, 80, 3), np.uint8) for _ in range(frames)]


@pytest.fixture(scope="module")
def engine(tiny) -> Engine:
    return load_engine(tiny, device="cpu", max_tokens=TOKENS, not_observed=1.0)


@pytest.fixture
def scene(engine) -> str:
    engine.encode("scene", clip(0))
    return "scene"


@torch.inference_mode()
def uncached(engine: Engine, images: list, ids: list[int]) -> torch.Tensor:
    """What follows each of the prompt's tokens after the clip, by the model alone on all of it, [len(ids), V]."""
    pixels, grid = engine.model.processor.pack_clip(images)
    whole = torch.tensor([engine.model.processor.prefix_ids(grid[0].tolist()) + ids])
    out = engine.model.network(input_ids=whole, pixel_values_videos=pixels, video_grid_thw=grid, use_cache=False)
    return out.logits[0, -len(ids) :].log_softmax(-1)


@torch.inference_mode()
def generated(engine: Engine, images: list, question: Question) -> list[int]:
    """Greedy tokens of transformers' own generate on the whole prompt."""
    pixels, grid = engine.model.processor.pack_clip(images)
    whole = torch.tensor([engine.model.processor.prefix_ids(grid[0].tolist()) + engine.model.question_ids(question)])
    limits = {"max_new_tokens": TOKENS, "do_sample": False}
    out = engine.model.network.generate(whole, pixel_values_videos=pixels, video_grid_thw=grid, **limits)
    tokens = out[0, whole.shape[1] :].tolist()
    end = engine.model.processor.tokenizer.eos_token_id
    return tokens[: tokens.index(end)] if end in tokens else tokens


def said(engine: Engine, tokens: list[int]) -> str:
    return engine.model.processor.tokenizer.decode(tokens, skip_special_tokens=True)


def confidence(engine: Engine, images: list, question: Question, tokens: list[int]) -> float:
    asked = engine.model.question_ids(question)
    rows = uncached(engine, images, asked + tokens)[len(asked) - 1 : -1]
    return exp(float(rows[torch.arange(len(tokens)), tokens].mean()))


@pytest.fixture(autouse=True)
def nonsense_passes(monkeypatch):
    """What an untrained model says is nonsense, which test_limits.py is about."""
    for module in ("answering.answer", "text.parsing"):
        monkeypatch.setattr(f"spatial_mllm_ros.mllm.{module}.is_nonsense", lambda text: False)


class TestExact:
    def test_answers_equal_those_without_a_cache_in_any_order(self, engine):
        scenes = {"a": clip(1), "b": clip(2, frames=7)}
        expected = {
            (key, i): generated(engine, images, QUESTIONS[i]) for key, images in scenes.items() for i in range(4)
        }
        assert len({tuple(tokens) for tokens in expected.values()}) > 4, "the model does not look at what it is asked"
        for key, images in scenes.items():
            engine.encode(key, images)
        for key, i in [("a", 0), ("a", 1), ("b", 2), ("a", 2), ("b", 0), ("a", 0), ("b", 3), ("b", 1), ("a", 3)]:
            texts = [""]
            answer = engine.answer(key, QUESTIONS[i], on_text=texts.append)
            assert texts[-1].rstrip("\ufffd") == said(engine, expected[key, i]).rstrip("\ufffd")
            if not QUESTIONS[i].with_reasoning:
                assert answer.text == said(engine, expected[key, i]).strip()

    @pytest.mark.parametrize("question", [*QUESTIONS, CHOICE])
    def test_every_row_of_the_prompt(self, engine, scene, question):
        ids = engine.model.question_ids(question)
        kept = engine._clips.get(scene)
        assert kept is not None
        with torch.inference_mode(), kept.lent():
            rows = Turn(engine.model, kept).read(ids, rows=len(ids))
        assert_close(rows, uncached(engine, clip(0), ids))

    def test_confidence_is_the_geometric_mean_of_the_tokens(self, engine, scene):
        question = QUESTIONS[0]
        tokens = generated(engine, clip(0), question)
        assert not said(engine, tokens)[:1].isspace() and not said(engine, tokens)[-1:].isspace()
        expected = confidence(engine, clip(0), question, tokens)
        assert engine.answer(scene, question).confidence == pytest.approx(expected, abs=rounding(10))

    @pytest.mark.parametrize("allowed", [0, 1, 2, 9])
    def test_after_a_cancel(self, engine, scene, allowed):
        calls = count()
        with pytest.raises(SpatialError) as error:
            engine.answer(scene, QUESTIONS[0], stop=lambda: next(calls) >= allowed)
        assert error.value.code == ErrorCode.CANCELED and next(calls) == allowed + 1
        assert engine.answer(scene, QUESTIONS[0]).text == said(engine, generated(engine, clip(0), QUESTIONS[0])).strip()

    def test_after_an_exception_in_the_middle_of_a_forward(self, engine, scene):
        calls = count()

        def fail(*_):
            if next(calls) == 3:
                raise RuntimeError("power cut")

        hook = engine.model.network.model.language_model.layers[1].register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="power cut"):
            engine.answer(scene, QUESTIONS[1])
        hook.remove()
        assert engine.answer(scene, QUESTIONS[0]).text == said(engine, generated(engine, clip(0), QUESTIONS[0])).strip()

    def test_frames_of_other_sizes_and_one_frame(self, engine):
        images = [*clip(5, 1), np.zeros((90, 60, 3), np.uint8)]
        for given in (images, images[:1]):
            answer = engine.ask(given, QUESTIONS[0])
            assert answer.text == said(engine, generated(engine, given, QUESTIONS[0])).strip()
            assert answer.frames == tuple(range(len(given)))


class TestScenes:
    def test_a_second_question_reads_only_itself(self, engine, scene):
        lengths, seen = [], []
        hooks = [
            engine.model.network.register_forward_pre_hook(
                lambda _, args, kw: lengths.append(kw["input_ids"].shape[1]), with_kwargs=True
            ),
            engine.model.network.model.visual.register_forward_pre_hook(lambda *_: seen.append("2D")),
            engine.model.network.vggt.aggregator.register_forward_pre_hook(lambda *_: seen.append("3D")),
        ]
        assert engine.encode(scene, clip(0)) == 0
        answer = engine.answer(scene, CHOICE)
        for hook in hooks:
            hook.remove()
        assert not seen and lengths == [len(engine.model.question_ids(CHOICE))]
        assert answer.seconds_encode == 0 and answer.seconds_generate > 0

    def test_each_encoder_sees_a_clip_once(self, engine):
        seen = []
        hooks = [
            engine.model.network.model.visual.register_forward_pre_hook(lambda *_: seen.append("2D")),
            engine.model.network.vggt.aggregator.register_forward_pre_hook(lambda *_: seen.append("3D")),
        ]
        assert engine.encode("once", clip(6)) > 0
        for hook in hooks:
            hook.remove()
        assert sorted(seen) == ["2D", "3D"]

    def test_the_same_pixels_are_known(self, engine):
        images = clip(7)
        first = engine.ask(images, QUESTIONS[0])
        again = engine.ask([image.copy() for image in images], QUESTIONS[0])
        assert first.seconds_encode > 0 == again.seconds_encode
        assert replace(first, seconds_encode=0, seconds_generate=0) == replace(again, seconds_generate=0)
        images[2][5, 5, 1] ^= 1
        assert engine.ask(images, QUESTIONS[0]).seconds_encode > 0

    def test_a_key_tells_shapes_and_order_apart(self):
        flat = np.arange(24, dtype=np.uint8)
        a, b = flat.reshape(2, 4, 3), flat.reshape(4, 2, 3)
        assert len({content_key(images) for images in ([a], [b], [a, b], [b, a], [a, a])}) == 5

    def test_what_does_not_fit_is_forgotten_and_exact_when_it_comes_back(self, tiny):
        engine = load_engine(tiny, device="cpu", max_tokens=TOKENS, cache_megabytes=0, not_observed=1.0)
        before = engine.ask(clip(0), QUESTIONS[0])
        engine.encode("b", clip(1))
        assert engine.has("b") and not engine.has(content_key(clip(0)))
        with pytest.raises(SpatialError, match="not encoded") as error:
            engine.answer(content_key(clip(0)), QUESTIONS[0])
        assert error.value.code == ErrorCode.FAILED
        again = engine.ask(clip(0), QUESTIONS[0])
        assert again.seconds_encode > 0 and (again.text, again.confidence) == (before.text, before.confidence)

    def test_memory_that_a_long_answer_takes_counts(self, tiny):
        engine = load_engine(tiny, device="cpu", max_tokens=300, not_observed=1.0)
        engine.encode("a", clip(0))
        engine.encode("b", clip(1))
        engine.answer("b", CHOICE)
        engine._clips.max_bytes = engine.clip_bytes
        engine.answer("b", CHOICE)
        assert engine.has("a")
        engine.answer("b", QUESTIONS[0])
        assert engine.has("b") and not engine.has("a")

    def test_sixty_questions_leave_nothing_behind(self, tiny):
        engine = load_engine(tiny, device="cpu", max_tokens=3)
        engine.encode(scene := "scene", clip(0))

        def ask(n: int) -> None:
            for i in range(n):
                engine.answer(scene, [*QUESTIONS, CHOICE][i % 5])

        ask(10)
        gc.collect()
        tracemalloc.start()
        held, python = engine.clip_bytes, tracemalloc.get_traced_memory()[0]
        ask(60)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - python
        tracemalloc.stop()
        assert engine.clip_bytes == held
        assert grown < 100_000


class TestChoices:
    def test_the_likeliest_letter_normalised_over_the_options(self, engine, scene):
        row = uncached(engine, clip(0), engine.model.question_ids(CHOICE))[-1].exp()
        vocabulary = engine.model.processor.tokenizer.get_vocab()
        letters = [sum(float(row[vocabulary[t]]) for t in (x, "Ġ" + x) if t in vocabulary) for x in "ABC"]
        answer = engine.answer(scene, CHOICE)
        assert answer.verdict == Verdict.ANSWERED
        assert answer.choice == int(np.argmax(letters)) and answer.text == CHOICE.options[answer.choice]
        assert answer.confidence == pytest.approx(max(letters) / sum(letters), abs=rounding(10))

    @pytest.mark.parametrize("tokens", [1, 40])
    def test_valid_also_where_thinking_came_to_no_answer(self, tiny, tokens):
        engine = load_engine(tiny, device="cpu", max_tokens=tokens, not_observed=1.0)
        answer = engine.ask(clip(0), replace(CHOICE, with_reasoning=True))
        assert answer.verdict == Verdict.ANSWERED and answer.text == CHOICE.options[answer.choice]
        assert 1 / 3 <= answer.confidence <= 1

    @pytest.mark.parametrize(
        ("text", "before"),
        [
            ("<think>so</think><answer>B</answer>", "<think>so</think><answer>"),
            ("<think>so</think>\n<answer> B", "<think>so</think>\n<answer> "),
            ("<think>so</think> the B", "<think>so</think> "),
            ("<think>so</think>", "<think>so</think><answer>"),
            ("<think>so</think><answer>", "<think>so</think><answer>"),
            ("<think>it goes on", "<think>it goes on\n</think>\n<answer>"),
            ("", "\n</think>\n<answer>"),
        ],
    )
    @pytest.mark.parametrize("chunk", [1, 2, 5])
    def test_where_the_letter_is_read(self, engine, text, before, chunk):
        """Whatever characters its tokens hold: here a few each, so that one may end the tag and begin the answer."""
        pieces = [text[i : i + chunk] for i in range(0, len(text), chunk)]
        stream = TextStream(lambda ids: "".join(pieces[i - 1000] for i in ids))
        for i in range(len(pieces)):
            stream.add(1000 + i)
        ids = Speech([7], [1000 + i for i in range(len(pieces))], [0.0] * len(pieces), stream).up_to_answer(
            engine.model.encode_text
        )
        assert ids[0] == 7
        texts = [pieces[i - 1000] if i >= 1000 else said(engine, [i]) for i in ids[1:]]
        assert "".join(texts) == before


class TestNotObserved:
    def unseen(self, engine, question: Question, before: list[int], score: float) -> float:
        refusal = encode_text(engine.model.processor.tokenizer, REFUSAL)
        rows = uncached(engine, clip(0), before + refusal)[len(before) - 1 : -1]
        other = float(rows[torch.arange(len(refusal)), refusal].mean())
        return exp(other) / (exp(other) + exp(score))

    @pytest.mark.parametrize("question", [QUESTIONS[0], CHOICE])
    def test_threshold(self, engine, scene, question):
        asked = engine.model.question_ids(question)
        if question is CHOICE:
            row = uncached(engine, clip(0), asked)[-1]
            tokens = [encode_text(engine.model.processor.tokenizer, x) for x in ("A", " A", "B", " B", "C", " C")]
            singles = [[t[0] for t in tokens[i : i + 2] if len(t) == 1] for i in (0, 2, 4)]
            score = max(float(row[single].logsumexp(0)) for single in singles)
        else:
            rows = uncached(engine, clip(0), asked + (tokens := generated(engine, clip(0), question)))
            score = float(rows[torch.arange(len(asked) - 1, len(rows) - 1), tokens].mean())
        expected = self.unseen(engine, question, asked, score)
        assert 0 < expected < 1
        refused = engine.answer(scene, question, not_observed=expected * 0.99)
        assert (refused.verdict, refused.text, refused.choice) == (Verdict.NOT_OBSERVED, REFUSAL, -1)
        assert refused.confidence == pytest.approx(expected, abs=rounding(10))
        # Words that were cut off are no answer; a letter is one.
        given = Verdict.ANSWERED if question is CHOICE else Verdict.UNSURE
        assert engine.answer(scene, question, not_observed=min(expected * 1.01, 1)).verdict == given
        assert engine.answer(scene, question).verdict == given  # the engine's own threshold is 1: never
        assert engine.answer(scene, question, not_observed=0.0).verdict == Verdict.NOT_OBSERVED

    def test_numbers_that_overflow_are_no_answer(self, tiny):
        engine = load_engine(tiny, device="cpu")
        engine.encode("scene", clip(0))
        with torch.no_grad():
            engine.model.network.model.language_model.norm.weight.fill_(torch.nan)
        for question in (QUESTIONS[0], CHOICE):
            with pytest.raises(SpatialError, match="bfloat16") as error:
                engine.answer("scene", question)
            assert error.value.code == ErrorCode.FAILED


class TestText:
    def test_streams_whole_characters(self, engine, scene):
        texts: list[str] = []
        answer = engine.answer(scene, QUESTIONS[0], on_text=texts.append)
        assert len(texts) > 2 and all(b.startswith(a) and len(b) > len(a) for a, b in pairwise(texts))
        assert not any(text.endswith("\ufffd") for text in texts)
        assert answer.text.startswith(texts[-1].strip())

    def test_bounded(self, tiny):
        engine = load_engine(tiny, device="cpu", max_tokens=3, not_observed=1.0)
        answer = engine.ask(clip(0), QUESTIONS[0])
        assert answer.text == said(engine, generated(engine, clip(0), QUESTIONS[0])[:3]).strip()


class TestMemory:
    def short(self, engine, monkeypatch, most: int) -> list[int]:
        """Encoders that run out of memory with more than ``most`` frames; returns what they were given."""
        given, encode = [], engine.model.network.model.encode

        def limited(ids, pixel_values=None, pixel_values_videos=None, image_grid_thw=None, video_grid_thw=None, **_):
            if pixel_values_videos is None:  # they were encoded before
                return {}
            given.append(2 * int(video_grid_thw[0, 0]))
            if given[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return encode(ids, pixel_values_videos=pixel_values_videos, video_grid_thw=video_grid_thw)

        monkeypatch.setattr(engine.model.network.model, "encode", limited)
        return given

    def test_once_more_with_half_the_frames(self, engine, monkeypatch):
        images = clip(8, frames=8)
        engine.encode("old", clip(9))
        given = self.short(engine, monkeypatch, most=4)
        answer = engine.ask(images, QUESTIONS[0])
        assert given == [8, 8, 4] and answer.frames == (0, 2, 5, 7)
        assert "4 of 8 frames" in answer.note
        assert not engine.has("old"), "what could be freed was not"
        monkeypatch.undo()
        expected = generated(engine, [images[i] for i in answer.frames], QUESTIONS[0])
        assert answer.text == said(engine, expected).strip()

    def test_other_scenes_make_room_before_frames_are_left_out(self, engine, monkeypatch):
        engine.encode("old", clip(9))
        encode = engine.model.network.model.encode

        def limited(*args, **clip):
            if engine.has("old"):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return encode(*args, **clip)

        monkeypatch.setattr(engine.model.network.model, "encode", limited)
        answer = engine.ask(clip(11, frames=8), QUESTIONS[0])
        assert answer.frames == tuple(range(8)) and "memory" not in answer.note

    @pytest.mark.parametrize("frames", [1, 8])
    def test_what_fails_twice_says_what_helps(self, engine, monkeypatch, frames):
        self.short(engine, monkeypatch, most=0)
        with pytest.raises(SpatialError, match=r"out of memory on cpu.*fewer frames") as error:
            engine.ask(clip(8, frames), QUESTIONS[0])
        assert error.value.code == ErrorCode.FAILED
        assert "Tried to allocate" not in error.value.message
        monkeypatch.undo()
        assert "memory" not in engine.ask(clip(8, frames), QUESTIONS[0]).note

    def test_while_answering(self, engine, scene, monkeypatch):
        def full(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(engine.model.network, "forward", full)
        with pytest.raises(SpatialError, match=r"out of memory.*while answering") as error:
            engine.answer(scene, QUESTIONS[0])
        assert error.value.code == ErrorCode.FAILED and not engine.has(scene) and engine.clip_bytes == 0
        monkeypatch.undo()
        assert engine.ask(clip(0), QUESTIONS[0]).text


class TestGeometry:
    def test_is_what_the_spatial_encoder_sees(self, engine):
        images = clip(3, frames=3)
        window = engine.geometry(images)
        assert window.depth.shape == (3, 42, 56) and (window.depth > 0).all() and (window.confidence >= 1).all()
        assert window.intrinsics[:, 0, 2].tolist() == [28] * 3 and window.intrinsics[:, 1, 2].tolist() == [21] * 3
        rotation = window.window_from_camera[:, :3, :3]
        np.testing.assert_allclose(
            rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-9
        )
        flipped = engine.geometry([image[:, ::-1] for image in images])
        assert abs(flipped.depth - window.depth).max() > 1e-3, "the frames do not matter"

    @pytest.mark.parametrize(
        ("size", "longest", "expected"),
        [
            ((480, 640), 518, (392, 518)),
            ((640, 480), 518, (518, 392)),
            ((100, 100), 518, (98, 98)),
            ((5, 1000), 518, (14, 518)),
            ((60, 80), 56, (42, 56)),
            ((527, 527), 530, (518, 518)),
        ],
    )
    def test_size(self, size, longest, expected):
        assert fit(size, longest, 14) == expected

    def test_a_plain_vggt_sees_the_same_and_answers_nothing(self, engine, tiny, tmp_path):
        folder = tmp_path / "VGGT-tiny"
        folder.mkdir()
        save_file(
            {k: v.contiguous() for k, v in engine.model.network.vggt.state_dict().items()}, folder / "model.safetensors"
        )
        config = json.loads((tiny / "config.json").read_text())["spatial_config"]
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "model_type"}))
        vggt = load_engine(folder, device="cpu")
        images = clip(4, frames=2)
        np.testing.assert_allclose(vggt.geometry(images).depth, engine.geometry(images).depth, rtol=1e-5)
        assert vggt.folders == [folder]
        for ask in (
            lambda: vggt.encode("a", images),
            lambda: vggt.ask(images, CHOICE),
            lambda: vggt.answer("a", CHOICE),
        ):
            with pytest.raises(SpatialError, match=r"VGGT-tiny is a VGGT.*expected a Spatial-MLLM") as error:
                ask()
            assert error.value.code == ErrorCode.MODEL_NOT_READY
        with pytest.raises(SpatialError, match="adapter") as error:
            load_engine(folder, device="cpu", adapter="anything")

    def test_out_of_memory(self, engine, monkeypatch):
        def full(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(engine.model, "geometry", full)
        with pytest.raises(SpatialError, match=r"out of memory.*with 4 frames") as error:
            engine.geometry(clip(0))
        assert error.value.code == ErrorCode.FAILED


class TestBadInput:
    @pytest.mark.parametrize(
        ("images", "code"),
        [
            ([], ErrorCode.NO_FRAMES),
            ([np.zeros((8, 8), np.uint8)], ErrorCode.BAD_REQUEST),
            ([np.zeros((8, 8, 3), np.float32)], ErrorCode.BAD_REQUEST),
        ],
    )
    def test_images(self, engine, images, code):
        for call in (
            lambda: engine.ask(images, CHOICE),
            lambda: engine.encode("x", images),
            lambda: engine.geometry(images),
        ):
            with pytest.raises(SpatialError) as error:
                call()
            assert error.value.code == code
        assert not engine.has("x")

    @pytest.mark.parametrize("options", [{"device": "tpu"}, {"device": "cuda:99"}, {"dtype": "int8"}])
    def test_unknown_device_or_dtype(self, tiny, options):
        with pytest.raises(SpatialError, match=next(iter(options.values()))) as error:
            load_engine(tiny, **{"device": "cpu", **options})
        assert error.value.code == ErrorCode.BAD_REQUEST

    def test_no_such_model(self, tmp_path):
        with pytest.raises(SpatialError) as error:
            load_engine(tmp_path / "nowhere", device="cpu")
        assert error.value.code == ErrorCode.BAD_REQUEST and str(tmp_path.parent) not in error.value.message

    def test_a_model_without_a_tokenizer_gives_geometry_only(self, tiny, tmp_path):
        folder = tmp_path / "mute"
        shutil.copytree(tiny, folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        mute = load_engine(folder, device="cpu")
        assert len(mute.geometry(clip(0))) == 4
        with pytest.raises(SpatialError, match="mute has no tokenizer") as error:
            mute.ask(clip(0), CHOICE)
        assert error.value.code == ErrorCode.MODEL_NOT_READY

    def test_canceled_before_anything_is_seen(self, engine):
        with pytest.raises(SpatialError) as error:
            engine.encode("never", clip(0), stop=lambda: True)
        assert error.value.code == ErrorCode.CANCELED and not engine.has("never")

    @pytest.mark.parametrize("allowed", [1, 2, 3])
    def test_canceled_while_a_clip_is_seen(self, engine, allowed):
        calls = count()
        with pytest.raises(SpatialError) as error:
            engine.encode("never", clip(10), stop=lambda: next(calls) >= allowed)
        assert error.value.code == ErrorCode.CANCELED and not engine.has("never")


def test_it_says_where_its_weights_came_from(engine, tiny, tmp_path, monkeypatch):
    (adapter := tmp_path / "adapter").mkdir()
    monkeypatch.setattr(engine_module, "load", lambda *_: engine.model)
    assert engine.folders == [tiny]
    assert load_engine(tiny, adapter=adapter, device="cpu").folders == [tiny, adapter]


def test_progress_while_loading(tiny):
    steps: list[tuple[str, float]] = []
    load_engine(tiny, device="cpu", progress=lambda stage, fraction: steps.append((stage, fraction)))
    fractions = [fraction for _, fraction in steps]
    assert steps[-1] == ("ready", 1.0) and fractions == sorted(fractions) and fractions[0] == 0
    assert 50 < len(fractions) <= 103 and {stage for stage, _ in steps[:-1]} == {"loading"}


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cpu", "auto", ("cpu", "float32")),
        ("cuda:1", "auto", ("cuda:1", "bfloat16")),
        ("cuda", "float16", ("cuda", "float16")),
        ("moon", "x", ("moon", "x")),
    ],
)
def test_choice_of_device_and_dtype(device, dtype, expected):
    assert choose(device, dtype) == expected


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose("auto", "auto") == (("cuda", "bfloat16") if there else ("cpu", "float32"))
