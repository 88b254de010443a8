"""What a run must be to be the paper's experiment: the protocol's fields, cell by cell, and the full data sets.

Nothing is required where the paper leaves it open: batch, initialization, coefficients, ImageNet's optimizer, where
table 3's filters come from and what is made of their features, and the rate of Inception without batch norm, which the
paper's does not train.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rethink.paper.numbers import TABLES

EXAMPLES = {"cifar10": (50_000, 10_000), "mnist": (60_000, 10_000), "imagenet2012": (1_281_167, 50_000)}  # train, test
STEPS = 25_000  # at which figure 1a ends (certainty M): a run that has made fewer and has not fitted may still fit
EPOCHS = 64  # at least, on CIFAR10: those steps, of 128 examples (inferred)
PIXELS = ("none", "shuffled_pixels", "random_pixels", "gaussian")  # the conditions of figure 1a
FILTERS = 32_000  # of the random convolutional net of table 3

Test = Callable[[Any], bool]  # value of a field -> whether the experiment is the paper's
Fields = dict[str, Any]  # field -> the value that it must have, or a `Test`

_NETWORKS = {"imagenet2012": ("inception_v3", 299, "symmetric"), "cifar10": ("", 28, "per_image")}
_RATES = {"inception": 0.1, "alexnet": 0.01, "mlp_3x512": 0.01, "mlp_1x512": 0.01}
_LONGER = ("table4/inception-crop", "table4/inception-augmentation")  # there the rate falls by 0.999
_CLAIMED = ("corruption.", "weight_decay.", "dropout.", "augmentation.", "batch_norm.")  # what orderings are about
_LOSS = {"train.loss": "cross_entropy", "augmentation.mixup": 0}  # of all that the paper trained
_COLOUR = ("brightness", "contrast", "saturation", "hue")


def _is_not(unwanted: Any) -> Test:
    return lambda value: value != unwanted


def _switch(on: bool) -> Test:
    """Returns the test of a number or a truth: whether it is on, that is not 0."""
    return lambda value: (value != 0) == on


def expected_fields(table: str, cell: str) -> Fields:
    """Returns field -> what a run's config must hold there to be that of a cell; {} for a cell that is not the paper's.

    Args:
      table: a name of `paper.TABLES`.
    """
    if table == "table3" and "-" in cell:  # the same kernels on other data have other names
        return _kernel_fields(cell)
    return _network_fields(table, cell) if cell in TABLES[table].cells else {}


def _kernel_fields(cell: str) -> Fields:
    """Returns what a cell of table 3 stands for."""
    data, features, *l2 = cell.split("-")
    ridges: Test = all if l2 else lambda value: not any(value)
    fields = {
        "data.name": lambda value: _data_name(value) == data,
        "corruption.labels": "none",
        "preprocess.crop": 0,
        "preprocess.whiten": "none",
        "kernel.features": features,
        "kernel.ridges": ridges,
    }
    if features == "random_convolutions":
        return {**fields, "kernel.filters": FILTERS, "kernel.name": lambda name: name in ("gaussian", "linear")}
    return {**fields, "kernel.name": "gaussian"}


def _network_fields(table: str, cell: str) -> Fields:
    """Returns what a cell of table 1, 2 or 4 stands for."""
    # The network (of table 2: the labels) and the regularizers that the name of the cell gives.
    first, *conditions = cell.split("-")
    data = "imagenet2012" if table == "table2" else "cifar10"
    network, crop, whitening = _NETWORKS[data]
    augmented = bool({"aug", "augmentation"} & set(conditions))
    cropped = augmented or "crop" in conditions
    random = table == "table4" or "random" in (first, *conditions)
    model = network or first.removesuffix("_no_bn")
    normed = model.startswith("inception") and not first.endswith("_no_bn")
    # ImageNet is cropped as Inception V3 was trained, CIFAR10 at a random place.
    random_crop = "inception" if data == "imagenet2012" else "random"
    return {
        "data.name": lambda value: _data_name(value) == data,
        "preprocess.crop": crop,
        "preprocess.whiten": whitening,
        "model.name": model,
        **(_NORMED if normed else {"batch_norm.kind": "none"}),
        "corruption.labels": "uniform" if random else "none",
        "weight_decay.kind": _is_not("none") if "wd" in conditions else "none",
        "weight_decay.coefficient": _switch(True) if "wd" in conditions else lambda _: True,
        "dropout.rate": _switch("dropout" in conditions),
        "augmentation.crop": random_crop if cropped else "none",
        "augmentation.flip": _switch(augmented),
        "augmentation.rotation": 25.0 if augmented and table == "table4" else 0.0,
        "augmentation.zoom": 0,
        "augmentation.padding": 0,
        **{f"augmentation.{name}": _switch(augmented and table == "table2") for name in _COLOUR},
        "data.train_split": "train",
        "data.test_split": "validation" if table == "table2" else "test",
        **({} if table == "table2" else _cifar10_fields(f"{table}/{cell}", first)),
    }


_NORMED: Fields = {
    "batch_norm.kind": _is_not("none"),
    "batch_norm.scale": False,
    "batch_norm.shift": True,
    "batch_norm.evaluation": "running",
}


def _cifar10_fields(cell: str, network: str) -> Fields:
    """Returns the paper's optimizer and images for CIFAR10 (appendix A; table 4's slower decay)."""
    fields = {
        "data.image_size": 0,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.9,
        "optimizer.nesterov": False,
        "optimizer.schedule": "exponential",
        "optimizer.decay_factor": 0.999 if cell in _LONGER else 0.95,
        "optimizer.decay_every": 1.0,
        "optimizer.decay_unit": "epochs",
    }
    return {**fields, "optimizer.learning_rate": _RATES[network]} if network in _RATES else fields


def mismatches(table: str, cell: str, config: Mapping[str, Any]) -> list[str]:
    """Returns `field: value` for each field of a flat config that makes a run another than its cell stands for."""
    return [f"{field}: {config.get(field, 'not recorded')}" for field in _mismatched_fields(table, cell, config)]


def _mismatched_fields(table: str, cell: str, config: Mapping[str, Any]) -> list[str]:
    def matches(field: str, wanted: Any) -> bool:
        return field in config and (wanted(config[field]) if callable(wanted) else config[field] == wanted)

    return [field for field, wanted in expected_fields(table, cell).items() if not matches(field, wanted)]


def figure_mismatches(config: Mapping[str, Any]) -> list[str]:
    """Returns `field: value` of what makes a run another than those of figures 1a to 1c, but for its corruption.

    Nothing is required of a network that is not the paper's, nor on other data than CIFAR10, which `caveats` names.
    """
    model = config.get("model.name")
    cell = f"{model}{'_no_bn' if model == 'inception' and config.get('batch_norm.kind') == 'none' else ''}-none"
    strays = mismatches("table1", cell, config) if _data_name(config.get("data.name")) == "cifar10" else []
    return [stray for stray in strays if not stray.startswith("corruption.")]


def changes_claims(table: str, cell: str, config: Mapping[str, Any]) -> bool:
    """Returns whether no ordering can be put to a run: corruption, loss, regularizers or norm are not its cell's."""
    named = any(field.startswith(_CLAIMED) for field in _mismatched_fields(table, cell, config))
    resampled = _some_resampled(config, "corruption.label_probability") and cell in TABLES[table].cells
    changed = any(_set(config, f"corruption.{name}") for name in ("pixels", "test_labels"))
    return named or resampled or changed or any(_has_other_loss(config, field) for field in _LOSS)


