"""Every field of a study, with its default and its unit: what the paper proves and solves, sections 2.2, 4 and 5."""

from ml_collections import ConfigDict


def add_fields(config: ConfigDict) -> None:
    """Adds the sections of the studies to the schema of base.py."""
    config.theorem1 = ConfigDict()  # of kind "theorem1": a network of 2n + d weights that takes every label
    config.theorem1.targets = "labels"  # "labels" (one output, 0..9) or "one_hot" (an output a class)
    config.theorem1.threshold_position = 1 / 128  # of a threshold in its gap; 0: at the point on its left
    config.theorem1.depths = (3, 10)  # of the deep networks of corollary 1, affine maps
    config.theorem1.float32_sizes = (10, 100, 1000)  # numbers of points at which float32 is tried
    config.theorem1.sizes = ()  # numbers of synthetic points whose construction is timed
    config.theorem1.synthetic_dimensions = 32
    config.theorem1.sampled = 1000  # synthetic points that are evaluated

    config.linear = ConfigDict()  # of kind "linear": SGD and the interpolant of least norm
    config.linear.features = "fourier"  # "pixels", or random features of them: "fourier", "relu"
    config.linear.count = 4000  # random features
    config.linear.bandwidth = 0.35  # of Fourier features, in median distances between examples
    config.linear.start_scale = 0.01  # standard deviation of the random start
    config.linear.batch_size = 100
    config.linear.sgd_steps = 20000
    config.linear.gradient_steps = 2000

    config.kernel = ConfigDict()  # of kind "kernel": the interpolant of a kernel on a whole data set
    config.kernel.name = "gaussian"  # "gaussian", "linear", "polynomial", "laplacian"
    config.kernel.gamma = 0.0  # exp(-gamma |x - x'|^2), gamma <x, x'> of the others; 0 chooses it, and the ridge
    config.kernel.multiples = (0.5, 1.0, 2.0, 4.0)  # of 1 / the mean squared distance: the gammas to choose from
    config.kernel.ridges = (0.0,)  # added to the diagonal, to choose from; the first one where gamma is given
    config.kernel.selection_examples = (
        10000  # of train: a tenth of them is held out to choose by, never test; 0 for all
    )
    config.kernel.degree = 2  # of "polynomial": (gamma <x, x'> + offset)^degree
    config.kernel.offset = 1.0
    config.kernel.features = "pixels"  # "pixels", "gabor" wavelets (grey images), "random_convolutions"
    config.kernel.filters = 1000  # of the random convolutional net; 8 features each
    config.kernel.filter_block = 100  # filters whose features are held at a time
    config.kernel.filter_kind = "patches"  # whitened patches of train; or "gaussian" directions
    config.kernel.patch = 6  # pixels of a filter's side
    config.kernel.stride = 1  # pixels between neighbouring patches
    config.kernel.threshold = 0.5  # t of max(0, z - t) and max(0, -z - t)
    config.kernel.whitening_patches = 100000
    config.kernel.tile = 4000  # rows of a tile of the kernel matrix

    config.capacity = ConfigDict()  # of kind "capacity": Rademacher complexity and bounds of the network of `model`
    config.capacity.draws = 5  # of random signs, each learned by a run of its own
    config.capacity.delta = 0.05  # the probability that a bound may fail with
    config.capacity.margin_quantile = 0.05  # of the train set, that the bounds with a margin leave out
