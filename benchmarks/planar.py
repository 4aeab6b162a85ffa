"""Planar and radial flows: time per step beside normflows, and how near they come to their targets.

``python -m benchmarks.planar`` takes some minutes of one thread, most of them those of normflows, which is
left out where it is not installed.  ``--steps 20000 --seeds 4`` trains longer and from more starts,
``--peer-steps 10000`` compares longer runs.
normflows computes in float32 by default, mini_ot in float64.
"""

import benchmarks._one_thread  # noqa: F401  isort: skip

import argparse
import time

import numpy as np

import mini_ot as mo
from benchmarks._side_by_side import header, side_by_side

try:
    import normflows as nf
    import torch

    torch.set_num_threads(1)
except ImportError:
    nf = None

NORMAL = mo.StandardNormal()
STEPS_TIMED = 100
DEPTHS = (2, 8, 32)
RATE = 0.01


def energy_in_torch(k: int):
    """Log of exp(-U) with the soft edge of :class:`mini_ot.PaperEnergy`, not normalised."""

    def bell(gap, width):
        return -0.5 * (gap / width) ** 2

    def log_prob(z):
        first, second = z[:, 0], z[:, 1]
        if k == 1:
            sides = torch.logaddexp(bell(first - 2, 0.6), bell(first + 2, 0.6))
            return bell(torch.norm(z, dim=1) - 2, 0.4) + sides
        gap = second - torch.sin(np.pi / 2 * first)
        edge = bell(torch.relu(first.abs() - 4), 0.4)
        if k == 2:
            return edge + bell(gap, 0.4)
        if k == 3:
            move = 3 * torch.exp(bell(first - 1, 0.6))
        else:
            move = 3 * torch.sigmoid((first - 1) / 0.3)
        return edge + torch.logaddexp(bell(gap, 0.35 if k == 3 else 0.4), bell(gap + move, 0.35))

    return log_prob


class TorchFlow:
    """Planar layers of normflows on a trainable diagonal Gaussian, trained as mini_ot trains its own."""

    def __init__(self, layers: int, seed: int):
        torch.manual_seed(seed)
        self.base = nf.distributions.DiagGaussian(2)
        self.flows = torch.nn.ModuleList([nf.flows.Planar((2,)) for _ in range(layers)])
        self.adam = torch.optim.Adam([*self.base.parameters(), *self.flows.parameters()], lr=RATE)

    def _descend(self, loss, share):
        self.adam.param_groups[0]["lr"] = RATE * (1 - share)
        self.adam.zero_grad()
        if torch.isfinite(loss):
            loss.backward()
            self.adam.step()

    def _pushed(self, z):
        total = 0.0
        for flow in self.flows:
            z, log_det = flow(z)
            total = total + log_det
        return z, total

    def evidence(self, log_prob, steps, batch):
        """Raise the evidence lower bound, annealed as in mini_ot; return the last one."""
        for k in range(steps):
            z, log_q = self.base(batch)
            z, log_det = self._pushed(z)
            power = min(1.0, 0.01 + k / (0.3 * steps))
            loss = (log_q - log_det - power * log_prob(z)).mean()
            self._descend(loss, k / steps)
        return -loss.item()

    def likelihood(self, x, steps, batch):
        """Raise the likelihood of samples; forward, as normflows has no inverse of a tanh layer."""
        rng, x = np.random.default_rng(0), torch.from_numpy(x.astype(np.float32))
        for k in range(steps):
            z, log_det = self._pushed(x[rng.integers(len(x), size=batch)])
            loss = -(self.base.log_prob(z) + log_det).mean()
            self._descend(loss, k / steps)
        return -loss.item()

    def divergence(self, energy, n):
        with torch.no_grad():
            z, log_q = self.base(n)
            z, log_det = self._pushed(z)
        return (log_q - log_det).double().numpy() - energy.log_density(z.double().numpy())


def speed() -> None:
    x, energy = mo.TwoMoons().sample(10_000, rng=0), mo.PaperEnergy(3)
    white = mo.affine_map(x)(x)
    for batch in (256, 1024):
        ours = {"layers": 32, "steps": STEPS_TIMED, "batch": batch, "rng": 0}
        by_likelihood = {
            "mini_ot planar_flow": lambda o=ours: mo.planar_flow(x, held_out=0, **o).history["training"][-1],
            "mini_ot radial_flow": lambda o=ours: mo.radial_flow(x, held_out=0, **o).history["training"][-1],
        }
        by_evidence = {
            "mini_ot variational_flow": lambda o=ours: mo.variational_flow(
                energy.log_density, 2, score=energy.score, **o
            ).history["elbo"][-1],
            "mini_ot, score by differences": lambda o=ours: mo.variational_flow(
                energy.log_density, 2, **o
            ).history["elbo"][-1],
        }
        if nf:
            by_likelihood["normflows Planar"] = lambda b=batch: TorchFlow(32, 0).likelihood(
                white, STEPS_TIMED, b
            )
            by_evidence["normflows Planar, evidence"] = lambda b=batch: TorchFlow(32, 0).evidence(
                energy_in_torch(3), STEPS_TIMED, b
            )
        side_by_side(f"{STEPS_TIMED} steps by likelihood, 32 layers, batch {batch}", by_likelihood)
        side_by_side(f"{STEPS_TIMED} steps by evidence, 32 layers, batch {batch}", by_evidence)