def caveats(config: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """Returns what makes a run another experiment than any of the paper's.

    Args:
      config: flat; a field that it lacks is passed over.
      data: of the manifest.
    """
    own = [field for field in config if field.startswith("model.kwargs.")]
    return [
        *_sizes(config, data),
        *([f"network changed by {', '.join(sorted(own))}"] if own else []),
        *(words.format(config[field]) for field, differs, words in _CAVEATS if differs(config, field)),
    ]


def _set(config: Mapping[str, Any], field: str) -> bool:
    return config.get(field, "none") not in ("none", 0, False)


def _equals(wanted: Any) -> Callable[[Mapping[str, Any], str], bool]:
    return lambda config, field: config.get(field) == wanted


def _has_other_loss(config: Mapping[str, Any], field: str) -> bool:
    return config.get(field, _LOSS[field]) != _LOSS[field]


def _some_resampled(config: Mapping[str, Any], field: str) -> bool:
    return _set(config, "corruption.labels") and config.get(field, 1.0) != 1


def _not_uniform(config: Mapping[str, Any], field: str) -> bool:
    return config.get(field, "none") not in ("none", "uniform")


def _short(config: Mapping[str, Any], field: str) -> bool:
    of_cifar10 = config.get("kind", "train") == "train" and _data_name(config.get("data.name")) == "cifar10"
    return of_cifar10 and config.get(field, EPOCHS) < EPOCHS


def name_data(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the names of the data sets of flat configs, each once, without source and version."""
    return sorted({_data_name(config.get("data.name")) for config in configs})


def _data_name(name: Any) -> str:
    """Returns the name of a data set without its source and its version: 'tfds:cifar10:3.0.2' -> 'cifar10'."""
    return str(name).removeprefix("tfds:").partition(":")[0]


_CAVEATS: tuple[tuple[str, Callable[[Mapping[str, Any], str], bool], str], ...] = (
    ("data.classes", _set, "labels modulo {} classes"),
    ("corruption.label_probability", _some_resampled, "labels resampled with p = {:g}"),
    ("corruption.labels", _not_uniform, "labels resampled by '{}', not from all classes"),
    ("corruption.pixels", _set, "pixels: {}"),
    ("corruption.test_labels", _set, "test labels corrupted too"),
    ("train.loss", _has_other_loss, "loss: {}"),
    ("augmentation.mixup", _has_other_loss, "mixup: {:g}"),
    ("early_stopping.monitor", _equals("oracle"), "stopped by the oracle (test set)"),
    ("early_stopping.monitor", _equals("validation"), "stopped by examples held out of train"),
    ("stop.train_accuracy", _set, "ends at a train accuracy of {:.2%}"),
    ("train.total_epochs", _short, "short: {:g} epochs"),
)


def _sizes(config: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """Returns how the train and the test set are not the whole of one of the paper's; [] where they are."""
    name, train, test = _data_name(config.get("data.name")), data.get("train_examples"), data.get("test_examples")
    if train is None:
        return ["size of the train set not recorded"]
    if name not in EXAMPLES:
        return [f"data not of the paper: {name}"]
    full_train, full_test = EXAMPLES[name]
    differences = []
    if train < full_train:
        differences.append(f"subset: {train:,} of {full_train:,} examples")
    elif train > full_train:
        differences.append(f"{train:,} examples, more than the paper's {full_train:,}")
    if test is None:
        differences.append("size of the test set not recorded")
    elif test != full_test:
        differences.append(f"tested on {test:,} of {full_test:,} examples")
    return differences
