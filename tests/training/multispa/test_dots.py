"""Dots: where they are, what stays visible, and which points get one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_training.multispa.dots import COLOURS, draw, glyph, is_drawn, places
from spatial_mllm_training.multispa.item import LETTERS, Point

sizes = st.tuples(st.integers(40, 700), st.integers(40, 700))


def grey(height=240, width=320, value=128):
    return np.full((height, width, 3), value, np.uint8)


def changed(before, after):
    return (before != after).any(axis=2)


@settings(max_examples=40, deadline=None)
@given(sizes, st.data())
def test_a_dot_is_symmetric_about_its_pixel(size, data):
    height, width = size
    u, v = data.draw(st.integers(16, width - 17)), data.draw(st.integers(16, height - 17))
    drawn = draw(grey(height, width), [Point(0, u, v)], "dot", "scalar")
    part = drawn[v - 16 : v + 17, u - 16 : u + 17]
    for same in (part[::-1], part[:, ::-1], part.transpose(1, 0, 2)):
        np.testing.assert_array_equal(part, same)
    rows, columns = np.nonzero(changed(grey(height, width), drawn))
    assert (rows.mean(), columns.mean()) == pytest.approx((v, u), abs=1e-9)


def test_a_dot_has_colour_rim_and_a_small_size():
    drawn = draw(grey(480, 640, 40), [Point(0, 100, 200)], "dot", "scalar")
    right = drawn[200, 100:120].tolist()
    assert right[0] == right[4] == list(COLOURS[""][1])
    assert [255, 255, 255] in right
    assert right[10] == [40, 40, 40]
    assert 80 < changed(grey(480, 640, 40), drawn).sum() < 300  # of 307200


def test_the_radius_follows_the_image_but_is_never_below_three_pixels():
    def coloured(height, width):
        drawn = draw(grey(height, width), [Point(0, 30, 20)], "dot", "scalar")
        return (drawn == COLOURS[""][1]).all(axis=2).sum()

    assert 2 * coloured(480, 640) < coloured(1080, 1920)
    assert coloured(42, 56) == coloured(60, 80) == 21  # grid points within 2.5 of the centre


def test_edges_are_smooth():
    drawn = draw(grey(480, 640, 0), [Point(0, 100, 200)], "dot", "scalar")
    assert len(np.unique(drawn[..., 1])) > 6


def test_the_image_given_stays_as_it_was():
    image = grey()
    draw(image, [Point(0, 0, 0, "A")], "dot", "choice")
    assert (image == 128).all()
    assert draw(image, [], "dot", "scalar") is not image


@settings(max_examples=60, deadline=None)
@given(sizes, st.data())
def test_letters_are_whole_and_inside_wherever_the_dots_are(size, data):
    height, width = size
    points = [
        Point(1, data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1)), letter)
        for letter in LETTERS
    ]
    radius = max(3.0, 0.008 * max(size))
    for letter, (left, top, right, bottom) in places(points, radius, (width, height)):
        rows, columns = glyph(letter, radius)[0][0].shape
        assert (right - left, bottom - top) == (columns, rows)
        assert left >= 0 <= top and right <= width and bottom <= height
    assert changed(grey(height, width), draw(grey(height, width), points, "dot", "choice")).any()


@pytest.mark.parametrize("u, v", [(0, 0), (319, 0), (0, 239), (319, 239), (160, 120)])
def test_a_letter_leaves_its_own_dot_visible(u, v):
    [(_, (left, top, right, bottom))] = places([Point(0, u, v, "B")], 3.0, (320, 240))
    away = np.hypot(max(left - u, 0, u - right + 1), max(top - v, 0, v - bottom + 1))
    assert away > 3.0


@pytest.mark.parametrize("other", [(20, -14), (-20, -14), (20, 14), (-20, 14)])
def test_a_letter_avoids_other_dots(other):
    points = [Point(1, 100, 100, "A"), Point(1, 100 + other[0], 100 + other[1], "B")]
    boxes = dict(places(points, 3.0, (320, 240)))
    for point in points:
        for left, top, right, bottom in boxes.values():
            assert not (left <= point.u < right and top <= point.v < bottom)
    first, second = boxes["A"], boxes["B"]
    assert first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]


@pytest.mark.parametrize("background", [0, 90, 128, 200, 255])
@pytest.mark.parametrize("letter", LETTERS)
def test_letters_have_light_and_dark_on_any_background(background, letter):
    drawn = draw(grey(value=background), [Point(1, 160, 120, letter)], "dot", "choice")
    left, top, right, bottom = next(places([Point(1, 160, 120, letter)], 3.0, (320, 240)))[1]
    box = drawn[top:bottom, left:right].min(axis=2)
    assert (box > 230).sum() >= 15 and (box < 25).sum() >= 15


def test_letters_differ():
    shapes = {letter: glyph(letter, 5.0)[1][0] for letter in LETTERS}
    for a in LETTERS:
        for b in LETTERS:
            same = shapes[a].shape == shapes[b].shape and np.abs(shapes[a] - shapes[b]).mean() < 0.05
            assert (a == b) == same


def test_colours_are_far_apart_and_named_differently():
    names, values = zip(*COLOURS.values(), strict=True)
    assert len(set(names)) == len(names) == 1 + len(LETTERS)
    apart = np.linalg.norm(np.subtract.outer(np.array(values), 0)[:, None] - np.array(values)[None], axis=2)
    assert apart[~np.eye(len(values), dtype=bool)].min() > 100


@pytest.mark.parametrize(
    "point, referring, output, drawn",
    [
        (Point(0, 5, 5), "dot", "scalar", True),
        (Point(0, 5, 5, "A"), "dot", "choice", True),
        (Point(1, 5, 5, "C"), "dot", "choice", True),
        (Point(1, 5, 5, "C"), "coordinate", "choice", True),
        (Point(0, 5, 5, "A"), "coordinate", "choice", False),
        (Point(0, 5, 5), "coordinate", "pixel", False),
        (Point(1, 5, 5), "coordinate", "pixel", False),
        (Point(1, 5, 5), "dot", "pixel", False),
        (Point(1, 5, 5), "dot", "scalar", False),
        (Point(1, 5, 5), "dot", "vector", False),
        (Point(1, 5, 5, "D"), "dot", "text", True),
        (Point(0, 5, 5), "", "scalar", False),
    ],
)
def test_what_is_asked_for_is_never_given_away(point, referring, output, drawn):
    assert is_drawn(point, referring, output) is drawn
    assert changed(grey(), draw(grey(), [point], referring, output)).any() == drawn


@pytest.mark.parametrize("u, v", [(-1, 5), (5, -1), (320, 5), (5, 240)])
def test_a_point_outside_is_refused(u, v):
    with pytest.raises(ValueError, match=rf"\({u}, {v}\) is outside its image of 320 x 240"):
        draw(grey(), [Point(0, u, v)], "dot", "scalar")


def test_a_name_without_a_dot_is_refused():
    with pytest.raises(ValueError, match="'E'; its name is one of A, B, C, D"):
        draw(grey(), [Point(0, 5, 5, "E")], "dot", "choice")