def divergence(T, energy, n: int = 100_000) -> np.ndarray:
    """Return log q - log p at fresh samples of q; their mean estimates KL(q, p), p being normalised."""
    z = NORMAL.sample(n, rng=987)
    return NORMAL.log_density(z) - T.log_det(z) - energy.log_density(T(z))


def best_flow(energy, seeds: int, **settings):
    """Return the flow with the best last evidence bounds among several starts."""
    fits = [
        mo.variational_flow(energy.log_density, 2, score=energy.score, rng=seed, **settings)
        for seed in range(seeds)
    ]
    return max(fits, key=lambda T: np.mean(T.history["elbo"][-5:]))


def show(label: str, gaps: np.ndarray, seconds: float) -> None:
    error = gaps.std() / np.sqrt(len(gaps))
    print(f"  {label:<46}{gaps.mean():>9.4f} +- {error:.4f}{seconds:>9.1f}")


def energies(steps: int, peer_steps: int, seeds: int) -> None:
    """KL(q, p) of the paper's energies; the paper shows its own values in a plot only (figure 3d)."""
    print(f"\nKL of the flow from the paper's energies, 100,000 fresh samples{'':<9}KL{'':>13}CPU s")
    for k in (1, 2, 3, 4):
        energy = mo.PaperEnergy(k)
        for layer, depth in [*(("planar", depth) for depth in DEPTHS), ("radial", 32)]:
            start = time.process_time()
            T = best_flow(energy, seeds, layer=layer, layers=depth, steps=steps)
            spent = time.process_time() - start
            show(f"U{k}, {depth} {layer}, {steps:,} steps, best of {seeds}", divergence(T, energy), spent)
        start = time.process_time()
        T = best_flow(energy, 1, layers=32, steps=peer_steps)
        spent = time.process_time() - start
        show(f"U{k}, 32 planar, {peer_steps:,} steps", divergence(T, energy), spent)
        if nf:
            start = time.process_time()
            flow = TorchFlow(32, 0)
            flow.evidence(energy_in_torch(k), peer_steps, 256)
            spent = time.process_time() - start
            show(
                f"U{k}, 32 planar in normflows, {peer_steps:,} steps", flow.divergence(energy, 100_000), spent
            )


def samples(steps: int) -> None:
    print(f"\nNLL of 10,000 fresh samples, 10,000 to train, 32 layers, {steps:,} steps")
    print(f"{'':<10}{'truth':>9}{'affine':>9}{'planar':>9}{'radial':>9}{'CPU s':>12}")
    for target in (mo.Banana(), mo.TwoMoons(), mo.RingOfGaussians()):
        x, fresh = target.sample(10_000, rng=0), target.sample(10_000, rng=1)
        spent = []
        nll = [-target.log_density(fresh).mean()]
        for fit in (mo.affine_map, mo.planar_flow, mo.radial_flow):
            settings = {} if fit is mo.affine_map else {"steps": steps, "rng": 2}
            start = time.process_time()
            T = fit(x, **settings)
            spent.append(time.process_time() - start)
            nll.append(-mo.pullback_log_density(T, NORMAL.log_density, fresh).mean())
        name = type(target).__name__[:9]
        print(f"{name:<10}" + "".join(f"{v:>9.4f}" for v in nll) + f"{spent[1]:>7.1f}{spent[2]:>5.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1, help="starts; the one with the best bound is shown")
    parser.add_argument("--peer-steps", type=int, default=2000, help="steps of the runs beside normflows")
    arguments = parser.parse_args()
    packages = ("numpy", "numba", *(("torch", "normflows") if nf else ()))
    header("Planar and radial flows, one thread", *packages)
    if not nf:
        print("not installed, so not compared: normflows (pip install normflows)")
    speed()
    energies(arguments.steps, arguments.peer_steps, arguments.seeds)
    samples(arguments.steps)


if __name__ == "__main__":
    main()
