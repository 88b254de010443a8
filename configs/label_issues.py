"""Which labels of a data set are wrong, and how many: an audit that is calibrated by labels flipped on purpose.

    python main.py --config=configs/label_issues.py --config.data.name=folder:data/pets
    python main.py --config=configs/label_issues.py:digits
    python main.py --config=configs/label_issues.py:mnist       # or cifar10; another network: mnist,alexnet

Two networks are trained. Only training examples are judged, never test examples.

Time: digits 15 to 35 s on 2 cores (AMD EPYC), shared with other work.
Expect: the number of wrong labels with its interval; label_issues.csv, the most suspicious first.
"""

from ml_collections.config_dict import required_placeholder

from rethink.configs import base

SETS = ("digits", "mnist", "cifar10")


def get_config(arguments=None):
    words = (arguments or "").split(",")
    data = next((word for word in words if word in SETS), "")
    rest = ",".join(word for word in words if word not in SETS)
    config = base.get_config()
    config.kind = "label_issues"
    config.name = "label_issues" + (f"-{data}" if data else "-data")
    config.data.name = data or required_placeholder(str)
    config.preprocess.whiten = "auto"
    config.optimizer.schedule = "constant"
    config.train.total_epochs = 20.0
    config.log.tensorboard = False
    config.checkpoint.every_epochs = 10.0
    base.apply_arguments(config, rest, model="mlp_3x512")
    if config.model.name.startswith("mlp_"):
        config.optimizer.learning_rate = 0.02
    config.train.batch_size = 32 if data in ("", "digits") else 128
    return config
