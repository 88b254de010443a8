"""The fields of analyses with their defaults: theory (sections 2.2, 4 and 5), memorization.

What they mean: `python main.py --help`, or their rows in rethink/schema/fields.py.
"""

from ml_collections import ConfigDict


def add_fields(config: ConfigDict) -> None:
    """Adds the sections of the analyses to the schema of base.py."""
    config.theorem1 = ConfigDict()  # for kind "theorem1": a network of 2n + d weights that takes every label
    config.theorem1.targets = "labels"
    config.theorem1.threshold_position = 1 / 128
    config.theorem1.depths = (3, 10)
    config.theorem1.float32_sizes = (10, 100, 1000)
    config.theorem1.sizes = ()
    config.theorem1.synthetic_dimensions = 32
    config.theorem1.sampled = 1000

    config.linear = ConfigDict()  # for kind "linear": SGD and the interpolant of least norm
    config.linear.features = "fourier"
    config.linear.count = 4000
    config.linear.bandwidth = 0.35
    config.linear.start_scale = 0.01
    config.linear.batch_size = 100
    config.linear.order = "with_replacement"
    config.linear.sgd_steps = 20000
    config.linear.gradient_steps = 2000

    config.kernel = ConfigDict()  # for kind "kernel": the interpolant of a kernel on a whole data set
    config.kernel.name = "gaussian"
    config.kernel.gamma = 0.0
    config.kernel.multiples = (0.5, 1.0, 2.0, 4.0)
    config.kernel.ridges = (0.0,)
    config.kernel.selection_examples = 10000
    config.kernel.degree = 2
    config.kernel.offset = 1.0
    config.kernel.features = "pixels"
    config.kernel.filters = 1000
    config.kernel.filter_block = 100
    config.kernel.filter_kind = "patches"
    config.kernel.patch = 6
    config.kernel.stride = 1
    config.kernel.threshold = 0.5
    config.kernel.whitening_patches = 100000
    config.kernel.tile = 4000

    config.capacity = ConfigDict()  # for kind "capacity": Rademacher complexity and bounds of the network of `model`
    config.capacity.draws = 5
    config.capacity.delta = 0.05
    config.capacity.margin_quantile = 0.05

    config.label_issues = ConfigDict()  # for kind "label_issues": which labels are wrong
    config.label_issues.planted = 0.05

    config.influence = ConfigDict()  # for kind "influence": networks trained on random subsets
    config.influence.networks = 2000
    config.influence.share = 0.7
    config.influence.pair_threshold = 0.15
    config.influence.stack = 0
