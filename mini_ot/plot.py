"""Pictures in the house style, still and moving.

One colour means one thing everywhere: blue is the source, orange the target, green the map or model, grey
the scaffolding.  The four are told apart by colour-blind readers (Okabe and Ito), and figures have no
background, so that they sit on light and dark pages alike.
"""

import base64
import io
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb

from ._validate import count, samples

SOURCE = "#3a8fd9"
TARGET = "#e07b1a"
MODEL = "#0f9d76"
GREY = "#7d7d7d"

_STYLE = {
    "figure.figsize": (6.0, 3.6),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.dpi": 110,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.prop_cycle": plt.cycler(color=[SOURCE, TARGET, MODEL, "#c061b0", GREY]),
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "lines.linewidth": 2.0,
    "image.origin": "lower",
}


def use_style() -> None:
    """Switch matplotlib to the house style (importing this module does it)."""
    plt.rcParams.update(_STYLE)


def fading(colour: str) -> LinearSegmentedColormap:
    """Return a colour map from transparent to `colour`, which reads on light and dark pages."""
    return LinearSegmentedColormap.from_list("fading", [(*to_rgb(colour), 0.0), (*to_rgb(colour), 1.0)])


def scatter(x, y=None, *, ax=None, labels=("source", "target"), size: float = 4.0):
    """Scatter one cloud, or two in the colours of source and target.

    Parameters
    ----------
    x, y : array_like, shape (n, 2) and (m, 2)
    ax : matplotlib axes, optional
        Drawn on; a new figure by default.
    labels : pair of str
        Names in the legend, shown where there are two clouds.
    size : float
        Area of a dot in points squared.

    Returns
    -------
    matplotlib axes
    """
    ax = plt.subplots(figsize=(4, 4))[1] if ax is None else ax
    ax.scatter(*samples(x, "x", dim=2).T, s=size, color=SOURCE, alpha=0.6, lw=0, label=labels[0])
    if y is not None:
        ax.scatter(*samples(y, "y", dim=2).T, s=size, color=TARGET, alpha=0.6, lw=0, label=labels[1])
        ax.legend(markerscale=3, loc="upper right")
    ax.set_aspect("equal")
    return ax


def density(log_density: Callable, bounds, *, ax=None, colour: str = TARGET, n: int = 160):
    """Paint a two-dimensional density over a box.

    Parameters
    ----------
    log_density : callable
        Points (n, 2) to log density (n,).
    bounds : pair of (low, high)
        A target's ``.bounds``, say.
    ax : matplotlib axes, optional
    colour : str
        Colour of the largest density; zero is transparent.
    n : int
        Pixels along each side.

    Returns
    -------
    matplotlib axes
    """
    ax = plt.subplots(figsize=(4, 4))[1] if ax is None else ax
    (left, right), (bottom, top) = bounds
    xs, ys = np.linspace(left, right, n), np.linspace(bottom, top, n)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    value = np.exp(log_density(grid)).reshape(n, n)
    ax.imshow(value, extent=(left, right, bottom, top), cmap=fading(colour), aspect="equal", vmin=0)
    return ax


def map_grid(T: Callable, bounds, *, ax=None, lines: int = 21, colour: str = MODEL):
    """Draw what a map does to a square grid: where the lines crowd, it shrinks volume.

    Parameters
    ----------
    T : Map or callable
        Points (n, 2) to points (n, 2).
    bounds : pair of (low, high)
        Box of the grid before the map.
    ax : matplotlib axes, optional
    lines : int
        Grid lines in each direction.
    colour : str

    Returns
    -------
    matplotlib axes
    """
    ax = plt.subplots(figsize=(4, 4))[1] if ax is None else ax
    (left, right), (bottom, top) = bounds
    fine = np.linspace(0, 1, 100)
    for s in np.linspace(0, 1, count(lines, "lines", at_least=2)):
        across = np.c_[left + (right - left) * fine, np.full(100, bottom + (top - bottom) * s)]
        up = np.c_[np.full(100, left + (right - left) * s), bottom + (top - bottom) * fine]
        for line in (across, up):
            ax.plot(*T(line).T, color=colour, lw=0.7)
    ax.set_aspect("equal")
    return ax


