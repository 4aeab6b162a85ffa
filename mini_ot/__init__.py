"""mini_ot: generative modelling by transport, written to be read.

Import it as ``import mini_ot as mo``.
Nothing heavy is loaded before it is used: every public name is found in its module on first access.
"""

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "targets": [
        "Banana",
        "Checkerboard",
        "GaussianMixture",
        "Pinwheel",
        "RingOfGaussians",
        "Spirals",
        "StandardNormal",
        "TwoMoons",
    ],
    "density": ["Density", "kde"],
    "conditional": ["ConditionalDensity", "conditional_kde"],
    "maps": ["Map", "affine_map", "pullback_log_density", "pushforward_log_density"],
    "triangular": ["ConditionalMap", "TriangularMap", "conditional_map", "triangular_map"],
    "inference": ["InferenceMap", "inference_map"],
    "normalizing": ["RadialMap", "dual_ascent_flow", "normalizing_flow"],
    "planar": ["PlanarMap", "planar_flow", "radial_flow", "variational_flow"],
    "energies": ["PaperEnergy"],
    "discrete": ["assignment", "barycentre", "displacement", "w2"],
    "closed_form": ["gaussian_w2", "w2_1d"],
    "entropic": ["EntropicPlan", "sinkhorn", "sinkhorn_divergence"],
    "dirichlet": ["GridSolution", "monge_ampere"],
    "conjugate": ["legendre"],
    "grid_transport": ["GridTransport", "back_and_forth"],
    "_push": ["push_grid"],
    "convexity": [
        "Certificate",
        "certify_convex",
        "convex_combination_map",
        "largest_convex_step",
        "straighten",
    ],
    "data_driven": ["data_driven_flow", "elementary_map"],
    "kernel_dual": ["kernel_dual_ascent"],
    "two_sided": ["back_and_forth_samples"],
    "kernels": ["Energy", "Gaussian", "InverseMultiquadric", "Laplace", "Mixture"],
    "mmd": [
        "adaptive_kernels",
        "mmd2",
        "mmd_flow",
        "two_sample_test",
        "witness",
    ],
    "sliced": ["sliced_energy_gradient", "sliced_mmd_flow"],
    "posteriors": ["BananaProblem", "Epidemic", "Tracking"],
    "chains": ["metropolis"],
    "calibration": ["simulation_based_calibration"],
    "contest": ["MapModel", "copy_ratio", "leaderboard", "nearest_neighbour_accuracy"],
    "metrics": ["compare", "crps", "energy_distance", "noise_floor", "sliced_w2"],
    "chunked": [],
    "plot": [],
    "mini_ot_exercises.engine": ["check"],
    "_jit": ["warmup"],
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}
__all__ = sorted([*_MODULE_OF, "plot"])


def _load(module):
    return import_module(module if module.startswith("mini_ot_") else f"{__name__}.{module}")


def __getattr__(name):
    if name in _MODULE_OF:
        value = getattr(_load(_MODULE_OF[name]), name)
    elif name in _WHERE:
        value = _load(name)
    else:
        raise AttributeError(f"module 'mini_ot' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value  # so that the next access costs nothing
    return value


def __dir__():
    return sorted([*globals(), *__all__])
