"""The table of all config fields: one row a field, with everything that is known of it but its default.

Defaults are in configs/base.py and configs/analyses.py. Nothing is checked here: validation.py does.
"""

from typing import Any

from rethink.schema.field_rows import (
    LARGEST,
    SMALLEST,
    Field,
    choice,
    count,
    not_negative,
    number,
    positive,
    section,
    size,
    switch,
    text,
)

# Upper ends are above all that a run comes near: beyond them lie misprints that would exhaust memory or time.
_EPOCHS, _BATCH, _PROCESSES = 10**6, 2**20, 256
_OF_SWEEP: dict[str, Any] = {"resumable": True, "shared": True}
_NO_FILE = ("none", "uniform", "symmetric", "pair_flip", "asymmetric", "matrix", "instance")  # corruption.labels
_EXPONENTIAL = ("optimizer.schedule", "cosine", "constant")  # what leaves out the fields of that schedule
_LOSSES = ("cross_entropy", "squared", "label_smoothing", "generalized_cross_entropy")
_OF_HOST: dict[str, Any] = {"resumable": True, "host_local": True}


def _unless(loss: str) -> tuple[str, ...]:
    """Returns what makes the field of a loss do nothing: the other losses."""
    return ("train.loss", *(other for other in _LOSSES if other != loss))


