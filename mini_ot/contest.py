"""Which method, and at what price?  One loop over methods and targets, and checks against copying.

A method is any function ``(y, rng) -> model`` of training samples y, a model anything with
``.sample(n, rng)`` and, where it has one, ``.log_density(points)``.
"""

import time
import warnings
from concurrent.futures import Executor

import numpy as np
from scipy.spatial import KDTree

from ._progress import progress as progress_bar
from ._validate import _describe, count, generator, samples, two_clouds
from .maps import Map, pullback_log_density, pushforward_log_density
from .metrics import energy_distance, sliced_w2
from .targets import StandardNormal


class MapModel:
    """The law that a map makes of a reference: it can be sampled and, where the map is invertible, scored.

    Parameters
    ----------
    T : Map
    backwards : bool
        Whether T takes the data to the reference, as maps fitted by likelihood do; then samples are
        ``T.inverse(z)``, else ``T(z)``.
    reference : object with ``.sample(n, rng)`` and ``.log_density(x)``, optional
        The standard normal without it.

    Examples
    --------
    >>> import mini_ot as mo
    >>> model = mo.MapModel(mo.affine_map(mo.Banana().sample(1000, rng=0)), backwards=True)
    >>> model.sample(5, rng=1).shape
    (5, 2)
    """

    def __init__(self, T: Map, *, backwards: bool = False, reference=None):
        if not isinstance(T, Map):
            raise TypeError(f"T must be a Map, got {_describe(T)}")
        self.T, self.backwards, self.dim = T, bool(backwards), T.dim
        self.reference = StandardNormal(T.dim) if reference is None else reference
        if not hasattr(self.reference, "sample") or not hasattr(self.reference, "log_density"):
            raise TypeError(f"reference must have sample and log_density, got {_describe(reference)}")
        if getattr(self.reference, "dim", self.dim) != self.dim:
            raise ValueError(f"reference must have dimension {self.dim}, got {self.reference.dim}")

    def sample(self, n: int, rng=None) -> np.ndarray:
        """Draw `n` independent samples, shape (n, d)."""
        z = self.reference.sample(count(n, "n"), rng=generator(rng))
        return self.T.inverse(z) if self.backwards else self.T(z)

    def log_density(self, x) -> np.ndarray:
        """Return the log density at the points `x` (n, d), shape (n,).

        Raises NotImplementedError where the map has no log-determinant, or no inverse that it needs.
        """
        x = samples(x, "x", dim=self.dim)
        law = pullback_log_density if self.backwards else pushforward_log_density
        return law(self.T, self.reference.log_density, x)

    def __repr__(self) -> str:
        return f"MapModel({self.T!r}{', backwards' if self.backwards else ''})"


def copy_ratio(x, training, fresh) -> float:
    """Return how near the points `x` lie to the training samples, relative to fresh true samples.

    The median distance of x to the nearest training sample, over that of `fresh`: about 1 for a model that
    has learnt the law, near 0 for one that hands out its training set.

    Parameters
    ----------
    x, training, fresh : array_like, shapes (n, d), (m, d) and (k, d)
        Samples of a model, those that it was fitted to, and true ones that it has not seen.

    Returns
    -------
    float
        Without unit.

    Raises
    ------
    ValueError
        If dimensions differ, or half of the fresh samples are training samples.

    Examples
    --------
    >>> import mini_ot as mo
    >>> old, new = mo.Banana().sample(500, rng=0), mo.Banana().sample(500, rng=1)
    >>> mo.copy_ratio(old, old, new)
    0.0
    """
    training = samples(training, "training")
    x, fresh = (samples(cloud, name, dim=training.shape[1]) for cloud, name in ((x, "x"), (fresh, "fresh")))
    tree = KDTree(training)
    usual = np.median(tree.query(fresh)[0])
    if usual == 0:
        raise ValueError("fresh must not be the training samples, got at least half of them at distance 0")
    return float(np.median(tree.query(x)[0]) / usual)


def nearest_neighbour_accuracy(x, y) -> float:
    """Return how often a point's nearest neighbour, in both clouds together, is of its own cloud.

    One half, up to chance, where both have the same law, and 1 where they lie apart.  Below one half, points
    of one cloud sit beside points of the other, as copies do.

    Parameters
    ----------
    x, y : array_like, shape (n, d)
        As many samples of each, n >= 2.

    Returns
    -------
    float
        From 0 to 1.

    Notes
    -----
    Where neighbours of both clouds are equally near, the other cloud's counts: so a copy counts as one.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.nearest_neighbour_accuracy([[0.0], [0.1]], [[5.0], [5.1]])
    1.0

    References
    ----------
    Lopez-Paz and Oquab (2017), section 3.
    """
    x, y = two_clouds(x, y, at_least=2, same_size=True)
    # Nearest others of each cloud apart, so that an exact copy in the other cloud is never taken for itself.
    own = np.concatenate([KDTree(c).query(c, k=2)[0][:, 1] for c in (x, y)])
    other = np.concatenate([KDTree(y).query(x)[0], KDTree(x).query(y)[0]])
    return float((own < other).mean())


def _kl(model, target, test):
    """Return the mean of log rho - log model over unseen samples, None where the model has no density."""
    try:
        own = model.log_density(test)
    except (AttributeError, NotImplementedError):
        return None
    return None if own is None else float(np.mean(target.log_density(test) - own))


