"""Generative models of other libraries, as their documentation shows them.

What can use more time is a function ``(x, y, budget, seed)``, the budget in CPU seconds; the others are
functions ``(x, y, seed)``.  They get reference samples x and data y and return a model with
``.sample(n, rng)`` and ``.log_density(points)``, which returns None where there is no density.
The neural flows see standardised data and are trained by Adam with a step that falls to zero along a cosine
over the budget.  A constant step of 1e-3 was tried too: on the checkerboard the spline flows then need at
least three times as long for the same likelihood.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np


class TorchModel:
    """Standardises data for torch, and takes samples and densities back to the units of the data."""

    def __init__(self, y, seed: int):
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.torch, self.rng = torch, np.random.default_rng(seed)
        self.mean, self.sd = y.mean(axis=0), y.std(axis=0)
        self.data = self.standardised(y)

    def standardised(self, points):
        return self.torch.from_numpy(((points - self.mean) / self.sd).astype(np.float32))

    def batch(self, size: int = 512):
        return self.data[self.rng.integers(len(self.data), size=size)]

    def train(self, network, loss: Callable, budget: float, *, rate: float = 3e-3) -> None:
        """Minimise for so many CPU seconds; steps whose loss is not finite are skipped."""
        optimiser = self.torch.optim.Adam(network.parameters())
        start = time.process_time()
        while (spent := (time.process_time() - start) / budget) < 1:
            optimiser.param_groups[0]["lr"] = rate * (1 + np.cos(np.pi * spent)) / 2
            optimiser.zero_grad()
            value = loss()
            if self.torch.isfinite(value):
                value.backward()
                optimiser.step()

    def sample(self, n, rng):
        with self.torch.random.fork_rng(devices=[]):
            self.torch.manual_seed(int(rng.integers(2**31)))
            parts = [self._no_gradient(self.draw, min(10_000, n - i)) for i in range(0, n, 10_000)]
        return self.mean + self.sd * np.concatenate(parts).astype(np.float64)

    def log_density(self, points):
        if self.log_prob is None:
            return None
        parts = [self._no_gradient(self.log_prob, part) for part in self.standardised(points).split(10_000)]
        return np.concatenate(parts).astype(np.float64) - np.log(self.sd).sum()

    def _no_gradient(self, function, argument):
        with self.torch.no_grad():
            return function(argument).numpy()

    draw: Callable  # n -> a tensor (n, 2) of samples
    log_prob: Callable | None = None  # a tensor (n, 2) -> a tensor (n,)


def zuko_nsf(x, y, budget, seed):
    """An autoregressive neural spline flow: 4 transforms, hidden layers (64, 64), 16 bins."""
    import zuko

    model = TorchModel(y, seed)
    flow = zuko.flows.NSF(2, 0, transforms=4, hidden_features=(64, 64), bins=16)
    model.draw = lambda n: flow().sample((n,))
    model.log_prob = lambda points: flow().log_prob(points)
    model.train(flow, lambda: -flow().log_prob(model.batch()).mean(), budget)
    return model


def _normflows(y, budget, seed, layers):
    import normflows as nf

    model = TorchModel(y, seed)
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), layers(nf))
    model.draw = lambda n: flow.sample(n)[0]
    model.log_prob = flow.log_prob
    model.train(flow, lambda: flow.forward_kld(model.batch()), budget)
    return model


def normflows_nsf(x, y, budget, seed):
    """A coupling neural spline flow: 8 layers of width 64, 16 bins, each with a linear permutation."""

    def layers(nf):
        spline = partial(nf.flows.CoupledRationalQuadraticSpline, 2, 2, 64, num_bins=16)
        return [layer for _ in range(8) for layer in (spline(), nf.flows.LULinearPermute(2))]

    return _normflows(y, budget, seed, layers)


def normflows_realnvp(x, y, budget, seed):
    """RealNVP: 32 affine couplings with hidden layers (64, 64)."""

    def layers(nf):
        net = partial(nf.nets.MLP, [1, 64, 64, 2], init_zeros=True)
        pairs = ((nf.flows.AffineCouplingBlock(net()), nf.flows.Permute(2, mode="swap")) for _ in range(32))
        return [layer for pair in pairs for layer in pair]

    return _normflows(y, budget, seed, layers)


def flow_matching(x, y, budget, seed):
    """Conditional flow matching along straight lines: an MLP 4 x 128, 20 midpoint steps to sample."""
    from flow_matching.path import AffineProbPath
    from flow_matching.path.scheduler import CondOTScheduler
    from flow_matching.solver import ODESolver
    from flow_matching.utils import ModelWrapper

    model = TorchModel(y, seed)
    torch = model.torch
    widths = [3, 128, 128, 128, 128]
    hidden = [part for a, b in pairwise(widths) for part in (torch.nn.Linear(a, b), torch.nn.SiLU())]
    net = torch.nn.Sequential(*hidden, torch.nn.Linear(128, 2))

    class Velocity(ModelWrapper):
        def forward(self, x, t, **extras):
            return self.model(torch.cat([x, t.reshape(-1, 1).expand(len(x), 1)], dim=1))

    velocity, path = Velocity(net), AffineProbPath(scheduler=CondOTScheduler())

    def loss():
        data = model.batch(2048)
        at = path.sample(t=torch.rand(len(data)), x_0=torch.randn_like(data), x_1=data)
        return ((velocity(at.x_t, at.t) - at.dx_t) ** 2).mean()

    solver = ODESolver(velocity_model=velocity)
    model.draw = lambda n: solver.sample(x_init=torch.randn(n, 2), step_size=0.05, method="midpoint")
    model.train(net, loss, budget, rate=5e-3)
    return model


class TreeDensity:
    """A fitted KernelDensity of standardised data, in the units of the data."""

    def __init__(self, density, mean, sd):
        self.density, self.mean, self.sd = density, mean, sd

    def sample(self, n, rng):
        return self.mean + self.sd * self.density.sample(n, random_state=int(rng.integers(2**31)))

    def log_density(self, points):
        return self.density.score_samples((points - self.mean) / self.sd) - np.log(self.sd).sum()


def sklearn_kde(x, y, seed):
    """Kernel density: the best of 12 bandwidths on one hold-out half, then all of the data."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KernelDensity

    mean, sd, half = y.mean(axis=0), y.std(axis=0), len(y) // 2
    halves = [(np.arange(half), np.arange(half, len(y)))]
    search = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.02, 0.5, 12)}, cv=halves)
    return TreeDensity(search.fit((y - mean) / sd).best_estimator_, mean, sd)


class Transported:
    """A fitted transport of POT: fresh normal points follow their nearest training point."""

    def __init__(self, transport):
        self.transport = transport

    def sample(self, n, rng):
        return self.transport.transform(Xs=rng.standard_normal((n, 2)), batch_size=5000)

    def log_density(self, points):
        return None


def pot_emd(x, y, seed):
    """Exact optimal transport between 2,000 points of each cloud, extended barycentrically."""
    import ot

    return Transported(ot.da.EMDTransport().fit(Xs=x[:2000], Xt=y[:2000]))
