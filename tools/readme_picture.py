"""Draw book/_static/readme.png: a normal cloud on its straight way to a pinwheel.

python tools/readme_picture.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

import mini_ot as mo

OUT = Path(__file__).resolve().parents[1] / "book" / "_static" / "readme.png"


def main() -> None:
    mo.plot.use_style()
    x, y = mo.StandardNormal(2).sample(1500, rng=0), mo.Pinwheel().sample(1500, rng=1)
    y = y[mo.assignment(x, y)]
    start, end = np.array(to_rgb(mo.plot.SOURCE)), np.array(to_rgb(mo.plot.TARGET))
    fig, axes = plt.subplots(1, 4, figsize=(10, 2.6))
    for ax, s in zip(axes, np.linspace(0, 1, 4), strict=True):
        ax.scatter(*((1 - s) * x + s * y).T, s=5, color=(1 - s) * start + s * end, linewidths=0, alpha=0.8)
        ax.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
        ax.axis("off")
    # Without the version that made it, the same picture is the same file.
    fig.savefig(OUT, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