def _default_measures(model, target, training, test, fresh, rng):
    points = model.sample(len(fresh), rng)
    return {
        "kl": _kl(model, target, test),
        "sliced_w2": sliced_w2(points, fresh),
        "energy_distance": energy_distance(points, fresh),
        "copy_ratio": copy_ratio(points, training, fresh),
    }


def _record(method, target, n, measures, seeds):
    """Fit and measure one case; the first three seeds are those of all methods in the same repeat."""
    *clouds, fit, judge = (np.random.default_rng(seed) for seed in seeds)
    training, test, fresh = (target.sample(n, rng=cloud) for cloud in clouds)
    try:
        start = time.process_time()
        model = method(training, fit)
        seconds = time.process_time() - start
        if measures is None:
            found = _default_measures(model, target, training, test, fresh, judge)
        else:
            found = {k: f(model, target, training, test, fresh, judge) for k, f in measures.items()}
    except Exception as error:  # one method must not end the loop: its record says what happened
        return {"error": f"{type(error).__name__}: {error}"}
    return {"seconds": seconds, **found}


def leaderboard(
    methods, targets, *, n: int = 1000, repeats: int = 5, measures=None, rng=0, executor=None, progress=True
) -> list[dict]:
    """Fit every method to samples of every target, several times, and measure what comes out.

    Parameters
    ----------
    methods : dict of str to callable
        Functions ``(y, rng) -> model`` of training samples (n, d).
    targets : dict of str to target
        With ``.sample(n, rng)`` and ``.log_density(x)``.
    n : int
        Samples to learn from; as many unseen ones judge.
    repeats : int
        Each with other samples, the same for all methods, so that differences can be paired.
    measures : dict of str to callable, optional
        Functions ``(model, target, training, test, fresh, rng) -> float`` in place of the usual ones.
    rng : int, numpy.random.Generator or None
    executor : concurrent.futures.Executor, optional
        Runs the cases: a process pool, or ``client.get_executor()`` of Dask.  Methods must then be picklable.
        Seconds are CPU time of the process, so in a pool of threads they count the other threads' cases too.
    progress : bool

    Returns
    -------
    list of dict
        For each target, method and repeat these three, the CPU ``seconds`` of the fit and its measures:
        ``kl`` (mean of log rho - log model over unseen samples, in nats; None without a density, and infinite
        where a model's density is zero at one of them, so take medians over repeats),
        ``sliced_w2``, ``energy_distance`` and ``copy_ratio``.  A method that raised has an ``error`` instead.
        The order and all but the seconds do not depend on the executor.

    Raises
    ------
    TypeError, ValueError
        For bad arguments.

    Warns
    -----
    UserWarning
        If interrupted (Ctrl+C): the records so far are returned.

    Examples
    --------
    >>> import mini_ot as mo
    >>> methods = {"affine": lambda y, rng: mo.MapModel(mo.affine_map(y), backwards=True)}
    >>> records = mo.leaderboard(methods, {"banana": mo.Banana()}, n=200, repeats=2)
    >>> [(r["method"], r["repeat"]) for r in records]
    [('affine', 0), ('affine', 1)]
    """
    _named(methods, "methods", "functions", callable)
    _named(targets, "targets", "targets with sample and log_density", _is_target)
    if measures is not None:
        _named(measures, "measures", "functions", callable)
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(f"executor must be a concurrent.futures.Executor, got {_describe(executor)}")
    n, repeats = count(n, "n", at_least=2), count(repeats, "repeats")
    root = np.random.SeedSequence(int(generator(rng).integers(2**63)))
    cases = []
    for (name, target), by_target in zip(targets.items(), root.spawn(len(targets)), strict=True):
        by_repeat = [seed.spawn(3 + 2 * len(methods)) for seed in by_target.spawn(repeats)]
        for j, (label, method) in enumerate(methods.items()):
            for k, seeds in enumerate(by_repeat):
                head = {"target": name, "method": label, "repeat": k}
                own = seeds[:3] + seeds[3 + 2 * j : 5 + 2 * j]
                cases.append((head, (method, target, n, measures, own)))
    jobs = [None if executor is None else executor.submit(_record, *case) for _, case in cases]
    bar = progress_bar(zip(cases, jobs, strict=True), total=len(cases), label="leaderboard", show=progress)
    records = []
    try:
        for (head, case), job in bar:
            records.append({**head, **(_record(*case) if job is None else job.result())})
    except KeyboardInterrupt:
        for job in filter(None, jobs):
            job.cancel()
        warnings.warn(f"interrupted: these are {len(records)} of {len(cases)} records", stacklevel=2)
    return records


def _is_target(thing):
    return hasattr(thing, "sample") and hasattr(thing, "log_density")


def _named(things, name, kind, right):
    """Check a dict of names to things that are right."""
    if not isinstance(things, dict) or not things:
        raise TypeError(
            f"{name} must be a dict of names to {kind}, with at least one, got {_describe(things)}"
        )
    for label, thing in things.items():
        if not right(thing):
            raise TypeError(f"{name} must be a dict of names to {kind}, got {_describe(thing)} for {label!r}")