def slider(
    draw: Callable,
    values: Iterable,
    *,
    label: str,
    alt: str | Callable,
    figsize=(5.0, 3.5),
    play: bool = False,
    start: int = 0,
    fmt: str = "{:.2f}",
    **subplots,
):
    """Make a picture that moves with a slider, on a web page without a kernel as in Jupyter.

    All frames are drawn now, by the code that the tests test; the page only switches between them.

    Parameters
    ----------
    draw : callable
        ``draw(ax, value)`` draws one frame on fresh axes (an array of axes if `subplots` asks for several).
    values : iterable
        One value per frame, at least two; 20 to 40 frames keep the page light.
    label : str
        Name of the slider.
    alt : str or callable
        What the picture shows, in words, for readers who cannot see it; ``alt(value)`` may tell it frame
        by frame.
    figsize : pair of float
    play : bool
        Add a button that runs through the frames.
    start : int
        Frame shown first.
    fmt : str
        How a value is printed beside the slider.
    **subplots
        Passed to ``matplotlib.pyplot.subplots``, such as ``ncols=2`` or ``sharey=True``.

    Returns
    -------
    ipywidgets.VBox
        Leave it as the last expression of a cell.

    Raises
    ------
    ValueError
        If there are fewer than two values, `start` is no frame, or `alt` is empty.
    """
    import ipywidgets as widgets  # a third of a second that still figures need not pay

    values = list(values)
    if len(values) < 2:
        raise ValueError(f"values must hold at least 2 frames, got {len(values)}")
    if not 0 <= start < len(values):
        raise ValueError(f"start must be a frame from 0 to {len(values) - 1}, got {start}")
    frames = []
    for value in values:
        text = alt(value) if callable(alt) else alt
        if not text.strip():
            raise ValueError("alt must say in words what the picture shows, got an empty text")
        caption = f"{label} = {fmt.format(value) if not isinstance(value, str) else value}"
        frames.append(widgets.HTML(_img(draw, value, figsize, subplots, text, caption)))
    stack = widgets.Stack(frames, selected_index=start)
    # continuous_update keeps the picture under the thumb; the readout is in the frame's caption.
    handle = widgets.IntSlider(
        start, 0, len(values) - 1, description=label, readout=False, layout={"width": "min(100%, 26em)"}
    )
    handle.style.description_width = "initial"
    widgets.jslink((handle, "value"), (stack, "selected_index"))
    row = [handle]
    if play:
        button = widgets.Play(value=start, min=0, max=len(values) - 1, interval=120, show_repeat=False)
        widgets.jslink((button, "value"), (handle, "value"))
        row.insert(0, button)
    return widgets.VBox([widgets.HBox(row, layout={"flex_flow": "row wrap"}), stack])


def _img(draw, value, figsize, subplots, alt, caption) -> str:
    """Draw one frame and return it as an <img> that holds its own PNG."""
    figure, axes = plt.subplots(figsize=figsize, **subplots)
    draw(axes, value)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=90)
    plt.close(figure)
    data = base64.b64encode(_fewer_colours(png)).decode()
    alt = alt.replace("&", "&amp;").replace('"', "&quot;")
    return (
        f'<figure style="margin:0"><img class="mo-frame" alt="{alt}" style="max-width:100%;height:auto" '
        f'src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _fewer_colours(png: io.BytesIO) -> bytes:
    """Store a frame with 128 colours: a third of the bytes, no visible difference."""
    from PIL import Image  # matplotlib needs Pillow anyway

    image, small = Image.open(png), io.BytesIO()
    if image.getchannel("A").getextrema()[0] == 255:  # opaque: cut by the median, which keeps a photo's tones
        image = image.convert("RGB").quantize(128)
    else:
        image = image.quantize(128, method=Image.Quantize.FASTOCTREE)
    image.save(small, "PNG", optimize=True)
    return small.getvalue()


use_style()
