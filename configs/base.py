"""Every field of a training run, with its default and its unit. The variants beside this file change a few.

Override any of them on the command line: `python main.py --config=configs/cifar_random.py --config.seed=1`.
A variant takes arguments after a colon, separated by commas: a model, `smoke` for a run of seconds, and what the
variant names itself: `--config=configs/cifar_random.py:mlp_1x512,smoke`.
"""

from ml_collections import ConfigDict

from configs import studies

# What a model's name brings with it: the paper's initial learning rate (appendix A) and batch norm. The paper's MLPs
# and AlexNet have none, its Inception has one that shifts and does not scale. Wide ResNets are not in the paper.
MODELS = {
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
CELL_MODELS = {
    **{name: (name, brings) for name, brings in MODELS.items()},
    "inception_no_bn": ("inception", {"optimizer.learning_rate": 0.003, "model.init": "he_normal"}),
}


def get_config() -> ConfigDict:
    """Returns the schema: every field there is, with its default."""
    config = ConfigDict()
    config.kind = "train"  # what the experiment is; see KINDS in rethink/experiment.py
    config.name = "base"  # letters, digits, _.+=-; names the default workdir: runs/NAME-HASH, the hash of the config
    config.cells = ConfigDict()  # of a table: cell -> the fields that it sets, ((field, value), ...); see table_config
    config.experiments = ConfigDict()  # of a reproduction: name -> a whole config, of a table, a figure or a study
    config.axes = ""  # of a sweep: "FIELD=VALUE,VALUE;FIELD=VALUE,VALUE": every combination, of each cell, is a run
    config.figure = "auto"  # of a table: a name of rethink/results/gallery.py; "auto": by the axes
    config.filter = "*"  # of a table: the runs to make, patterns separated by commas
    # Of a table: its runs "sequential" here, those of one program "vmapped" here, in "processes", or on "ray", a cluster.
    config.executor = "sequential"
    config.jobs = 0  # runs at a time; 0: "vmapped" all of a program, the others one per GPU, or per 2 cores without
    config.seeds = 1  # of a table: each cell is run with this many seeds, from `seed` on
    config.seed = 0  # of everything that is random, 0 <= seed < 2**32; each use has a named stream of its own

    config.data = ConfigDict()
    config.data.name = "digits"  # "digits" (embedded) or a TFDS image classification set
    config.data.dir = ""  # directory of prepared TFDS sets; "" is TFDS's own (~/tensorflow_datasets)
    config.data.cache_dir = "~/.cache/rethink"  # decoded images, checksummed
    config.data.train_split = "train"  # TFDS split
    config.data.test_split = "test"  # TFDS split; "validation" for imagenet2012
    config.data.train_examples = 0  # train on a fixed subset of this many; 0 for all. Smaller ones are nested in larger
    config.data.test_examples = 0  # test on a fixed subset of this many; 0 for all. Smaller ones are nested in larger
    config.data.validation_fraction = 0.0  # of the training examples, held out of training and evaluated; 0 for none
    config.data.split_seed = 0  # which subset, which are held out, which digits are for testing; not changed by `seed`
    config.data.test_fraction = 0.2  # of the embedded digits; TFDS sets bring their own test split
    config.data.classes = 0  # labels are taken modulo this many classes, such as 2 for even and odd; 0 for as they are
    config.data.image_size = 0  # stored images: shorter side resized to this, then centre-cropped square; 0 as they are
    config.data.feed = "auto"  # "resident" (in device memory), "streamed" (read as needed), "auto" (by size)
    config.data.resident_limit_gib = 4.0  # "auto" streams what is larger, as uint8
    config.data.workers = 2  # processes that decode for a streamed feed; 0 decodes in this one
    config.data.remainder = "wrap"  # last batch of an epoch: "wrap" (completed from the epoch's first) or "drop"

    config.corruption = ConfigDict()
    config.corruption.labels = "none"  # "none", "uniform" (redraw over all classes, as the paper), "symmetric"
    config.corruption.label_probability = 1.0  # a label is resampled with this probability
    config.corruption.pixels = "none"  # "none", "shuffled_pixels", "random_pixels", "gaussian"
    config.corruption.channels_together = True  # the channels of a pixel move together
    config.corruption.test_labels = False  # corrupt the test labels as well (the paper does not)

    config.preprocess = ConfigDict()
    config.preprocess.crop = 0  # centre crop to this many pixels a side; 0 for none
    config.preprocess.whiten = "per_image"  # "per_image", "symmetric" (to -1..1) or "none" (to 0..1)

    config.model = ConfigDict()
    config.model.name = "mlp_1x512"  # a name of rethink/models, or package.module:ClassName of your own
    config.model.init = "lecun_normal"  # kernels: "lecun_normal", "he_normal", "glorot_uniform"
    config.model.kwargs = ConfigDict()  # further constructor arguments of the model, set in a config file

    config.weight_decay = ConfigDict()
    config.weight_decay.kind = "none"  # "l2" (coefficient / 2 * |w|^2 in the loss), "decoupled" (of the update), "none"
    config.weight_decay.coefficient = 5e-4
    config.weight_decay.parameters = "kernels"  # "kernels" (no biases, no batch norm) or "all"

    config.dropout = ConfigDict()
    config.dropout.rate = 0.0  # of activations dropped in training
    config.dropout.place = "last"  # before the "last" linear layer, or after the "hidden" ones, where a model has them

    config.augmentation = ConfigDict()  # of training images; evaluation is never augmented
    config.augmentation.crop = "none"  # "random" (a window), "inception" (random area and aspect), "none": the centre
    config.augmentation.padding = 0  # pixels of zeros around the image before a "random" crop
    config.augmentation.flip = False  # left-right, half of the time
    config.augmentation.zoom = 0.0  # scale in 1 -+ this
    config.augmentation.rotation = 0.0  # angle in -+ this, degrees
    config.augmentation.brightness = 0.0  # added, in -+ this, images in 0..1
    config.augmentation.contrast = 0.0  # factor in 1 -+ this
    config.augmentation.saturation = 0.0  # factor in 1 -+ this
    config.augmentation.hue = 0.0  # shift in -+ this, of the colour circle

    config.early_stopping = ConfigDict()
    config.early_stopping.monitor = "none"  # "validation" (held out of train), "oracle" (the test set!), "none"
    config.early_stopping.labels = "given"  # of the validation part: "given" (corrupted as in train) or "true"
    config.early_stopping.patience = 0  # evaluations without a better one before the run ends; 0 never ends it
    config.early_stopping.min_delta = 0.0  # how much better counts, as a fraction
    config.early_stopping.restore_best = True  # the run's result is the best evaluation's, not the last one's

    config.batch_norm = ConfigDict()
    config.batch_norm.kind = "none"  # "none", "per_device", "across_devices": what its statistics are taken over
    config.batch_norm.scale = False  # the paper's parameter counts have a shift and no scale
    config.batch_norm.shift = True
    config.batch_norm.momentum = 0.9  # of the running statistics
    config.batch_norm.epsilon = 1e-3
    config.batch_norm.evaluation = "running"  # statistics in evaluation: "running" or "batch"

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # "sgd", "adam", "rmsprop"
    config.optimizer.learning_rate = 0.01  # initial
    config.optimizer.momentum = 0.9  # of sgd and rmsprop
    config.optimizer.nesterov = False  # of sgd and rmsprop
    config.optimizer.second_moment_decay = 0.9  # of the squared gradients in rmsprop; adam's is 0.999
    config.optimizer.epsilon = 1e-8  # of rmsprop and adam
    config.optimizer.schedule = "exponential"  # "exponential", "cosine", "constant"
    config.optimizer.decay_factor = 0.95  # "exponential": the rate is multiplied by this ...
    config.optimizer.decay_every = 1.0  # ... once in this many ...
    config.optimizer.decay_unit = "epochs"  # ... "epochs" or "steps"

    config.train = ConfigDict()
    config.train.batch_size = 128  # global, over all devices
    config.train.auxiliary_weight = 0.4  # of the loss of an auxiliary head, where the model has one
    config.train.total_epochs = 100.0
    config.train.precision = "float32"  # of the network's arithmetic; "bfloat16": parameters and loss stay float32
    config.train.steps_per_call = 0  # steps in one dispatch; 0: what suits the platform, at most log.every_steps

    config.stop = ConfigDict()
    config.stop.train_accuracy = 0.0  # end when train accuracy reaches this (1.0: all fitted); 0 runs the full schedule

    config.evaluate = ConfigDict()
    config.evaluate.every_epochs = 1.0
    config.evaluate.batch_size = 1000  # global; rounded up to a multiple of the devices

    config.log = ConfigDict()
    config.log.every_steps = 50  # steps that a training row of metrics.jsonl averages over, up to the end of a dispatch
    config.log.tensorboard = True  # TensorBoard event files of the same rows
    config.log.patience_hours = 2.0  # a run that will take longer says so, and what to choose instead

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 5.0
    config.checkpoint.keep = 2  # newest checkpoints kept

    studies.add_fields(config)

    config.hardware = ConfigDict()
    config.hardware.cpu_devices = 1  # virtual CPU devices to split the batch over; no effect on GPU and TPU
    config.hardware.heartbeat_timeout_seconds = 20.0  # a process of several that is silent for so long ends the others
    config.hardware.compilation_cache = "~/.cache/rethink/xla"  # compiled programs, kept between runs; "" for none
    return config


def paper_config(arguments: str | None, *, name: str, model: str) -> ConfigDict:
    """Returns the paper's protocol for CIFAR10 (appendix A); `arguments` as in `apply_arguments`."""
    config = get_config()
    config.name = name
    config.data.name = "cifar10"
    config.preprocess.crop = 28
    return apply_arguments(config, arguments, model=model)


def table_config(arguments: str | None, *, name: str) -> ConfigDict:
    """Returns the paper's protocol for CIFAR10, to be given `cells`; `arguments` are patterns of cells to run.

    Tables run their full schedule, and are evaluated less often than single runs: nothing ends at an evaluation.
    """
    config = get_config()
    config.name = name
    config.filter = arguments or "*"
    config.data.name = "cifar10"
    config.preprocess.crop = 28
    config.evaluate.every_epochs = 5.0
    config.checkpoint.every_epochs = 10.0
    return config


def study_config(arguments: str | None, *, kind: str, words: tuple[str, ...]) -> ConfigDict:
    """Returns a study of `kind` on CIFAR10's raw pixels, or with `digits` among the arguments on the embedded digits.

    `words` are the arguments that the file knows, in any order and separated by commas.
    """
    given = [word for word in (arguments or "").split(",") if word]
    unknown = [word for word in given if word not in words]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no argument of this file: choose from {', '.join(words)}")
    config = get_config()
    config.kind = kind
    config.name = "-".join([kind, *given])
    config.preprocess.whiten = "none"
    if "digits" not in given:
        config.data.name = "cifar10"
    return config


def imagenet_config(arguments: str | None, *, name: str) -> ConfigDict:
    """Returns Inception V3's protocol for ImageNet, to be given `cells`; `arguments` as in `table_config`.

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


def digits_config(arguments: str | None, *, name: str) -> ConfigDict:
    """Returns the embedded digits, trained until all are fitted; `arguments` as in `apply_arguments`."""
    config = get_config()
    config.name = name
    apply_arguments(config, arguments, model="mlp_1x512")
    # With 12 steps an epoch, x0.95 an epoch would end learning long before random labels are fitted: a constant rate.
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "constant"
    config.stop.train_accuracy = 1.0
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
    config.name += f"-{names[0].replace(':', '.')}"
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
