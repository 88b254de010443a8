"""CIFAR10 with part of the labels resampled: the argument is the probability, 0.5 without one.

    python main.py --config=configs/cifar_partial.py:0.4
    python main.py --config=configs/cifar_partial.py:0.4,mlp_1x512

Time: 8 minutes for 38 epochs on 2 cores (Intel Xeon), shared with other work.
Expect: 100% train accuracy; test accuracy falls from 53% to 10% as the fraction grows.
"""

from rethink.configs import base


def get_config(arguments=None):
    words = (arguments or "0.5").split(",")
    fractions = [word for word in words if base.is_number(word)]
    if len(fractions) > 1:
        raise ValueError(f"one fraction at most after the colon; given: '{arguments}'")
    fraction = float(fractions[0]) if fractions else 0.5
    rest = ",".join(word for word in words if word not in fractions)
    config = base.paper_config(rest, name=f"cifar_partial-{fraction:g}", model="mlp_3x512")
    config.corruption.labels = "uniform"
    config.corruption.label_probability = fraction
    config.stop.train_accuracy = 1.0
    return config
