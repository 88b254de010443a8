"""Owns the study of table 3: a kernel model that interpolates a whole data set, on pixels or on features of them.

Refuses theory: it joins theory/interpolation.py, choice.py and the feature maps to a data set and to records.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from rethink.analyses.analysis import Analysis, one_hot
from rethink.results import progress
from rethink.schema.errors import UserError
from rethink.theory import memory
from rethink.theory.kernels import (
    cholesky,
    convolutional_features,
    gabor,
    gram_accumulation,
    interpolation,
    kernel_matrix,
    model_selection,
)
from rethink.theory.kernels.kernel_matrix import BlockMatrix, Kernel

FEATURES = ("pixels", "gabor", "random_convolutions")
GIB = 2**30


class Parts(NamedTuple):
    """Examples that a model is fitted to and examples that it is tried on: rows of "train" or of "test"."""

    fitted: np.ndarray
    fitted_labels: np.ndarray
    tried: np.ndarray
    tried_labels: np.ndarray


class Matrices(NamedTuple):
    """The kernel's matrix among the examples that are fitted, and between those that are tried and them."""

    gram: BlockMatrix
    cross: BlockMatrix


def run(study: Analysis) -> dict[str, Any]:
    """Chooses gamma and ridge, interpolates train and predicts test; returns the summary of the run.

    Raises:
      UserError: as theory/interpolation.py and choice.py.
    """
    asked, report = study.config.kernel, study.stages.report
    train, test = study.splits["train"], study.splits["test"]
    if asked.gamma and len(asked.ridges) > 1:
        raise UserError(
            f"kernel.gamma={asked.gamma:g} with kernel.ridges={asked.ridges} leaves open which: give one ridge, or "
            "--config.kernel.gamma=0.0 to choose both."
        )
    accumulated = asked.features == "random_convolutions"
    needed = cholesky.predict_fit_bytes(
        len(train.ids),
        tile=asked.tile,
        dimensions=0 if accumulated else math.prod(train.images.shape[1:]),
        targets=study.num_classes,
        halves=2 if accumulated else 1,
    )
    memory.require_memory("A kernel model", needed, len(train.ids), power=2)
    whole = Parts(train.images, train.labels, test.images, test.labels)
    chosen = None if asked.gamma else _choose(study)
    kernel = _kernel(study, asked.gamma) if chosen is None else chosen.kernel
    ridge = asked.ridges[0] if chosen is None else chosen.ridge
    if accumulated:
        products = _accumulate(study, whole)
        matrices = Matrices(
            gram_accumulation.make_train_matrix(kernel, products), gram_accumulation.make_cross_matrix(kernel, products)
        )
    else:
        fitted, tried = (_rows(study, name) for name in ("train", "test"))
        if not ridge:
            kernel_matrix.check_distinct(fitted)
        matrices = Matrices(kernel_matrix.make_matrix(kernel, fitted), kernel_matrix.make_matrix(kernel, tried, fitted))
    targets = one_hot(train.labels, study.num_classes)
    solved = interpolation.fit_matrix(matrices.gram, targets, ridge=ridge, tile=asked.tile, progress=report)
    values = interpolation.predict_matrix(solved, matrices.cross, tile=asked.tile, progress=report)
    study.record.save_arrays("solution", alpha=solved.alpha, train_ids=train.ids)
    train_error = interpolation.compute_error_rate(solved.fitted, train.labels)
    test_error = interpolation.compute_error_rate(values, test.labels)
    evaluation = {"train_accuracy": 1 - train_error, "test_accuracy": 1 - test_error, "test_error": test_error}
    certificate = {
        name: getattr(solved, name)
        for name in ("ridge", "residual", "train_residual", "residuals", "norm", "condition", "smallest_pivot")
    }
    rows = [
        ("kernel", f"{kernel}, ridge {ridge:g}"),
        ("features", asked.features),
        ("test error", f"{100 * test_error:.2f}%"),
        ("train error", f"{100 * train_error:.2f}%"),
        ("largest train residual", f"{solved.train_residual:.1e}"),
        ("norm sqrt(trace(alpha' K alpha))", f"{solved.norm:.1f}"),
        ("condition of the kernel matrix, at least", f"{solved.condition:.3g}"),
        ("peak memory", f"{solved.peak_bytes / GIB:.2f} GiB"),
        *((f"  {stage}", progress.format_duration(seconds)) for stage, seconds in solved.seconds.items()),
    ]
    return {
        "evaluation": evaluation,
        "kernel": {**kernel._asdict(), "features": asked.features},
        "certificate": certificate,
        "stage_seconds": solved.seconds,
        "peak_bytes": solved.peak_bytes,
        "choice": None if chosen is None else _as_json(chosen),
        "rows": rows,
    }


