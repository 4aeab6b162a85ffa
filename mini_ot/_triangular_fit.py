"""The coefficients of one component of a triangular map, and its degree, by likelihood."""

import warnings

import numpy as np

from ._monotone import Component

_RIDGE = 0.01  # of the coefficients of h but the constant, in units of one sample
_STEPS = 100  # usually 5 to 20 suffice
_UNBOUNDED = -15.0  # mean loss that no density of finite height comes near
_PATIENCE = 4  # degrees without a clear gain: on symmetric data every other one is in vain
_PER_COEFFICIENT = 10  # samples that the search asks for


def climb(found, k, box, tried, u, train, test, record, bar):
    """Put the best degree's component and coefficients into ``found[k]``; return why the search ended."""
    best, (component, coefficients) = None, found[k]
    reason = f"degree {tried[-1]} is the highest tried" if len(tried) > 1 else ""
    for degree in tried:
        new = Component(*box, degree)
        if best is not None and _PER_COEFFICIENT * new.count > len(train):
            reason = f"degree {degree} has too many coefficients for {len(train)} samples"
            break
        component, coefficients = new, component.raised(coefficients, new)
        if best is None:
            found[k] = component, coefficients  # filled in place, so that an interrupted fit counts
        ended = maximise_likelihood(component, train, coefficients, 1e-6)
        reason = reason or ended
        on_train, on_test = (log_likelihoods(component, part, coefficients) for part in (train, test))
        record.append((degree, on_train.mean(), on_test.mean()))
        bar.update()
        if best is None or _clearly_positive(on_test - best):
            found[k], best = (component, coefficients), on_test
        if ended.startswith("diverged"):
            warnings.warn(f"component {component.size} {ended}", RuntimeWarning, stacklevel=4)
            return ended
        if degree - found[k][0].degree >= _PATIENCE:
            reason = f"held-out likelihood has not risen for {_PATIENCE} degrees"
            break
    maximise_likelihood(found[k][0], u, found[k][1], 1e-7)
    return reason


def _clearly_positive(gains):
    return gains.mean() > gains.std() / np.sqrt(len(gains))


def summed(records, found, units):
    """Sum the components' likelihoods degree by degree; one that has stopped counts as chosen."""
    history = {"degree": [], "training": [], "held_out": []}
    last = [[row for row in r if row[0] == part.degree] for r, (part, _) in zip(records, found, strict=True)]
    for i in range(max(map(len, records)) if all(last) else 0):
        rows = [r[i] if i < len(r) else chosen[0] for r, chosen in zip(records, last, strict=True)]
        for name, values in zip(history, zip(*rows, strict=True), strict=True):
            history[name].append(max(values) if name == "degree" else float(sum(values) + units))
    return history


def log_likelihoods(component, x, coefficients) -> np.ndarray:
    """Return log f' - f^2 / 2 at each row of `x`: up to a constant, log-likelihoods of a normal f."""
    value, slope = component.evaluate(x, coefficients)
    return np.log(slope) - 0.5 * value**2


def maximise_likelihood(component, x, coefficients, tolerance: float) -> str:
    """Maximise the mean log-likelihood by damped Gauss-Newton steps, in place; return why they ended.

    The matrix is that of f and log f' made linear in the coefficients, which at the true law is the Hessian.
    """
    ridge = np.zeros(component.count)
    ridge[len(component.terms) + 1 :] = _RIDGE / len(x)
    damping, loss = 1e-3, _loss(component, x, coefficients, ridge)
    for step in range(_STEPS):
        gradient, matrix = _quadratic_model(component, x, coefficients, ridge)
        diagonal = np.diag(matrix.diagonal() + 1e-12)
        while damping < 1e8:
            trial = coefficients - np.linalg.solve(matrix + damping * diagonal, gradient)
            new = _loss(component, x, trial, ridge)
            if new < loss:
                break
            damping *= 8
        else:
            return "converged to rounding"
        if new < _UNBOUNDED:
            return f"diverged at step {step + 1}: the likelihood has no bound, as on samples of a curve"
        fall, loss, damping = loss - new, new, max(damping / 8, 1e-9)
        coefficients[:] = trial
        if fall < tolerance:
            return "converged"
    return f"all {_STEPS} steps done"


def _loss(component, x, coefficients, ridge):
    with np.errstate(over="ignore"):  # then the step is refused
        return -log_likelihoods(component, x, coefficients).mean() + 0.5 * ridge @ coefficients**2


def _quadratic_model(component, x, coefficients, ridge):
    """Return gradient and Gauss-Newton matrix of the loss, summed over blocks that fit the cache."""
    gradient, matrix = np.zeros(component.count), np.zeros((component.count, component.count))
    rows = max(256, 100_000 // component.count)
    for i in range(0, len(x), rows):
        (value, slope), jacobian = component.gradients(x[i : i + rows], coefficients)
        jacobian[1] /= slope[:, None]
        gradient += value @ jacobian[0] - jacobian[1].sum(axis=0)
        flat = jacobian.reshape(-1, component.count)
        matrix += flat.T @ flat
    return gradient / len(x) + ridge * coefficients, matrix / len(x) + np.diag(ridge)
