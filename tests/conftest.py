"""What all tests share: no windows, and nothing random that is not seeded."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)
