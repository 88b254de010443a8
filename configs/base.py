"""Every config field with its default. The configs beside this file change a few of them.

What a field means, and what it may hold: `python main.py --help`, or its row in rethink/schema/fields.py.

Set any field on the command line: `python main.py --config=configs/cifar_random.py --config.seed=1`. A config file
takes arguments after a colon, separated by commas: a model, `smoke` for a run of seconds, and what its own first lines
name: `--config=configs/cifar_random.py:mlp_1x512,smoke`.
"""

from typing import Any

from ml_collections import ConfigDict

from rethink.configs import analyses

# What a model's name brings with it: the paper's initial learning rate (appendix A) and batch norm. The paper's MLPs
# and AlexNet have none, its Inception has one that shifts and does not scale. Wide ResNets are not in the paper.
MODELS: dict[str, dict[str, Any]] = {
    "mlp_1x512": {"optimizer.learning_rate": 0.01},
    "mlp_3x512": {"optimizer.learning_rate": 0.01},
    "alexnet": {"optimizer.learning_rate": 0.01},
    "inception": {"optimizer.learning_rate": 0.1, "batch_norm.kind": "across_devices"},
    "inception_v3": {"optimizer.learning_rate": 0.045, "batch_norm.kind": "across_devices"},
    "wide_resnet": {
        "optimizer.learning_rate": 0.1,
        "batch_norm.kind": "across_devices",
        "batch_norm.scale": True,
    },
}


# Without batch norm the paper's rate of 0.1 does not train its Inception: a smaller one, and He's initialization.
CELL_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, brings) for name, brings in MODELS.items()},
    "inception_no_bn": ("inception", {"optimizer.learning_rate": 0.003, "model.init": "he_normal"}),
}


def get_config() -> ConfigDict:
    """Returns the schema: every field there is, with its default."""
    config = ConfigDict()

    # ---- what is run: one run, a sweep (cells, axes) or a suite (experiments)
    config.kind = "train"
    config.name = "base"
    config.cells = ConfigDict()
    config.experiments = ConfigDict()
    config.axes = ""
    config.figure = "auto"
    config.filter = "*"
    config.executor = "sequential"
    config.jobs = 0
    config.seeds = 1
    config.seed = 0

    # ---- data set, subsets and how it is read
    config.data = ConfigDict()
    config.data.name = "digits"
    config.data.dir = ""
    config.data.cache_dir = "~/.cache/rethink"
    config.data.train_split = "train"
    config.data.test_split = "test"
    config.data.train_examples = 0
    config.data.test_examples = 0
    config.data.validation_fraction = 0.0
    config.data.folds = 0
    config.data.fold = 0
    config.data.split_seed = 0
    config.data.test_fraction = 0.2
    config.data.classes = 0
    config.data.image_size = 0
    config.data.value_range = (0.0, 1.0)
    config.data.channels = 0
    config.data.image_column = ""
    config.data.label_column = "label"
    config.data.bad_files = "error"
    config.data.feed = "auto"
    config.data.resident_limit_gib = 4.0
    config.data.workers = 2
    config.data.remainder = "wrap"

    # ---- random labels and random pixels (paper, section 2)
    config.corruption = ConfigDict()
    config.corruption.labels = "none"
    config.corruption.label_probability = 1.0
    config.corruption.label_column = "label"
    config.corruption.instance_scale = 1.0
    config.corruption.pixels = "none"
    config.corruption.channels_together = True
    config.corruption.test_labels = False
    config.corruption.test_pixels = False
    config.corruption.seed = -1

    config.preprocess = ConfigDict()
    config.preprocess.crop = 0
    config.preprocess.whiten = "per_image"

    config.model = ConfigDict()
    config.model.name = "mlp_1x512"
    config.model.init = "lecun_normal"
    config.model.kwargs = ConfigDict()

    # ---- regularization (paper, section 3): all off
    config.weight_decay = ConfigDict()
    config.weight_decay.kind = "none"
    config.weight_decay.coefficient = 5e-4
    config.weight_decay.parameters = "kernels"

    config.dropout = ConfigDict()
    config.dropout.rate = 0.0
    config.dropout.place = "last"

    config.augmentation = ConfigDict()
    config.augmentation.crop = "none"
    config.augmentation.padding = 0
    config.augmentation.flip = False
    config.augmentation.zoom = 0.0
    config.augmentation.rotation = 0.0
    config.augmentation.brightness = 0.0
    config.augmentation.contrast = 0.0
    config.augmentation.saturation = 0.0
    config.augmentation.hue = 0.0
    config.augmentation.mixup = 0.0

    config.early_stopping = ConfigDict()
    config.early_stopping.monitor = "none"
    config.early_stopping.labels = "given"
    config.early_stopping.patience = 0
    config.early_stopping.min_delta = 0.0
    config.early_stopping.restore_best = True

    config.batch_norm = ConfigDict()
    config.batch_norm.kind = "none"
    config.batch_norm.scale = False  # the paper's parameter counts have a shift and no scale
    config.batch_norm.shift = True
    config.batch_norm.momentum = 0.9
    config.batch_norm.epsilon = 1e-3
    config.batch_norm.evaluation = "running"

    # ---- training: as in the paper's appendix A
    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.second_moment_decay = 0.9
    config.optimizer.epsilon = 1e-8
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_factor = 0.95
    config.optimizer.decay_every = 1.0
    config.optimizer.decay_unit = "epochs"

    config.train = ConfigDict()
    config.train.batch_size = 128
    config.train.loss = "cross_entropy"
    config.train.label_smoothing = 0.1
    config.train.gce_q = 0.7
    config.train.auxiliary_weight = 0.4
    config.train.total_epochs = 100.0
    config.train.precision = "float32"
    config.train.matmul_precision = "auto"
    config.train.steps_per_call = 0

    config.stop = ConfigDict()
    config.stop.train_accuracy = 0.0

    # ---- what is measured, written and kept
    config.evaluate = ConfigDict()
    config.evaluate.every_epochs = 1.0
    config.evaluate.batch_size = 1000

    config.log = ConfigDict()
    config.log.every_steps = 50
    config.log.examples = "auto"
    config.log.tensorboard = True
    config.log.patience_hours = 2.0

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 5.0
    config.checkpoint.keep = 2

    # ---- theory (paper, sections 2.2, 4 and 5)
    analyses.add_fields(config)

    # ---- machine
    config.hardware = ConfigDict()
    config.hardware.cpu_devices = 1
    config.hardware.heartbeat_timeout_seconds = 20.0
    config.hardware.compilation_cache = "~/.cache/rethink/xla"
    return config


