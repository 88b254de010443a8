"""Which score finds wrong labels, read at which epoch: kinds of label noise whose truth is known.

    python main.py --config=configs/beyond/label_issues_benchmark.py                  # CIFAR10, mlp_3x512
    python main.py --config=configs/beyond/label_issues_benchmark.py:digits,folds     # seconds a run
    python main.py --config=configs/beyond/label_issues_benchmark.py --config.filter='symmetric_*'

Words after the colon, separated by commas: `digits`, `mnist` or `alexnet` (on 10,000 images); `folds`: each cell is
trained 5 times, without another fifth of the examples, which are then read out of fold; `robust`: each noise is trained
on with the robust losses, too. Sweeps of one data set add to each other under one --workdir: `folds` and `robust`
beside the plain one. The noise is that of `corruption.seed`, so that seeds share it.

Time: on 2 idle cores by the speed there, 4 minutes for an MLP's run on CIFAR10, 15 for AlexNet's.
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
ROBUST = {
    "generalized_cross_entropy": {"train.loss": "generalized_cross_entropy"},
    "label_smoothing": {"train.loss": "label_smoothing"},
    "mixup": {"augmentation.mixup": 1.0},
}
SETS = ("digits", "mnist", "alexnet")
WORDS = (*SETS, "folds", "robust")


def get_config(arguments=None):
    words = [word for word in (arguments or "").split(",") if word]
    unknown = [word for word in words if word not in WORDS]
    chosen = [word for word in words if word in SETS]
    if unknown or len(chosen) > 1:
        raise ValueError(f"'{arguments}': choose from {', '.join(WORDS)}, and of {', '.join(SETS)} one at most")
    data = (*chosen, "cifar10")[0]
    config = base.table_config(None, name=f"label_issues-{data}")
    config.figure = "label_issues"
    config.train.total_epochs = 40.0
    config.evaluate.every_epochs = 1.0
    config.log.examples = "all"
    config.corruption.seed = 0
    model = base.cell("alexnet" if data == "alexnet" else "mlp_3x512")
    if data == "alexnet":  # the rate falls as on the full set
        config.data.train_examples = 10_000
        config.optimizer.decay_unit, config.optimizer.decay_every = "steps", 391.0
    elif data != "cifar10":
        config.data.name, config.preprocess.crop = data, 0
    if data == "digits":  # with few steps an epoch, 0.01 would end before the noise is fitted
        model = base.cell("mlp_3x512", {"optimizer.schedule": "constant", "optimizer.learning_rate": 0.05})
    config.cells = make_cells(model, data, ROBUST if "robust" in words else {})
    if "folds" in words:
        config.data.folds = FOLDS
        config.axes = f"data.fold={','.join(map(str, range(FOLDS)))}"
        config.filter = ",".join(f"{noise}-*" for noise in NOISES)
    return config


def make_cells(model, data, losses):
    """Returns name -> cell: true labels, each noise, and each noise with each of the losses."""
    cells = {"true": model}
    for noise, (labels, probability) in NOISES.items():
        if labels == "asymmetric" and data == "digits":
            labels = "asymmetric:mnist"
        cells[noise] = (*model, ("corruption.labels", labels), ("corruption.label_probability", probability))
        cells |= {f"{noise}-{loss}": (*cells[noise], *changes.items()) for loss, changes in losses.items()}
    return cells