FIELDS: dict[str, Field] = {
    # One run, a sweep (cells, axes) or a suite (experiments).
    "kind": choice(
        *("train", "theorem1", "linear", "capacity", "kernel", "influence", "label_issues"),
        help="training, or an analysis",
        same_cost=True,
    ),
    "name": text("letters, digits, _.+=-; the default workdir is runs/NAME-HASH", figure_axis=False, **_OF_SWEEP),
    "cells": section("of a sweep: name of a cell -> ((field, value), ...)", shared=True, single_run={}),
    "experiments": section("of a suite: name of an experiment -> its whole config", shared=True, single_run={}),
    "axes": text("of a sweep: FIELD=VALUE,VALUE;FIELD=VALUE: all combinations are run", single_run="", **_OF_SWEEP),
    "figure": choice(
        *("auto", "none", "best_so_far", "loss_curves", "label_corruption", "label_issues", "metric_vs_field"),
        help="of a sweep: what is drawn; auto: by its axes",
        single_run="auto",
        **_OF_SWEEP,
    ),
    "filter": text("of a sweep or suite: what is run, patterns with commas between", single_run="*", **_OF_SWEEP),
    "executor": choice(
        *("sequential", "processes", "ray"),
        help="of a sweep: runs in turn, in processes, or on a cluster",
        single_run="sequential",
        **_OF_SWEEP,
    ),
    "jobs": count(0, 1000, "of a sweep: runs at a time; 0: as many as fit the executor", single_run=0, **_OF_SWEEP),
    "seeds": count(1, 1000, "of a sweep: runs of each cell, their seeds counted from seed", single_run=1, **_OF_SWEEP),
    "seed": count(
        0, 2**32, "of all that is random; see corruption.seed", high_open=True, shared=True, figure_axis=False
    ),
    # The data set, its subsets and how it is read.
    "data.name": text(
        "digits, a TFDS set, or SCHEME:PATH with folder, idx, module, npy, npz, parquet (docs/data.md)", same_cost=True
    ),
    "data.dir": text("folder of prepared TFDS sets; empty: ~/tensorflow_datasets", figure_axis=False, **_OF_HOST),
    "data.cache_dir": text("folder of decoded images, with checksums", figure_axis=False, **_OF_HOST),
    "data.train_split": text("split to train on"),
    "data.test_split": text("split to test on; validation for imagenet2012"),
    "data.train_examples": size("a fixed subset of train, smaller ones within larger ones; 0: all", "examples"),
    "data.test_examples": size("a fixed subset of test, smaller ones within larger ones; 0: all", "examples"),
    "data.validation_fraction": number(0, 1, "part of train, held out and evaluated", "fraction", high_open=True),
    "data.folds": size("that train is dealt into, one of which is held out and evaluated; 0: none", "folds"),
    "data.fold": size("the one that is held out, counted from 0", "", depends_on=("data.folds", 0)),
    "data.split_seed": count(0, 2**32, "of subsets, folds, the held-out and the drawn test part", high_open=True),
    "data.test_fraction": number(0, 1, "for testing where no split is", "fraction", low_open=True, high_open=True),
    "data.classes": size("labels are taken modulo this, such as 2 for even and odd; 0: as they are", "classes"),
    "data.image_size": count(0, 2**12, "shorter side of images before they are cut square; 0: as they are", "pixels"),
    "data.value_range": number(
        -LARGEST, LARGEST, "what float32 images span, seen as 0..1; others have their type's", least_length=2
    ),
    "data.channels": count(0, 4, "that images are converted to; 0: grey where all files are grey, else 3"),
    "data.image_column": text("of parquet files; empty: the only one of images"),
    "data.label_column": text("of the metadata file of a folder, and of parquet files"),
    "data.bad_files": choice("error", "skip", help="files that are no images end a run, or are left out"),
    "data.feed": choice("auto", "resident", "streamed", help="on the device, or read as needed", resumable=True),
    "data.resident_limit_gib": positive("feed=auto streams what is larger, as stored", "GiB", resumable=True),
    "data.workers": count(0, _PROCESSES, "that decode a streamed feed; 0: the run's own does", "processes", **_OF_HOST),
    "data.remainder": choice("wrap", "drop", help="last batch of an epoch: filled up with its first, or left out"),
    # Random labels and random pixels.
    "corruption.labels": choice(
        *("none", "uniform", "symmetric", "pair_flip", "asymmetric", "asymmetric:SET", "matrix:FILE", "instance"),
        "file:FILE",
        help="drawn from all classes (paper), all others, the next, a map of similar ones, by the image; or a file's",
    ),
    "corruption.label_probability": number(
        0, 1, "with which a label is resampled", "fraction", depends_on=("corruption.labels", "none")
    ),
    "corruption.label_column": text("of file:FILE, a .csv or .npz", depends_on=("corruption.labels", *_NO_FILE)),
    "corruption.instance_scale": number(
        *(1e-3, 1e3, "of instance: what images, about standardized, are multiplied by"),
        depends_on=("corruption.labels", *_NO_FILE[:-1], "file"),
    ),
    "corruption.pixels": choice(
        *("none", "shuffled_pixels", "random_pixels", "gaussian", "gaussian_clipped"),
        help="one order for all images, one for each, or noise; clipped: to the range of pixels, with less variance",
    ),
    "corruption.channels_together": switch(
        "a pixel's channels move together", depends_on=("corruption.pixels", "none")
    ),
    "corruption.test_labels": switch(
        "corrupt the test labels too; the paper does not", depends_on=("corruption.labels", "none")
    ),
    "corruption.test_pixels": switch(
        "corrupt the test images as train's, each by its own draw; shuffled_pixels always does",
        depends_on=("corruption.pixels", "none"),
    ),
    "corruption.seed": count(-1, 2**32, "of labels and pixels; -1: that of seed", high_open=True, figure_axis=False),
    "preprocess.crop": size("side of a crop from the centre; 0: none", "pixels"),
    "preprocess.whiten": choice(
        *("none", "per_image", "symmetric", "auto"),
        help="none: pixels in 0..1; symmetric: in -1..1; auto: per_image, and none for feature vectors",
    ),
    # The model.
    "model.name": text("a name of rethink/models, or your own package.module:ClassName", same_cost=True),
    "model.init": choice("lecun_normal", "he_normal", "glorot_uniform", help="initialization of the kernels"),
    "model.kwargs": section("fields of the model's class, each by its name: --config.model.kwargs.NAME=VALUE"),
    # Regularization.
    "weight_decay.kind": choice(
        "none", "l2", "decoupled", help="coefficient / 2 * |w|^2 in the loss, or of the update"
    ),
    "weight_decay.coefficient": not_negative("strength", depends_on=("weight_decay.kind", "none")),
    "weight_decay.parameters": choice(
        "kernels", "all", help="kernels: no biases, no batch norm", depends_on=("weight_decay.kind", "none")
    ),
    "dropout.rate": number(0, 1, "part of the activations that training drops", "fraction", high_open=True),
    "dropout.place": choice(
        "last",
        "hidden",
        help="before the last linear layer, or after the hidden ones",
        depends_on=("dropout.rate", 0.0),
    ),
    "augmentation.crop": choice(
        "none", "random", "inception", help="the centre, a window, or random area and aspect", same_cost=True
    ),
    "augmentation.padding": count(
        0, 2**12, "zeros around the image before a random crop", "pixels", depends_on=("augmentation.crop", "none")
    ),
    "augmentation.flip": switch("mirror left and right, half of the time"),
    "augmentation.zoom": number(0, 1, "the scale is in 1 -+ this", high_open=True),
    "augmentation.rotation": number(0, 180, "the angle is in -+ this", "degrees"),
    "augmentation.brightness": number(0, 1, "what is added is in -+ this; pixels are in 0..1"),
    "augmentation.contrast": number(0, 1, "the factor is in 1 -+ this"),
    "augmentation.saturation": number(0, 1, "the factor is in 1 -+ this"),
    "augmentation.hue": number(0, 0.5, "the shift is in -+ this", "turns of the colour circle"),
    "augmentation.mixup": not_negative("alpha of the Beta distribution of the shares; 0: no example is mixed"),
    "early_stopping.monitor": choice(
        "none", "validation", "oracle", help="the held-out part, or the test set (oracle)"
    ),
    "early_stopping.labels": choice(
        "given",
        "true",
        help="of the held-out part: corrupted as in train, or true",
        depends_on=("early_stopping.monitor", "none"),
    ),
    "early_stopping.patience": size(
        "without a better one that end the run; 0: none do",
        "evaluations",
        depends_on=("early_stopping.monitor", "none"),
    ),
    "early_stopping.min_delta": number(
        0, 1, "gain in accuracy that counts as better", "fraction", depends_on=("early_stopping.monitor", "none")
    ),
    "early_stopping.restore_best": switch(
        "the result is the best evaluation's, not the last one's", depends_on=("early_stopping.monitor", "none")
    ),
    "batch_norm.kind": choice(
        "none", "per_device", "across_devices", help="what its statistics are taken over", same_cost=True
    ),
    "batch_norm.scale": switch("learn a scale; the paper's parameter counts have none"),
    "batch_norm.shift": switch("learn a shift"),
    "batch_norm.momentum": number(
        0, 1, "of the running statistics", high_open=True, depends_on=("batch_norm.kind", "none")
    ),
    "batch_norm.epsilon": positive("added to the variance"),
    "batch_norm.evaluation": choice(
        "running", "batch", help="statistics that evaluation uses", depends_on=("batch_norm.kind", "none")
    ),
    # Training.
    "optimizer.name": choice("sgd", "rmsprop", "adam", help="the update rule"),
    "optimizer.learning_rate": positive("at the start"),
    "optimizer.momentum": number(0, 1, "of sgd and rmsprop", high_open=True, depends_on=("optimizer.name", "adam")),
    "optimizer.nesterov": switch("Nesterov's momentum, of sgd and rmsprop"),
    "optimizer.second_moment_decay": number(
        0,
        1,
        "of the squared gradients in rmsprop; adam: 0.999",
        high_open=True,
        depends_on=("optimizer.name", "sgd", "adam"),
    ),
    "optimizer.epsilon": positive("of rmsprop and adam", depends_on=("optimizer.name", "sgd")),
    "optimizer.schedule": choice("exponential", "cosine", "constant", help="course of the learning rate"),
    "optimizer.decay_factor": number(
        SMALLEST, 1, "exponential: what the rate is multiplied by", depends_on=_EXPONENTIAL
    ),
    "optimizer.decay_every": number(
        1e-6, 10**9, "exponential: how often, counted in decay_unit; need not be whole", depends_on=_EXPONENTIAL
    ),
    "optimizer.decay_unit": choice("epochs", "steps", help="unit of decay_every", depends_on=_EXPONENTIAL),
    "train.batch_size": count(1, _BATCH, "of a step, over all devices", "examples"),
    "train.loss": choice(*_LOSSES, help="squared: half the squared distance to the one-hot label"),
    "train.label_smoothing": number(
        0,
        1,
        "spread over all classes",
        "fraction",
        low_open=True,
        high_open=True,
        depends_on=_unless("label_smoothing"),
    ),
    "train.gce_q": number(0, 1, "q of (1 - p^q) / q", low_open=True, depends_on=_unless("generalized_cross_entropy")),
    "train.auxiliary_weight": not_negative("of the loss of an auxiliary head, where the model has one"),
    "train.total_epochs": number(0, _EPOCHS, "length of the schedule", "epochs", low_open=True, resumable=True),
    "train.precision": choice("float32", "bfloat16", help="of the network; parameters and loss stay float32"),
    "train.matmul_precision": choice(
        *("auto", "default", "high", "highest"), help="auto: highest for float32, the platform's own for bfloat16"
    ),
    "train.steps_per_call": count(0, 10**4, "in one dispatch; 0: by platform, at most log.every_steps", "steps"),
    "stop.train_accuracy": number(0, 1, "that ends training; 1.0: all fitted; 0: never", "fraction", resumable=True),
    # What is measured, written and kept.
    "evaluate.every_epochs": number(0, _EPOCHS, "between evaluations", "epochs", low_open=True, resumable=True),
    "evaluate.batch_size": count(1, _BATCH, "over all devices, rounded up to a multiple of them", "examples"),
    "log.every_steps": count(1, 10**9, "that a training row of metrics.jsonl averages", "steps", resumable=True),
    "log.examples": choice(
        *("auto", "all", "none"),
        help="record of each training example what training and evaluations see; auto: evaluations of resident data",
    ),
    "log.tensorboard": switch("write the same rows as TensorBoard events", resumable=True),
    "log.patience_hours": positive("a longer run prints what to choose instead", "hours", resumable=True),
    "checkpoint.every_epochs": number(0, _EPOCHS, "between checkpoints", "epochs", low_open=True, resumable=True),
    "checkpoint.keep": count(1, 1000, "that are kept, the newest", "checkpoints", resumable=True),
    # kind=theorem1: a network of 2n + d weights that takes every label.
    "theorem1.targets": choice("labels", "one_hot", help="one output, the number of the class; or an output a class"),
    "theorem1.threshold_position": number(
        0, 1, "of a threshold in its gap; near 0: at the point on its left", low_open=True, high_open=True
    ),
    "theorem1.depths": count(2, 10**6, "of the deep networks of corollary 1", "affine maps", least_length=0),
    "theorem1.float32_sizes": count(1, 10**9, "with which float32 is tried", "points", least_length=0),
    "theorem1.sizes": count(1, 10**9, "whose construction is timed", "synthetic points", least_length=0),
    "theorem1.synthetic_dimensions": count(1, 2**16, "of a synthetic point", "dimensions"),
    "theorem1.sampled": count(1, 2**31, "that are evaluated", "synthetic points"),
    # kind=linear: SGD and the interpolant of least norm.
    "linear.features": choice("pixels", "fourier", "relu", help="pixels, or random features of them"),
    "linear.count": count(1, 10**6, "number of them", "random features"),
    "linear.bandwidth": positive("of Fourier features", "median distances between examples"),
    "linear.start_scale": not_negative("standard deviation of the random start"),
    "linear.batch_size": count(1, _BATCH, "of a step of SGD", "examples"),
    "linear.order": choice("with_replacement", "shuffled", help="of SGD; the bound on its rate is for the former"),
    "linear.sgd_steps": count(1, 10**9, "of SGD", "steps"),
    "linear.gradient_steps": count(1, 10**9, "of gradient descent", "steps"),
    # kind=kernel: the interpolant of a kernel on a whole data set.
    "kernel.name": choice("gaussian", "linear", "polynomial", "laplacian", help="the kernel"),
    "kernel.gamma": not_negative("exp(-gamma |x - x'|^2), gamma <x, x'> of others; 0: chosen, as is the ridge"),
    "kernel.multiples": positive("values of gamma to choose from", "1 / mean squared distance", least_length=1),
    "kernel.ridges": not_negative("added to the diagonal, to choose from; the first if gamma is set", least_length=1),
    "kernel.selection_examples": size("of train, a tenth of them held out to choose by; 0: all", "examples"),
    "kernel.degree": count(1, 100, "of polynomial: (gamma <x, x'> + offset)^degree"),
    "kernel.offset": not_negative("of polynomial"),
    "kernel.features": choice(
        "pixels", "gabor", "random_convolutions", help="gabor: wavelets, for grey images", same_cost=True
    ),
    "kernel.filters": count(1, 10**6, "of the random convolutional net, 8 features each", "filters", same_cost=True),
    "kernel.filter_block": count(1, 10**5, "whose features are held at a time", "filters"),
    "kernel.filter_kind": choice("gaussian", "patches", help="random directions, or whitened patches of train"),
    "kernel.patch": count(1, 2**10, "side of a filter", "pixels"),
    "kernel.stride": count(1, 2**10, "between neighbouring patches", "pixels"),
    "kernel.threshold": not_negative("t of max(0, z - t) and max(0, -z - t)"),
    "kernel.whitening_patches": count(2, 10**7, "that whitening is computed from", "patches"),
    "kernel.tile": count(1, 10**5, "of the kernel matrix that are computed at a time", "rows"),
    # kind=capacity: Rademacher complexity and bounds of the network of model.name.
    "capacity.draws": count(1, 1000, "of random signs, each learned by a run of its own", "draws"),
    "capacity.delta": number(0, 1, "with which a bound may fail", "probability", low_open=True, high_open=True),
    "capacity.margin_quantile": number(0, 1, "part of train that the bounds with a margin leave out", "fraction"),
    # kind=label_issues: which labels are wrong, calibrated by labels that are flipped on purpose.
    "label_issues.planted": number(0, 0.5, "of the labels, flipped in each round", "fraction", low_open=True),
    # kind=influence: networks trained on random subsets, what each memorizes and is influenced by.
    "influence.networks": count(2, 10**6, "that are trained; more may be added later", "networks", resumable=True),
    "influence.share": number(
        0, 1, "of the training examples that each is trained on", "fraction", low_open=True, high_open=True
    ),
    "influence.pair_threshold": number(0, 1, "least influence of the pairs kept", low_open=True, resumable=True),
    "influence.stack": count(0, 10**4, "that a device trains at a time; 0: by platform", "networks"),
    # The machine.
    "hardware.cpu_devices": count(
        1, _PROCESSES, "virtual ones that share the batch; no effect on GPU and TPU", "devices", **_OF_SWEEP
    ),
    "hardware.heartbeat_timeout_seconds": number(
        3, 10**6, "a process that is silent for so long ends the others", "seconds", resumable=True
    ),
    "hardware.compilation_cache": text(
        "folder of compiled functions, kept between runs; empty: none", figure_axis=False, **_OF_HOST
    ),
}