def paper_config(arguments: str | None, *, name: str, model: str) -> ConfigDict:
    """Returns the paper's protocol for CIFAR10 (appendix A); `arguments` as in `apply_arguments`."""
    config = get_config()
    config.name = name
    config.data.name = "cifar10"
    config.preprocess.crop = 28
    return apply_arguments(config, arguments, model=model)


def table_config(arguments: str | None, *, name: str) -> ConfigDict:
    """Returns the paper's protocol for CIFAR10, as a sweep without `cells` yet; `arguments` are patterns of its runs.

    Its runs take their full schedule, and are evaluated less often than single runs: nothing ends at an evaluation.
    """
    config = get_config()
    config.name = name
    config.filter = arguments or "*"
    config.data.name = "cifar10"
    config.preprocess.crop = 28
    config.evaluate.every_epochs = 5.0
    config.checkpoint.every_epochs = 10.0
    return config


def analysis_config(arguments: str | None, *, kind: str, words: tuple[str, ...]) -> ConfigDict:
    """Returns an analysis of `kind` on CIFAR10's raw pixels, or with `digits` among the arguments on the digits.

    `arguments` are separated by commas, in any order; `words` are those that the file allows.
    """
    chosen = [word for word in (arguments or "").split(",") if word]
    unknown = [word for word in chosen if word not in words]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no argument of this file: choose from {', '.join(words)}")
    config = get_config()
    config.kind = kind
    config.name = "-".join([kind, *chosen])
    config.preprocess.whiten = "none"
    if "digits" not in chosen:
        config.data.name = "cifar10"
    return config


def imagenet_config(arguments: str | None, *, name: str) -> ConfigDict:
    """Returns Inception V3's protocol for ImageNet, without `cells` yet; `arguments` as in `table_config`.

    The paper trains with the usual set-up and does not spell it out: this is that of Szegedy et al. (2016), with the
    batches of their 50 machines taken together. Images are stored at 342 pixels, so that evaluation's centre crop to
    299 leaves the central 87.5%.
    """
    config = table_config(arguments, name=name)
    config.data.name = "imagenet2012"
    config.data.test_split = "validation"
    config.data.image_size = 342
    config.data.feed = "streamed"
    config.preprocess.crop = 299
    config.preprocess.whiten = "symmetric"
    config.optimizer.name = "rmsprop"
    config.optimizer.epsilon = 1.0
    config.optimizer.decay_factor = 0.94
    config.optimizer.decay_every = 2.0
    config.train.batch_size = 1600
    config.evaluate.batch_size = 256
    config.evaluate.every_epochs = 1.0
    config.checkpoint.every_epochs = 1.0
    return config


def cell(name: str, *changes: dict) -> tuple:
    """Returns a cell: a model of `CELL_MODELS` with what it brings, and changes of further fields."""
    model, brings = CELL_MODELS[name]
    fields = {"model.name": model, **brings}
    for change in changes:
        fields.update(change)
    return tuple(fields.items())


def fitted_config(arguments: str | None, *, name: str) -> ConfigDict:
    """Returns a run on data of any size, at a constant rate until all are fitted; `arguments` as in `apply_arguments`.

    With few steps an epoch, x0.95 an epoch would end learning long before random labels are fitted.
    """
    config = get_config()
    config.name = name
    apply_arguments(config, arguments, model="mlp_1x512")
    config.optimizer.schedule = "constant"
    config.stop.train_accuracy = 1.0
    return config


def digits_config(arguments: str | None, *, name: str) -> ConfigDict:
    """Returns the embedded digits, trained until all are fitted; `arguments` as in `apply_arguments`."""
    config = fitted_config(arguments, name=name)
    config.optimizer.learning_rate = 0.1
    return config


def apply_arguments(config: ConfigDict, arguments: str | None, *, model: str) -> ConfigDict:
    """Applies `MODEL,smoke` in any order: sets the model with what it brings (`MODELS`), and shortens the run."""
    words = [word for word in (arguments or "").split(",") if word]
    names = [word for word in words if word != "smoke"] or [model]
    if len(names) > 1:
        raise ValueError(f"one model at most after the colon, and 'smoke'; given: '{arguments}'")
    config.model.name = names[0]
    for field, value in MODELS.get(names[0], {}).items():
        section, name = field.split(".")
        config[section][name] = value
    config.name += f"-{names[0].replace(':', '.')}"  # an override of model.name replaces this word
    if "smoke" in words:
        config.name += "-smoke"
        config.data.train_examples = 512
        config.train.total_epochs = 3.0
        config.log.every_steps = 1
        config.checkpoint.every_epochs = 1.0
    return config


def is_number(word: str) -> bool:
    """Returns whether an argument is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True
