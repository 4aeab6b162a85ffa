"""Pictures: drawn without complaint, in the house's colours, readable on light and dark pages."""

import base64
import io
import re
from itertools import pairwise

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

import mini_ot as mo


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def luminance(colour):
    rgb = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(rgb, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("colour", [mo.plot.SOURCE, mo.plot.TARGET, mo.plot.MODEL, mo.plot.GREY])
def test_colours_stand_out_on_white_and_on_the_dark_page(colour):
    """WCAG asks for a contrast of 3 for graphics."""
    for page in ("#ffffff", "#14181e"):
        light, dark = sorted([luminance(colour), luminance(page)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 2.9


def test_scatter_density_and_grid_draw_what_they_are_given():
    target = mo.Banana()
    x = target.sample(50, rng=0)
    ax = mo.plot.scatter(x, x + 1, labels=("model", "truth"))
    assert [c.get_offsets().shape for c in ax.collections] == [(50, 2), (50, 2)]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["model", "truth"]
    ax = mo.plot.density(target.log_density, target.bounds, n=40)
    value = np.asarray(ax.images[0].get_array())
    assert value.shape == (40, 40)
    (left, right), (bottom, top) = target.bounds
    at = [
        left + (right - left) * np.argmax(value.max(0)) / 39,
        bottom + (top - bottom) * np.argmax(value.max(1)) / 39,
    ]
    assert np.allclose(at, [0, 0], atol=0.5)  # the banana's mode: rows are the second coordinate
    ax = mo.plot.map_grid(mo.affine_map(x), ((-1, 1), (-1, 1)), lines=5)
    assert len(ax.lines) == 10


def test_figures_have_no_background():
    fig, ax = plt.subplots()
    ax.plot([0, 1])
    png = io.BytesIO()
    fig.savefig(png)
    assert np.asarray(Image.open(png).convert("RGBA"))[0, 0, 3] == 0


def make_slider(**more):
    def draw(ax, value):
        ax.bar([0], [value])
        ax.set(ylim=(0, 1))

    options = {"label": "height", "alt": "a bar", "figsize": (2, 2)} | more
    return mo.plot.slider(draw, [0.1, 0.5, 0.9], **options)


def pictures(widget):
    stack = next(w for w in widget.children if isinstance(w, ipywidgets.Stack))
    found = []
    for frame in stack.children:
        data = re.search(r"base64,([^\"]+)", frame.value)[1]
        found.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")))
    return stack, found


def test_slider_frames_differ_and_follow_the_handle():
    widget = make_slider(play=True, start=1)
    stack, frames = pictures(widget)
    assert len(frames) == 3
    assert all((a != b).any() for a, b in pairwise(frames))
    assert stack.selected_index == 1
    play, handle = widget.children[0].children
    assert handle.max == play.max == 2
    assert 'alt="a bar"' in stack.children[0].value
    assert "height = 0.10" in stack.children[0].value
    assert plt.get_fignums() == []


def test_slider_alt_may_tell_each_frame():
    stack, _ = pictures(make_slider(alt=lambda v: f'a bar of height "{v}" & more'))
    assert 'alt="a bar of height &quot;0.5&quot; &amp; more"' in stack.children[1].value


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_slider(alt=" "), "alt must say in words"),
        (lambda: make_slider(start=3), "start must be a frame from 0 to 2"),
        (lambda: mo.plot.slider(print, [1], label="a", alt="b"), "at least 2 frames, got 1"),
        (lambda: mo.plot.scatter([[1.0, 2, 3]]), r"x must be an array of shape \(n, 2\)"),
        (lambda: mo.plot.map_grid(lambda x: x, ((0, 1), (0, 1)), lines=1), "lines must be at least 2"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
