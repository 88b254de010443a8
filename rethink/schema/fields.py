"""Owns the interval that each number of a config lies in.

Refuses to judge: settings.py refuses what is outside.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers; an end that is `open` does not belong to it."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.low_open else self.low <= value
        below = value < self.high if self.high_open else value <= self.high
        return above and below and abs(value) != math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"a finite number {'above' if self.low_open else 'of at least'} {self.low}"
        return f"in {'(' if self.low_open else '['}{self.low}, {self.high}{')' if self.high_open else ']'}"


# Numbers of the programs, in float32: not so small that they become 0, nor so large that they become infinite.
POSITIVE = Range(1e-37, 1e37)
NOT_NEGATIVE = Range(0, 1e37)
COUNT = Range(0, 2**31, high_open=True)
# Upper ends that no run comes near: beyond them lie misprints that would exhaust memory or time without a word.
EPOCHS = Range(0, 10**6, low_open=True)
BATCH = Range(1, 2**20)
PROCESSES = 256

RANGES: dict[str, Range] = {
    "seeds": Range(1, 1000),
    "jobs": Range(0, 1000),
    "seed": Range(0, 2**32, high_open=True),
    "data.train_examples": COUNT,
    "data.test_examples": COUNT,
    "data.validation_fraction": Range(0, 1, high_open=True),
    "data.split_seed": Range(0, 2**32, high_open=True),
    "data.test_fraction": Range(0, 1, low_open=True, high_open=True),
    "data.classes": COUNT,
    "data.image_size": Range(0, 2**12),
    "data.resident_limit_gib": POSITIVE,
    "data.workers": Range(0, PROCESSES),
    "corruption.label_probability": Range(0, 1),
    "preprocess.crop": COUNT,
    "weight_decay.coefficient": NOT_NEGATIVE,
    "dropout.rate": Range(0, 1, high_open=True),
    "augmentation.padding": Range(0, 2**12),
    "augmentation.zoom": Range(0, 1, high_open=True),
    "augmentation.rotation": Range(0, 180),
    "augmentation.brightness": Range(0, 1),
    "augmentation.contrast": Range(0, 1),
    "augmentation.saturation": Range(0, 1),
    "augmentation.hue": Range(0, 0.5),
    "early_stopping.patience": COUNT,
    "early_stopping.min_delta": Range(0, 1),
    "batch_norm.momentum": Range(0, 1, high_open=True),
    "batch_norm.epsilon": POSITIVE,
    "optimizer.learning_rate": POSITIVE,
    "optimizer.momentum": Range(0, 1, high_open=True),
    "optimizer.second_moment_decay": Range(0, 1, high_open=True),
    "optimizer.epsilon": POSITIVE,
    "optimizer.decay_factor": Range(1e-37, 1),
    "optimizer.decay_every": Range(0, 10**9, low_open=True),
    "train.batch_size": BATCH,
    "train.auxiliary_weight": NOT_NEGATIVE,
    "train.total_epochs": EPOCHS,
    "train.steps_per_call": Range(0, 10**4),
    "stop.train_accuracy": Range(0, 1),
    "evaluate.every_epochs": EPOCHS,
    "evaluate.batch_size": BATCH,
    "log.every_steps": Range(1, 10**9),
    "log.patience_hours": POSITIVE,
    "checkpoint.every_epochs": EPOCHS,
    "checkpoint.keep": Range(1, 1000),
    "theorem1.threshold_position": Range(0, 1, low_open=True, high_open=True),
    "theorem1.synthetic_dimensions": Range(1, 2**16),
    "theorem1.sampled": Range(1, 2**31),
    "linear.count": Range(1, 10**6),
    "linear.bandwidth": POSITIVE,
    "linear.start_scale": NOT_NEGATIVE,
    "linear.batch_size": BATCH,
    "linear.sgd_steps": Range(1, 10**9),
    "linear.gradient_steps": Range(1, 10**9),
    "kernel.gamma": NOT_NEGATIVE,
    "kernel.selection_examples": COUNT,
    "kernel.degree": Range(1, 100),
    "kernel.offset": NOT_NEGATIVE,
    "kernel.filters": Range(1, 10**6),
    "kernel.filter_block": Range(1, 10**5),
    "kernel.patch": Range(1, 2**10),
    "kernel.stride": Range(1, 2**10),
    "kernel.threshold": NOT_NEGATIVE,
    "kernel.whitening_patches": Range(2, 10**7),
    "kernel.tile": Range(1, 10**5),
    "capacity.draws": Range(1, 1000),
    "capacity.delta": Range(0, 1, low_open=True, high_open=True),
    "capacity.margin_quantile": Range(0, 1),
    "hardware.cpu_devices": Range(1, PROCESSES),
    "hardware.heartbeat_timeout_seconds": Range(3, 10**6),
}

# Fields that hold several numbers -> the range of each, and the least number of them.
SEVERAL: dict[str, tuple[Range, int]] = {
    "theorem1.depths": (Range(2, 10**6), 0),
    "theorem1.float32_sizes": (Range(1, 10**9), 0),
    "theorem1.sizes": (Range(1, 10**9), 0),
    "kernel.multiples": (POSITIVE, 1),
    "kernel.ridges": (NOT_NEGATIVE, 1),
}

# Fields that hold one of a closed set of texts. A test holds these literals to the tables that act on them.
CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ("train", "theorem1", "linear", "capacity", "kernel"),
    "executor": ("sequential", "vmapped", "processes", "ray"),
    "figure": ("auto", "none", "best_so_far", "loss_curves", "label_corruption", "metric_vs_field"),
    "data.feed": ("auto", "resident", "streamed"),
    "data.remainder": ("wrap", "drop"),
    "corruption.labels": ("none", "uniform", "symmetric"),
    "corruption.pixels": ("none", "shuffled_pixels", "random_pixels", "gaussian"),
    "preprocess.whiten": ("none", "per_image", "symmetric"),
    "model.init": ("lecun_normal", "he_normal", "glorot_uniform"),
    "weight_decay.kind": ("none", "l2", "decoupled"),
    "weight_decay.parameters": ("kernels", "all"),
    "dropout.place": ("last", "hidden"),
    "augmentation.crop": ("none", "random", "inception"),
    "early_stopping.monitor": ("none", "validation", "oracle"),
    "early_stopping.labels": ("given", "true"),
    "batch_norm.kind": ("none", "per_device", "across_devices"),
    "batch_norm.evaluation": ("running", "batch"),
    "theorem1.targets": ("labels", "one_hot"),
    "linear.features": ("pixels", "fourier", "relu"),
    "kernel.name": ("gaussian", "linear", "polynomial", "laplacian"),
    "kernel.features": ("pixels", "gabor", "random_convolutions"),
    "kernel.filter_kind": ("gaussian", "patches"),
    "train.precision": ("float32", "bfloat16"),
    "optimizer.name": ("sgd", "rmsprop", "adam"),
    "optimizer.schedule": ("exponential", "cosine", "constant"),
    "optimizer.decay_unit": ("epochs", "steps"),
}
