"""Section 2.2: the capacity of networks that memorize. Rademacher complexity on random signs, and classical bounds.

    python main.py --config=configs/paper/capacity.py            # mlp_1x512 on 5,000 images of CIFAR10
    python main.py --config=configs/paper/capacity.py:digits     # ... on the embedded digits

Time: 5 draws and 2 runs, 4 to 17 minutes on 2 cores (AMD EPYC); the digits 1 to 2.
Expect: a Rademacher complexity of 1 for the network, as every draw of signs is fitted, where linear classifiers in few
dimensions stay below their ceiling; bounds no better than guessing for true labels as for random ones.
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.analysis_config(arguments, kind="capacity", words=("digits",))
    config.corruption.labels = "uniform"
    config.optimizer.schedule = "constant"
    config.stop.train_accuracy = 1.0
    config.train.total_epochs = 300.0
    if "digits" in (arguments or ""):
        config.optimizer.learning_rate = 0.1
    else:
        config.data.train_examples = 5000
        config.preprocess.crop = 28
    config.preprocess.whiten = "per_image"
    return config
