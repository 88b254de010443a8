"""Random labels on handwritten digits that ship with scikit-learn: no download.

    python main.py

Time: not measured yet.
Expect: 100% train accuracy on labels that mean nothing, test accuracy at chance (10%).
"""

from configs import base


def get_config(arguments=None):
    config = base.get_config()
    config.name = "digits_random"
    config = base.apply_arguments(config, arguments, model="mlp_1x512")
    config.corruption.labels = "uniform"
    # A set of 12 steps an epoch needs hundreds of epochs at a rate that stays: x0.95 an epoch would end learning first.
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "constant"
    config.stop.train_accuracy = 1.0
    return config
