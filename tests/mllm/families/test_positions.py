"""Positions against figures worked out by hand and against a plain walk along the axes."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.positions import rope_index
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import released_config
from tests.closeness import assert_close

TEXT, IMAGE, VIDEO = 7, 151655, 151656
CONFIG = SpatialMLLMConfig.from_dict(released_config("3b"))  # 2 positions a second


def index(ids, **kwargs):
    positions, deltas = rope_index(CONFIG, torch.tensor(ids), **kwargs)
    return positions.tolist(), deltas[:, 0].tolist()


def test_text_alone():
    assert index([[TEXT] * 4]) == ([[[0, 1, 2, 3]]] * 3, [0])


def test_image_between_text():
    """4 x 6 patches are 2 x 3 tokens at time 2; text goes on behind column 2 + 2."""
    (time, row, column), delta = index([[TEXT] * 2 + [IMAGE] * 6 + [TEXT] * 2], image_grids=[(1, 4, 6)])
    assert time == [[0, 1, 2, 2, 2, 2, 2, 2, 5, 6]]
    assert row == [[0, 1, 2, 2, 2, 3, 3, 3, 5, 6]]
    assert column == [[0, 1, 2, 3, 4, 2, 3, 4, 5, 6]]
    assert delta == [7 - 10]


def test_long_video_moves_the_text_behind_it():
    """5 steps of one token, 1 s each at 2 positions a second: times 1, 3, 5, 7, 9; text goes on at 10."""
    (time, row, column), delta = index([[TEXT] + [VIDEO] * 5 + [TEXT]], video_grids=[(5, 2, 2)])
    assert time == [[0, 1, 3, 5, 7, 9, 10]]
    assert row == column == [[0, 1, 1, 1, 1, 1, 10]]
    assert delta == [11 - 7]


@pytest.mark.parametrize(
    ("seconds", "times"),
    [
        (0.5, [0, 1, 2, 3]),
        (0.7, [0, 1, 2, 4]),  # 0, 1.4, 2.8, 4.2
        (1.25, [0, 2, 5, 7]),  # 0, 2.5, 5, 7.5
        (0.2, [0, 0, 0, 1]),  # 0, 0.4, 0.8, 1.2
        (0.0, [0, 0, 0, 0]),
    ],
)
def test_fractions_of_seconds_round_down(seconds, times):
    (time, _, _), _ = index([[VIDEO] * 4 + [TEXT]], video_grids=[(4, 2, 2)], seconds=[seconds])
    assert time == [[*times, max(times[-1], 0) + 1]]


def test_a_scene_of_16_pairs_of_frames():
    """17 x 23 tokens each: time runs to 30, further than the 23 columns; text goes on at 4 + 31."""
    (time, row, column), delta = index([[TEXT] * 4 + [VIDEO] * 6256 + [TEXT] * 2], video_grids=[(16, 34, 46)])
    assert time[0][4:-2] == [4 + 2 * t for t in range(16) for _ in range(391)]
    assert row[0][4:-2] == [4 + r for r in range(17) for _ in range(23)] * 16
    assert column[0][4:-2] == [4 + c for c in range(23)] * (16 * 17)
    assert time[0][-2:] == row[0][-2:] == column[0][-2:] == [35, 36] and delta == [37 - 6262]


def test_each_video_has_its_own_time():
    ids = [[VIDEO] * 2 + [TEXT] + [VIDEO] * 2 + [TEXT]]
    (time, _, _), _ = index(ids, video_grids=[(2, 2, 2), (2, 2, 2)], seconds=[1.0, 3.0])
    assert time == [[0, 2, 3, 4, 10, 11]]


def test_videos_without_text_between():
    """Two runs of the same token are told apart by their grids."""
    (time, _, column), _ = index([[VIDEO] * 6], video_grids=[(2, 2, 2), (1, 2, 8)])
    assert time == [[0, 2, 3, 3, 3, 3]]
    assert column == [[0, 0, 3, 4, 5, 6]]


def test_images_and_videos_in_turn():
    ids = [[IMAGE, TEXT] + [VIDEO] * 2 + [TEXT, IMAGE]]
    (time, row, column), _ = index(ids, image_grids=[(1, 2, 2), (1, 2, 2)], video_grids=[(2, 2, 2)])
    assert time == [[0, 1, 2, 4, 5, 6]]
    assert row == column == [[0, 1, 2, 2, 5, 6]]


@pytest.mark.parametrize("left", [True, False])
def test_padding_counts_for_nothing(left):
    short, long = [TEXT, VIDEO, VIDEO, TEXT], [TEXT] * 6
    fill = [0, 0]
    ids = [fill + short if left else short + fill, long]
    mask = torch.tensor([[0, 0, 1, 1, 1, 1] if left else [1, 1, 1, 1, 0, 0], [1] * 6])
    positions, deltas = index(ids, video_grids=[(2, 2, 2)], mask=mask)
    alone, delta = index([short], video_grids=[(2, 2, 2)])
    for axis in range(3):
        inside = alone[axis][0]
        assert positions[axis][0] == ([0, 0, *inside] if left else [*inside, 0, 0])
    assert deltas == [*delta, 0]


@pytest.mark.parametrize(
    ("ids", "grids", "said"),
    [
        ([[VIDEO] * 3], {"video_grids": [(2, 4, 4)]}, "expected 8 tokens"),
        ([[VIDEO]], {}, "more video tokens"),
        ([[IMAGE]], {"video_grids": [(1, 2, 2)]}, "more image tokens"),
        ([[TEXT]], {"image_grids": [(1, 2, 2)]}, "than the prompts have tokens for"),
        ([[VIDEO]], {"video_grids": [(1, 2, 2)], "seconds": [1.0, 1.0]}, "2 values for 1 videos"),
    ],
)
def test_tokens_and_grids_that_do_not_fit(ids, grids, said):
    with pytest.raises(ValueError, match=said):
        rope_index(CONFIG, torch.tensor(ids), **grids)


runs = st.one_of(
    st.tuples(st.just("text"), st.integers(1, 5)),
    st.tuples(st.just("image"), st.integers(1, 3), st.integers(1, 3)),
    st.tuples(
        st.just("video"), st.integers(1, 20), st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.3, 1, 2.6])
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(runs, min_size=1, max_size=6))
def test_any_prompt_is_as_walked(prompt):
    """A token at a time: its place, and the furthest of all places so far, behind which the next run starts."""
    ids, places, images, videos, seconds, start = [], [], [], [], [], 0
    for kind, *size in prompt:
        if kind == "text":
            ids += [TEXT] * size[0]
            places += [(start + i,) * 3 for i in range(size[0])]
        else:
            steps, rows, columns, second = (1, *size, 0) if kind == "image" else size
            ids += [IMAGE if kind == "image" else VIDEO] * (steps * rows * columns)
            for t in range(steps):
                for r in range(rows):
                    places += [(start + int(t * second * 2 + 1e-6), start + r, start + c) for c in range(columns)]
            grid = (steps, 2 * rows, 2 * columns)
            if kind == "image":
                images.append(grid)
            else:
                videos.append(grid)
                seconds.append(second)
        start = max(max(place) for place in places) + 1
    positions, deltas = index([ids], image_grids=images, video_grids=videos, seconds=seconds)
    assert list(zip(*(axis[0] for axis in positions))) == places
    assert deltas == [start - len(ids)]


@pytest.fixture(scope="module")
def model(tiny):
    return load_model(tiny)[0]


def prompt(config, kind, counts):
    """Text, then images or videos of so many tokens with text between them."""
    ids = [40, 41]
    for count in counts:
        token = config.image_token_id if kind == "image" else config.video_token_id
        ids += [config.vision_start_token_id, *[token] * count, config.vision_end_token_id, 50 + count]
    return ids


def noise(count, seed):
    return torch.randn(count, 1176, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_fractions_reach_prefill_and_decoding(model):
    """Tokens after a slow video differ from those after a fast one, and generation agrees with the forward pass."""
    ids = torch.tensor([prompt(model.config, "video", [8])])
    clip = {"pixel_values_videos": noise(32, 1), "video_grid_thw": torch.tensor([[2, 4, 4]])}
    slow, fast = ({**clip, "second_per_grid_ts": [s]} for s in (7.5, 0.5))
    assert float((model(input_ids=ids, **slow).logits - model(input_ids=ids, **fast).logits)[0, -1].abs().max()) > 1e-3
    out = model.generate(input_ids=ids, **slow, max_new_tokens=8, do_sample=False)
    for length in range(ids.shape[1], out.shape[1]):
        assert int(model(input_ids=out[:, :length], **slow).logits[0, -1].argmax()) == int(out[0, length])


@torch.no_grad()
def test_images_of_one_prompt_are_seen_together(model):
    """The spatial encoder gets them as one clip; those of another prompt, or of another size, are not among them."""
    pixels, grids = noise(48, 2), torch.tensor([[1, 4, 4]] * 3)
    together = model.get_image_features(pixels, grids).pooler_output
    alone = [model.get_image_features(pixels[16 * i : 16 * i + 16], grids[:1]).pooler_output[0] for i in range(3)]
    split = model.get_image_features(pixels, grids, image_counts=[2, 1]).pooler_output
    assert float((together[0] - alone[0]).abs().max()) > 1e-3
    assert_close(split[2], alone[2])
    pair = model.get_image_features(pixels[:32], grids[:2]).pooler_output
    assert_close(split[0], pair[0])
    assert_close(split[1], pair[1])
    sizes = torch.tensor([[1, 4, 4], [1, 8, 4]])
    mixed = model.get_image_features(pixels, sizes).pooler_output
    assert_close(mixed[0], alone[0])
    assert len(mixed[1]) == 8


@torch.no_grad()
def test_batch_of_prompts_with_images_is_as_alone(model):
    first, second = (torch.tensor(prompt(model.config, "image", counts)) for counts in ([4, 4], [4]))
    length = max(len(first), len(second))
    rows = [torch.nn.functional.pad(ids, (length - len(ids), 0), value=0) for ids in (first, second)]
    ids, mask = (
        torch.stack(rows),
        torch.stack([(torch.arange(length) >= length - len(i)).long() for i in (first, second)]),
    )
    pixels, grids = noise(48, 3), torch.tensor([[1, 4, 4]] * 3)
    given = {"pixel_values": pixels, "image_grid_thw": grids}
    alone = (
        {"pixel_values": pixels[:32], "image_grid_thw": grids[:2]},
        {"pixel_values": pixels[32:], "image_grid_thw": grids[2:]},
    )
    both = model(input_ids=ids, attention_mask=mask, **given).logits
    wrote = model.generate(input_ids=ids, attention_mask=mask, **given, max_new_tokens=6, do_sample=False)
    for row, (tokens, its) in enumerate(zip((first, second), alone)):
        assert_close(both[row, -len(tokens) :], model(input_ids=tokens[None], **its).logits[0])
        single = model.generate(input_ids=tokens[None], **its, max_new_tokens=6, do_sample=False)
        assert wrote[row, length:].tolist() == single[0, len(tokens) :].tolist()


@torch.no_grad()
def test_images_and_videos_in_one_prompt(model):
    """Each kind given as pixels or as encoder outputs, in every combination, is the same prompt."""
    image, video = prompt(model.config, "image", [4]), prompt(model.config, "video", [8])
    ids = torch.tensor([image + video])
    grids = {"image_grid_thw": torch.tensor([[1, 4, 4]]), "video_grid_thw": torch.tensor([[2, 4, 4]])}
    pixels = {"pixel_values": noise(16, 4), "pixel_values_videos": noise(32, 5)}
    expected = model(input_ids=ids, **pixels, **grids).logits
    encoded = model.model.encode(ids, **pixels, **grids)
    for kind, other in (("image", "pixel_values_videos"), ("video", "pixel_values")):
        ours = model(input_ids=ids, mm_encoder_outputs={kind: encoded[kind]}, **{other: pixels[other]}, **grids).logits
        assert_close(ours, expected)
    with pytest.raises(ValueError, match="images are given as pixels and as encoder outputs"):
        model(input_ids=ids, mm_encoder_outputs=encoded, **pixels, **grids)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_several_continuations_are_of_the_same_scene(model, kind):
    """Each row of a batch that is written several times keeps its own clip and its own positions."""
    counts = [[20], [8]] if kind == "video" else [[4, 4], [4]]
    rows = [prompt(model.config, kind, count) for count in counts]
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    if kind == "video":
        grids = torch.tensor([[5, 4, 4], [2, 4, 4]])
        given = {"pixel_values_videos": noise(112, 6), "video_grid_thw": grids, "second_per_grid_ts": [7.5, 0.6]}
    else:
        given = {"pixel_values": noise(48, 6), "image_grid_thw": torch.tensor([[1, 4, 4]] * 3)}
    given = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 5, **given}
    greedy = model.generate(**given, do_sample=False)
    twice = model.generate(**given, do_sample=True, top_k=1, num_return_sequences=2)
    assert twice.tolist() == greedy.repeat_interleave(2, 0).tolist()


def test_pixels_that_do_not_fit_their_grid(model):
    ids = torch.tensor([prompt(model.config, "video", [8])])
    for pixels, grid, said in [
        (noise(31, 7), [[2, 4, 4]], r"\[31, 1176\] with grids \[\(2, 4, 4\)\]: expected \[32, 1176\]"),
        (noise(32, 7)[:, :588], [[2, 4, 4]], r"expected \[32, 1176\]"),
        (noise(32, 7), None, "without their grid"),
    ]:
        grids = None if grid is None else torch.tensor(grid)
        with pytest.raises(ValueError, match=said):
            model(input_ids=ids, pixel_values_videos=pixels, video_grid_thw=grids)
        with pytest.raises(ValueError, match=said):
            model.generate(input_ids=ids, pixel_values_videos=pixels, video_grid_thw=grids)


@torch.no_grad()
def test_prefix_that_is_kept_answers_as_the_whole(model):
    """The clip is prefilled once; each question continues from a copy of that cache."""
    config = model.config
    prefix = torch.tensor([prompt(config, "video", [20])])
    clip = {"pixel_values_videos": noise(80, 8), "video_grid_thw": torch.tensor([[5, 4, 4]])}
    cache = model(input_ids=prefix, **clip, use_cache=True).past_key_values
    for question in ([60, 61, 62], [70]):
        ids = torch.cat([prefix, torch.tensor([question])], dim=1)
        cached = model.generate(input_ids=ids, past_key_values=deepcopy(cache), max_new_tokens=6, do_sample=False)
        whole = model.generate(input_ids=ids, **clip, max_new_tokens=6, do_sample=False)
        assert cached.tolist() == whole.tolist()
