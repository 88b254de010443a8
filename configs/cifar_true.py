"""CIFAR10 with its true labels: the baseline of every randomization test.

    python main.py --config=configs/cifar_true.py

Time: 7 minutes for 50 epochs of mlp_1x512 on 2 cores (Intel Xeon), shared with other work; the default runs 100.
Expect: 100% train accuracy and 53% on test for mlp_3x512; 51% for mlp_1x512.
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.paper_config(arguments, name="cifar_true", model="mlp_3x512")
    return config
