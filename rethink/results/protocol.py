"""Owns what a run must be to be the paper's experiment: the protocol's fields, cell by cell, and the full data sets.

Refuses to ask for what the paper leaves open: batch, initialization, coefficients, the rate of a network that the
paper's does not train.
"""

from collections.abc import Callable, Mapping
from typing import Any

from rethink.results import paper

TRAIN_EXAMPLES = {"cifar10": 50_000, "mnist": 60_000, "imagenet2012": 1_281_167}
EPOCHS = 64  # figure 1a ends at 25,000 steps (certainty M), of 128 examples (inferred): a shorter schedule is another
FILTERS = 32_000  # of the random convolutional net of table 3

Holds = Callable[[Any], bool]  # value of a field -> whether the experiment is the paper's

_NETWORKS = {"imagenet2012": ("inception_v3", 299, "symmetric"), "cifar10": ("", 28, "per_image")}
_COLOUR = ("brightness", "contrast", "saturation", "hue")


def _is(wanted: Any) -> Holds:
    return lambda value: value == wanted


def _is_not(unwanted: Any) -> Holds:
    return lambda value: value != unwanted


_ON, _OFF = _is_not(0), _is(0)  # of a number or a truth


def _switch(on: bool) -> Holds:
    return _ON if on else _OFF


def expected(table: str, cell: str) -> dict[str, Holds]:
    """Returns field -> what a run's config must hold there to be that of a cell; {} for a cell that is not the paper's.

    Args:
      table: a name of `paper.TABLES`.
    """
    if cell not in paper.TABLES[table].cells:
        return {}
    return _of_a_kernel(cell) if table == "table3" else _of_a_network(table, cell)


def _of_a_kernel(cell: str) -> dict[str, Holds]:
    """Returns what a cell of table 3 stands for."""
    data, features, *l2 = cell.split("-")
    ridges: Holds = (lambda value: any(value)) if l2 else (lambda value: not any(value))
    fields = {"data.name": _is(data), "kernel.features": _is(features), "kernel.ridges": ridges}
    if features == "random_convolutions":
        return {**fields, "kernel.filters": _is(FILTERS)}
    return {**fields, "kernel.name": _is("gaussian")}


def _of_a_network(table: str, cell: str) -> dict[str, Holds]:
    """Returns what a cell of table 1, 2 or 4 stands for."""
    first, *conditions = cell.split("-")
    data = "imagenet2012" if table == "table2" else "cifar10"
    network, crop, whitening = _NETWORKS[data]
    augmented = bool({"aug", "augmentation"} & set(conditions))
    cropped = augmented or "crop" in conditions
    random = table == "table4" or "random" in (first, *conditions)
    model = network or first.removesuffix("_no_bn")
    normed = model.startswith("inception") and not first.endswith("_no_bn")
    random_crop = "inception" if data == "imagenet2012" else "random"
    return {
        "data.name": _is(data),
        "preprocess.crop": _is(crop),
        "preprocess.whiten": _is(whitening),
        "model.name": _is(model),
        "batch_norm.kind": _is_not("none") if normed else _is("none"),
        "corruption.labels": _is("uniform" if random else "none"),
        "weight_decay.kind": _is_not("none") if "wd" in conditions else _is("none"),
        "weight_decay.coefficient": _ON if "wd" in conditions else lambda _: True,
        "dropout.rate": _switch("dropout" in conditions),
        "augmentation.crop": _is(random_crop if cropped else "none"),
        "augmentation.flip": _switch(augmented),
        "augmentation.rotation": _switch(augmented and table == "table4"),
        "augmentation.zoom": _OFF,
        "augmentation.padding": _OFF,
        **{f"augmentation.{name}": _switch(augmented and table == "table2") for name in _COLOUR},
    }


def unlike(table: str, cell: str, config: Mapping[str, Any]) -> list[str]:
    """Returns `field: value` for each field of a flat config that makes a run another than its cell stands for."""
    wanted = expected(table, cell)
    return [
        f"{field}: {config[field]}" for field, holds in wanted.items() if field in config and not holds(config[field])
    ]


def caveats(config: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """Returns what makes a run another experiment than any of the paper's.

    Args:
      config: flat; a field that it lacks is passed over.
      data: of the manifest.
    """
    size = _size(config, data)
    own = [field for field in config if field.startswith("model.kwargs.")]
    return [
        *([size] if size else []),
        *([f"network changed by {', '.join(sorted(own))}"] if own else []),
        *(words.format(config[field]) for field, unlike, words in _CAVEATS if unlike(config, field)),
    ]


def _set(config: Mapping[str, Any], field: str) -> bool:
    return config.get(field, "none") not in ("none", 0, False)


def _holds(wanted: Any) -> Callable[[Mapping[str, Any], str], bool]:
    return lambda config, field: config.get(field) == wanted


def _some_redrawn(config: Mapping[str, Any], field: str) -> bool:
    return _set(config, "corruption.labels") and config.get(field, 1.0) != 1


def _short(config: Mapping[str, Any], field: str) -> bool:
    return config.get("kind", "train") == "train" and config.get(field, EPOCHS) < EPOCHS


_CAVEATS: tuple[tuple[str, Callable[[Mapping[str, Any], str], bool], str], ...] = (
    ("data.classes", _set, "labels modulo {} classes"),
    ("corruption.label_probability", _some_redrawn, "labels redrawn with p = {:g}"),
    ("corruption.labels", _holds("symmetric"), "labels redrawn to other classes only"),
    ("corruption.pixels", _set, "pixels: {}"),
    ("corruption.test_labels", _set, "test labels corrupted too"),
    ("early_stopping.monitor", _holds("oracle"), "stopped by the oracle (test set)"),
    ("early_stopping.monitor", _holds("validation"), "stopped by examples held out of train"),
    ("stop.train_accuracy", _set, "ends at a train accuracy of {:.2%}"),
    ("train.total_epochs", _short, "short: {:g} epochs"),
)


def _size(config: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Returns how the train set is not the whole of one of the paper's; "" where it is."""
    name, examples = config.get("data.name"), data.get("train_examples")
    if examples is None:
        return "size of the train set not recorded"
    if name not in TRAIN_EXAMPLES:
        return f"data not of the paper: {name}"
    full = TRAIN_EXAMPLES[name]
    return f"subset: {examples:,} of {full:,} examples" if examples < full else ""
