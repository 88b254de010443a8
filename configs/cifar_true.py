"""CIFAR10 with its true labels: the baseline of every randomization test.

    python main.py --config=configs/cifar_true.py

Time: not measured yet.
Expect: 100% train accuracy and 53% on test for mlp_3x512; 51% for mlp_1x512.
"""

from configs import base


def get_config(arguments=None):
    config = base.paper_config(arguments, name="cifar_true", model="mlp_3x512")
    return config
