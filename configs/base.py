"""Every field of a training run, with its default and its unit. The variants beside this file change a few.

Override any of them on the command line: `python main.py --config=configs/cifar_random.py --config.seed=1`.
A variant takes arguments after a colon, separated by commas: a model, `smoke` for a run of seconds, and what the
variant names itself: `--config=configs/cifar_random.py:mlp_1x512,smoke`.
"""

from ml_collections import ConfigDict

# What a model's name brings with it: the paper's initial learning rate (appendix A) and batch norm. The paper's MLPs
# and AlexNet have none, its Inception has one that shifts and does not scale. Wide ResNets are not in the paper.
MODELS = {
    "mlp_1x512": {"optimizer.learning_rate": 0.01},
    "mlp_3x512": {"optimizer.learning_rate": 0.01},
    "alexnet": {"optimizer.learning_rate": 0.01},
    "inception": {"optimizer.learning_rate": 0.1, "batch_norm.kind": "across_devices"},
    "wide_resnet": {
        "optimizer.learning_rate": 0.1,
        "batch_norm.kind": "across_devices",
        "batch_norm.scale": True,
    },
}


def get_config() -> ConfigDict:
    """Returns the schema: every field there is, with its default."""
    config = ConfigDict()
    config.kind = "train"  # what the experiment is; see KINDS in rethink/experiment.py
    config.name = "base"  # names the default workdir: runs/NAME-HASH, the hash taken from the config
    config.seed = 0  # of everything that is random, 0 <= seed < 2**32; each use has a named stream of its own

    config.data = ConfigDict()
    config.data.name = "digits"  # "digits" (embedded) or a TFDS image classification set
    config.data.dir = ""  # directory of prepared TFDS sets; "" is TFDS's own (~/tensorflow_datasets)
    config.data.cache_dir = "~/.cache/rethink"  # decoded images, checksummed
    config.data.train_split = "train"  # TFDS split
    config.data.test_split = "test"  # TFDS split; "validation" for imagenet2012
    config.data.train_examples = 0  # train on a fixed subset of this many; 0 for all. Smaller ones are nested in larger
    config.data.split_seed = 0  # which subset, and which digits are for testing; not changed by `seed`
    config.data.test_fraction = 0.2  # of the embedded digits; TFDS sets bring their own test split
    config.data.image_size = 0  # stored images: shorter side resized to this, then centre-cropped square; 0 as they are
    config.data.feed = "auto"  # "resident" (in device memory), "streamed" (read as needed), "auto" (by size)
    config.data.resident_limit_gib = 4.0  # "auto" streams what is larger, as uint8
    config.data.workers = 2  # processes that decode for a streamed feed; 0 decodes in this one
    config.data.remainder = "wrap"  # last batch of an epoch: "wrap" (completed from the epoch's first) or "drop"

    config.corruption = ConfigDict()
    config.corruption.labels = "none"  # "none", "uniform" (redraw over all classes, as the paper), "symmetric"
    config.corruption.label_probability = 1.0  # a label is redrawn with this probability
    config.corruption.pixels = "none"  # "none", "shuffled_pixels", "random_pixels", "gaussian"
    config.corruption.channels_together = True  # the channels of a pixel move together
    config.corruption.test_labels = False  # corrupt the test labels as well (the paper does not)

    config.preprocess = ConfigDict()
    config.preprocess.crop = 0  # centre crop to this many pixels a side; 0 for none
    config.preprocess.whiten = "per_image"  # "per_image" or "none"

    config.model = ConfigDict()
    config.model.name = "mlp_1x512"  # a name of rethink/models, or package.module:ClassName of your own
    config.model.init = "lecun_normal"  # kernels: "lecun_normal", "he_normal", "glorot_uniform"
    config.model.kwargs = ConfigDict()  # further constructor arguments of the model, set in a config file

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
    config.optimizer.nesterov = False
    config.optimizer.schedule = "exponential"  # "exponential", "cosine", "constant"
    config.optimizer.decay_factor = 0.95  # "exponential": the rate is multiplied by this ...
    config.optimizer.decay_every = 1.0  # ... once in this many ...
    config.optimizer.decay_unit = "epochs"  # ... "epochs" or "steps"

    config.train = ConfigDict()
    config.train.batch_size = 128  # global, over all devices
    config.train.total_epochs = 100.0
    config.train.steps_per_call = 0  # steps in one dispatch; 0 is 1 on CPU and 32 elsewhere

    config.stop = ConfigDict()
    config.stop.train_accuracy = 0.0  # end when train accuracy reaches this (1.0: all fitted); 0 runs the full schedule

    config.evaluate = ConfigDict()
    config.evaluate.every_epochs = 1.0
    config.evaluate.batch_size = 1000  # global; rounded up to a multiple of the devices

    config.log = ConfigDict()
    config.log.every_steps = 50  # steps that a training row of metrics.jsonl averages over
    config.log.tensorboard = True  # TensorBoard event files of the same rows
    config.log.patience_hours = 2.0  # a run that will take longer says so, and what to choose instead

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 5.0
    config.checkpoint.keep = 2  # newest checkpoints kept

    config.hardware = ConfigDict()
    config.hardware.cpu_devices = 1  # virtual CPU devices to split the batch over; no effect on GPU and TPU
    config.hardware.compilation_cache = "~/.cache/rethink/xla"  # compiled programs, kept between runs; "" for none
    return config


def paper_config(arguments: str | None, *, name: str, model: str) -> ConfigDict:
    """Returns the paper's protocol for CIFAR10 (appendix A); `arguments` as in `apply_arguments`."""
    config = get_config()
    config.name = name
    config.data.name = "cifar10"
    config.preprocess.crop = 28
    return apply_arguments(config, arguments, model=model)


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
