"""Which score finds wrong labels, read at which epoch: kinds of label noise whose truth is known.

    python main.py --config=configs/beyond/label_issues_benchmark.py                  # CIFAR10, mlp_3x512
    python main.py --config=configs/beyond/label_issues_benchmark.py:digits,folds     # seconds a run
    python main.py --config=configs/beyond/label_issues_benchmark.py --config.filter='symmetric_*'

Words after the colon, separated by commas: `cifar10`, `digits`, `mnist` or `alexnet` (on 10,000 images of CIFAR10);
`folds`: each noise is trained on 5 times, without another fifth of the examples, which are then read out of fold (true
labels are not trained on then); `robust`: each noise is trained on with the remedies against it, too. Sweeps of one
data set add to each other under one --workdir: `folds` and `robust` beside the plain one. The noise is that of
`corruption.seed`, so that seeds share it.

Time: estimated for 2 idle cores, 4 minutes for an MLP's run on CIFAR10, 15 for AlexNet's.
Expect: figures/label_issues.png, a panel for each noise, and tables: AUROC and average precision of each score by
epoch; which of them the planted flips choose; what memorization costs in test accuracy.
"""

from rethink.configs import base

FOLDS = 5
NOISES = {
    "symmetric_20": ("symmetric", 0.2),
    "symmetric_40": ("symmetric", 0.4),
    "pair_flip_20": ("pair_flip", 0.2),
    "asymmetric_20": ("asymmetric", 0.2),
    "asymmetric_40": ("asymmetric", 0.4),
    "instance_20": ("instance", 0.2),
}
REMEDIES = {
    "generalized_cross_entropy": {"train.loss": "generalized_cross_entropy"},
    "label_smoothing": {"train.loss": "label_smoothing"},
    "mixup": {"augmentation.mixup": 1.0},
}
DATA = {
    "cifar10": {},
    "digits": {"data.name": "digits", "preprocess.crop": 0},
    "mnist": {"data.name": "mnist", "preprocess.crop": 0},
    "alexnet": {  # the rate falls as on the full set
        "data.train_examples": 10_000,
        "optimizer.decay_unit": "steps",
        "optimizer.decay_every": 391.0,
    },
}
WORDS = (*DATA, "folds", "robust")


def get_config(arguments=None):
    words = [word for word in (arguments or "").split(",") if word]
    unknown = [word for word in words if word not in WORDS]
    chosen = [word for word in words if word in DATA]
    if unknown or len(chosen) > 1:
        raise ValueError(f"'{arguments}': choose from {', '.join(WORDS)}, and of {', '.join(DATA)} one at most")
    data = (*chosen, "cifar10")[0]
    config = base.table_config(None, name=f"label_issues-{data}")
    config.figure = "label_issues"
    config.train.total_epochs = 40.0
    config.evaluate.every_epochs = 1.0
    config.log.examples = "all"
    config.corruption.seed = 0
    model = base.cell("alexnet" if data == "alexnet" else "mlp_3x512")
    config.update_from_flattened_dict(DATA[data])
    if data == "digits":  # with few steps an epoch, 0.01 would end before the noise is fitted
        model = base.cell("mlp_3x512", {"optimizer.schedule": "constant", "optimizer.learning_rate": 0.05})
    config.cells = make_cells(model, data, REMEDIES if "robust" in words else {})
    if "folds" in words:
        config.data.folds = FOLDS
        config.axes = f"data.fold={','.join(map(str, range(FOLDS)))}"
        del config.cells["true"]
    return config


def make_cells(model, data, remedies):
    """Returns name -> cell: true labels, each noise, and each noise with each of the remedies."""
    cells = {"true": model}
    for noise, (labels, probability) in NOISES.items():
        if labels == "asymmetric" and data == "digits":
            labels = "asymmetric:mnist"
        cells[noise] = (*model, ("corruption.labels", labels), ("corruption.label_probability", probability))
        cells |= {f"{noise}-{remedy}": (*cells[noise], *changes.items()) for remedy, changes in remedies.items()}
    return cells
