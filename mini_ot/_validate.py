"""One place where arguments are checked, so that bad input always gets the same clear answer."""

from numbers import Integral, Real

import numpy as np


def samples(x, name: str = "x", *, dim: int | None = None, at_least: int = 1) -> np.ndarray:
    """Return `x` as a finite, C-contiguous float array of shape (n, d); a vector becomes (n, 1).

    float32 stays float32; everything else becomes float64.
    """
    wanted = f"an array of shape (n, {'d' if dim is None else dim})" + (
        f" with n >= {at_least}" if at_least > 1 else ""
    )
    array = _real_numbers(x, f"{name} must be {wanted}")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] == 0 or (dim is not None and array.shape[1] != dim):
        raise ValueError(f"{name} must be {wanted}, got {_describe(x)}")
    if len(array) < at_least:
        raise ValueError(f"{name} must be {wanted}, got {len(array)} sample{'s' * (len(array) != 1)}")
    if not np.isfinite(array).all():
        bad = ~np.isfinite(array).all(axis=1)
        raise ValueError(
            f"{name} must be finite, got {array[bad.argmax()].tolist()} in row {bad.argmax()} "
            f"({bad.sum()} of {len(array)} rows hold NaN or infinity)"
        )
    return np.ascontiguousarray(array)


def column_spread(x, name: str) -> np.ndarray:
    """Return the standard deviation of each column of checked samples, and check that none is zero."""
    size = np.abs(x).max(axis=0)
    size[size == 0] = 1.0
    relative = (x / size).std(axis=0)  # of numbers up to one, whose squares do not overflow
    if not (relative > 1e-12).all():
        raise ValueError(f"{name} must vary in every column, got a constant column {relative.argmin()}")
    return size * relative


def vector(values, name: str, dim: int | None = None) -> np.ndarray:
    """Return `values` as a finite float64 vector of `dim` numbers; a single row or number is one, too."""
    wanted = f"{name} must be a vector of {'d' if dim is None else dim} finite numbers"
    array = np.atleast_1d(_real_numbers(values, wanted).astype(np.float64))
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 1 or not len(array) or (dim is not None and len(array) != dim):
        raise ValueError(f"{wanted}, got {_describe(values)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    return array


def two_clouds(x, y, *, at_least: int = 1, same_size: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Check `x` and `y` as samples of the same space."""
    x = samples(x, "x", at_least=at_least)
    y = samples(y, "y", at_least=at_least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have the same number of columns, got {x.shape[1]} and {y.shape[1]}")
    if same_size and len(x) != len(y):
        raise ValueError(f"x and y must have the same number of samples, got {len(x)} and {len(y)}")
    return x, y


def same_rows(z, y) -> None:
    """Check that outcomes `z` and covariates `y` have one row each."""
    if len(z) != len(y):
        raise ValueError(f"z and y must have the same number of rows, got {len(z)} and {len(y)}")


def generator(rng) -> np.random.Generator:
    """Return a numpy Generator from a seed, a SeedSequence, a Generator or None (fresh entropy)."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise TypeError(
            f"rng must be a non-negative whole number, a numpy.random.Generator or None, got {_describe(rng)}"
        ) from None


def positive(value, name: str) -> float:
    """Check a positive finite real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a positive number, got {_describe(value)}")
    if not (0 < value < np.inf):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return float(value)


def fraction(value, name: str) -> float:
    """Check a number from 0 to below 1."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a share from 0 to below 1, got {_describe(value)}")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be a share from 0 to below 1, got {value}")
    return float(value)


def split(x, held_out, rng, *, at_least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Set a random share of the samples aside; return the others and these."""
    x, held_out = x[rng.permutation(len(x))], fraction(held_out, "held_out")
    cut = max(1, int(held_out * len(x))) if held_out else 0
    if len(x) - cut < at_least:
        raise ValueError(
            f"held_out must leave at least {at_least} of the {len(x)} samples to the fit, got {held_out}"
        )
    return x[cut:], x[:cut]


def count(value, name: str, *, at_least: int = 1) -> int:
    """Check a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {_describe(value)}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}")
    return int(value)


def one_of(value, name: str, allowed) -> None:
    """Check one of a few words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def grid(values, name: str) -> np.ndarray:
    """Return `values` as a finite, C-contiguous float64 array with two axes of at least 4 entries."""
    wanted = f"{name} must be an array of shape (n1, n2) with n1, n2 >= 4"
    array = _real_numbers(values, wanted).astype(np.float64)
    if array.ndim != 2 or min(array.shape) < 4:
        raise ValueError(f"{wanted}, got {_describe(values)}")
    if not np.isfinite(array).all():
        i, j = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{name} must be finite, got {array[i, j]} at [{i}, {j}]")
    return np.ascontiguousarray(array)


def masses(values, name: str) -> np.ndarray:
    """Return `values` as :func:`grid` does, and check that none is negative and their sum is a number."""
    array = grid(values, name)
    if (array < 0).any():
        i, j = np.unravel_index(array.argmin(), array.shape)
        raise ValueError(f"{name} must not be negative, got {array[i, j]} at [{i}, {j}]")
    if not np.isfinite(array.sum()):
        raise ValueError(f"{name} must have a finite sum, got entries up to {array.max()}")
    return array


def box(bounds) -> tuple[np.ndarray, np.ndarray]:
    """Check a rectangle ((low, high), (low, high)); return its lower corner and its sides."""
    wanted = "bounds must be two pairs (low, high) of finite numbers with low < high"
    try:
        corners = np.asarray(bounds, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{wanted}, got {_describe(bounds)}") from None
    if corners.shape != (2, 2) or not np.isfinite(corners).all() or not (corners[:, 0] < corners[:, 1]).all():
        raise ValueError(f"{wanted}, got {_describe(bounds)}")
    return corners[:, 0].copy(), corners[:, 1] - corners[:, 0]


def _real_numbers(values, wanted: str) -> np.ndarray:
    """Return an array of float32 as it is, anything else real as float64."""
    try:
        array = np.asarray(values)
        if array.dtype != np.float32:
            if np.iscomplexobj(array):
                raise TypeError
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{wanted} of real numbers, got {_describe(values)}") from None
    return array


def _describe(value) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"