def _kernel(study: Analysis, gamma: float) -> Kernel:
    asked = study.config.kernel
    return Kernel(asked.name, gamma or 1.0, asked.degree, asked.offset)


def _choose(study: Analysis) -> model_selection.Choice:
    """Returns gamma and ridge of the least error on a tenth of train that is held out."""
    asked, train = study.config.kernel, study.splits["train"]
    examples = min(asked.selection_examples, len(train.ids)) if asked.selection_examples else 0
    shared = {"multiples": asked.multiples, "ridges": asked.ridges, "progress": study.stages.report}
    if asked.features != "random_convolutions":
        return model_selection.choose_kernel(
            _rows(study, "train"),
            train.labels,
            study.num_classes,
            _kernel(study, 0.0),
            examples=examples,
            seed=study.config.seed,
            tile=asked.tile,
            **shared,
        )
    fitted, held_out = model_selection.draw_held_out(len(train.ids), examples=examples, seed=study.config.seed)
    parts = Parts(train.images[fitted], train.labels[fitted], train.images[held_out], train.labels[held_out])
    return model_selection.choose_kernel_of_products(
        _accumulate(study, parts),
        parts.fitted_labels,
        parts.tried_labels,
        study.num_classes,
        _kernel(study, 0.0),
        **shared,
    )


def _rows(study: Analysis, split: str) -> np.ndarray:
    """Returns float32 [n, features] of a split."""
    if study.config.kernel.features == "gabor":
        study.require_raw_pixels("Gabor wavelets")
        return gabor.compute_gabor_features(study.splits[split].images)
    return study.rows(split)


def _accumulate(study: Analysis, parts: Parts) -> gram_accumulation.Accumulated:
    """Returns the inner products of the features of a random convolutional net, a block of filters after the other."""
    asked = study.config.kernel
    study.require_raw_pixels("the random convolutional net")
    products = gram_accumulation.start_products(len(parts.fitted), len(parts.tried), tile=asked.tile)
    done = 0
    for net in _nets(study, parts.fitted):
        fitted, tried = (convolutional_features.apply_net(net, images) for images in (parts.fitted, parts.tried))
        convolutional_features.standardize_features(fitted, tried)
        gram_accumulation.add_features(products, fitted, tried)
        done += net.kernels.shape[3]
        study.stages.report(f"filters on {len(parts.fitted):,} images", done, asked.filters)
    return products


def _nets(study: Analysis, images: np.ndarray) -> Iterator[convolutional_features.RandomNet]:
    """Yields nets of `filter_block` filters each, whitened by patches of `images`."""
    asked, seed = study.config.kernel, study.config.seed
    whitening = convolutional_features.fit_whitening(
        images, patch=asked.patch, count=asked.whitening_patches, seed=seed
    )
    for block, start in enumerate(range(0, asked.filters, asked.filter_block)):
        yield convolutional_features.make_net(
            images,
            whitening,
            kind=asked.filter_kind,
            filters=min(asked.filter_block, asked.filters - start),
            threshold=asked.threshold,
            stride=asked.stride,
            seed=seed,
            block=block,
        )


def _as_json(chosen: model_selection.Choice) -> dict[str, Any]:
    """Returns a choice as JSON has it."""
    return {
        "kernel": str(chosen.kernel),
        "ridge": chosen.ridge,
        "trials": [trial._asdict() for trial in chosen.trials],
        "fitted_examples": chosen.fitted_examples,
        "held_out_examples": chosen.held_out_examples,
    }
