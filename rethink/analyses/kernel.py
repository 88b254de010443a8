"""The analysis of table 3 (section 5): a kernel model that interpolates a whole data set, on pixels or on features.

It joins theory/kernels to a data set and to records, and has no theory of its own.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from rethink.analyses.analysis import Analysis, one_hot
from rethink.results import screen
from rethink.schema.errors import UserError, pick
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

GIB = 2**30
CERTIFICATE = (
    "ridge",
    "residual",
    "train_residual",
    "residuals",
    "norm",
    "factor_error",
    "condition",
    "smallest_pivot",
)

Rows = Callable[[Analysis, str], np.ndarray]  # (analysis, split) -> float32 [n, features]


class Features(NamedTuple):
    """What a kernel model is made of, by kind.

    Attributes:
      hold_out: (analysis, examples) -> train in two parts, for the choice of gamma and ridge.
      make_matrices: (analysis, kernel, ridge) -> the kernel's matrices of train, and between test and train.
      are_held: whether the features are; of those that are too many, inner products are kept beside their factor.
    """

    hold_out: Callable[[Analysis, int], model_selection.HeldOut]
    make_matrices: Callable[[Analysis, Kernel, float], tuple[BlockMatrix, BlockMatrix]]
    are_held: bool


def analyze_kernel_model(analysis: Analysis) -> dict[str, Any]:
    """Returns the summary of the run: gamma and ridge as chosen, the certificate of the model, and its test error.

    Raises:
      UserError: too little memory, and as theory/kernels.
    """
    settings, report = analysis.config.kernel, analysis.stages.report
    train, test = analysis.splits["train"], analysis.splits["test"]
    features = pick(FEATURES, settings.features, "kernel.features")
    if settings.gamma and len(settings.ridges) > 1:
        raise UserError(
            f"kernel.gamma={settings.gamma:g} with kernel.ridges={settings.ridges} leaves open which: give one ridge, "
            "or --config.kernel.gamma=0.0 to choose both."
        )
    _require_memory(analysis, features)
    if not any(settings.ridges):
        kernel_matrix.check_distinct(train.images, train.ids, train.labels)

    # Choose gamma and ridge, where they are not given.
    kernel = Kernel(settings.name, settings.gamma or 1.0, settings.degree, settings.offset)
    ridge, choice = settings.ridges[0], None
    if not settings.gamma:
        choice = _choose_kernel(analysis, features, kernel)
        kernel, ridge = choice.kernel, choice.ridge

    # Solve.
    gram, cross = features.make_matrices(analysis, kernel, ridge)
    targets = one_hot(train.labels, analysis.num_classes)
    solution = interpolation.fit_matrix(gram, targets, ridge=ridge, progress=report)
    predictions = interpolation.predict_matrix(solution, cross, progress=report)

    # Certify: every label of train reproduced, and what that is worth on test.
    train_error = interpolation.compute_error_rate(solution.fitted, train.labels)
    test_error = interpolation.compute_error_rate(predictions, test.labels)

    # Record.
    analysis.record.save_arrays("solution", alpha=solution.alpha, train_ids=train.ids)
    analysis.record.save_arrays(
        "predictions",
        ids=test.ids,
        true_labels=test.true_labels,
        given_labels=test.labels,
        predicted=predictions.argmax(axis=1).astype(np.int32),
    )

    # Summary.
    rows = [
        ("kernel", f"{kernel}, ridge {ridge:g}"),
        ("features", settings.features),
        ("test error", f"{100 * test_error:.2f}%"),
        ("train error", f"{100 * train_error:.2f}%"),
        ("largest train residual", f"{solution.train_residual:.1e}"),
        ("norm sqrt(trace(alpha' K alpha))", f"{solution.norm:.1f}"),
        ("condition of the kernel matrix, at least", f"{solution.condition:.3g}"),
        ("peak memory", f"{solution.peak_bytes / GIB:.2f} GiB"),
        *((f"  {stage}", screen.format_duration(seconds)) for stage, seconds in solution.seconds.items()),
    ]
    return {
        "evaluation": {"train_accuracy": 1 - train_error, "test_accuracy": 1 - test_error, "test_error": test_error},
        "kernel": {**kernel._asdict(), "features": settings.features},
        "certificate": {name: getattr(solution, name) for name in CERTIFICATE},
        "stage_seconds": solution.seconds,
        "peak_bytes": solution.peak_bytes,
        "choice": None if choice is None else _choice_json(choice),
        "rows": rows,
    }


def _require_memory(analysis: Analysis, features: Features) -> None:
    train = analysis.splits["train"]
    needed = cholesky.predict_fit_bytes(
        len(train.ids),
        tile=analysis.config.kernel.tile,
        dimensions=math.prod(train.images.shape[1:]) if features.are_held else 0,
        targets=analysis.num_classes,
        halves=1 if features.are_held else 2,
    )
    memory.require_memory("A kernel model", needed, len(train.ids), power=2)


def _choose_kernel(analysis: Analysis, features: Features, kernel: Kernel) -> model_selection.Choice:
    """Returns gamma and ridge of the least error on a tenth of train that is held out."""
    settings = analysis.config.kernel
    return model_selection.choose_kernel(
        features.hold_out(analysis, min(settings.selection_examples, len(analysis.splits["train"].ids))),
        analysis.num_classes,
        kernel,
        multiples=settings.multiples,
        ridges=settings.ridges,
        progress=analysis.stages.report,
    )


def _choice_json(choice: model_selection.Choice) -> dict[str, Any]:
    """Returns a choice as JSON has it."""
    trials = [trial._asdict() for trial in choice.trials]
    return {**choice._asdict(), "kernel": str(choice.kernel), "trials": trials}


# Features that are held: a row an example.


def _read_gabor_rows(analysis: Analysis, split: str) -> np.ndarray:
    analysis.require_raw_pixels("Gabor wavelets")
    return gabor.compute_gabor_features(analysis.splits[split].images)


def _hold_out_rows(read_rows: Rows, analysis: Analysis, examples: int) -> model_selection.HeldOut:
    rows, labels = read_rows(analysis, "train"), analysis.splits["train"].labels
    return model_selection.hold_out_rows(
        rows, labels, examples=examples, seed=analysis.config.seed, tile=analysis.config.kernel.tile
    )


def _make_row_matrices(
    read_rows: Rows, analysis: Analysis, kernel: Kernel, ridge: float
) -> tuple[BlockMatrix, BlockMatrix]:
    train, test, tile = read_rows(analysis, "train"), read_rows(analysis, "test"), analysis.config.kernel.tile
    if not ridge:  # images that differ may have equal features
        split = analysis.splits["train"]
        kernel_matrix.check_distinct(train, split.ids, split.labels)
    gram = kernel_matrix.make_matrix(kernel, train, tile=tile)
    return gram, kernel_matrix.make_matrix(kernel, test, train, tile=tile)


# Features of a random convolutional net: too many to hold, so that their inner products are added up.


def _hold_out_convolutions(analysis: Analysis, examples: int) -> model_selection.HeldOut:
    train = analysis.splits["train"]
    fitted, held_out = model_selection.draw_held_out(len(train.ids), examples=examples, seed=analysis.config.seed)
    products = _accumulate_convolutions(analysis, train.images[fitted], train.images[held_out])
    return model_selection.hold_out_products(products, train.labels[fitted], train.labels[held_out])


def _make_convolution_matrices(analysis: Analysis, kernel: Kernel, ridge: float) -> tuple[BlockMatrix, BlockMatrix]:
    images = (analysis.splits[name].images for name in ("train", "test"))
    products = _accumulate_convolutions(analysis, *images)
    return gram_accumulation.make_matrices(kernel, products)


def _accumulate_convolutions(
    analysis: Analysis, train_images: np.ndarray, test_images: np.ndarray
) -> gram_accumulation.Accumulated:
    """Returns the inner products of the features of images uint8, a block of filters after the other."""
    settings = analysis.config.kernel
    analysis.require_raw_pixels("the random convolutional net")
    products = gram_accumulation.start_products(len(train_images), len(test_images), tile=settings.tile)
    done = 0
    for net in _make_nets(analysis, train_images):
        train, test = (convolutional_features.apply_net(net, images) for images in (train_images, test_images))
        convolutional_features.standardize_features(train, test)
        gram_accumulation.add_features(products, train, test)
        done += net.kernels.shape[3]
        analysis.stages.report(f"filters on {len(train_images):,} images", done, settings.filters)
    gram_accumulation.measure_products_error(products)
    return products


def _make_nets(analysis: Analysis, images: np.ndarray) -> Iterator[convolutional_features.RandomNet]:
    """Yields nets of `filter_block` filters each, whitened by patches of `images`."""
    settings, seed = analysis.config.kernel, analysis.config.seed
    whitening = convolutional_features.fit_whitening(
        images, patch=settings.patch, count=settings.whitening_patches, seed=seed
    )
    for block, start in enumerate(range(0, settings.filters, settings.filter_block)):
        yield convolutional_features.make_net(
            images,
            whitening,
            kind=settings.filter_kind,
            filters=min(settings.filter_block, settings.filters - start),
            threshold=settings.threshold,
            stride=settings.stride,
            seed=seed,
            block=block,
        )


def _make_row_features(read_rows: Rows) -> Features:
    hold_out = functools.partial(_hold_out_rows, read_rows)
    return Features(hold_out, functools.partial(_make_row_matrices, read_rows), are_held=True)


FEATURES = {
    "pixels": _make_row_features(Analysis.read_rows),
    "gabor": _make_row_features(_read_gabor_rows),
    "random_convolutions": Features(_hold_out_convolutions, _make_convolution_matrices, are_held=False),
}
