"""CIFAR10 with true labels and another permutation of the pixels for each image.

    python main.py --config=configs/cifar_random_pixels.py

Time: 2.5 minutes for 15 epochs on 2 cores (Intel Xeon), shared with other work.
Expect: 100% train accuracy; 19% on test, as the colours of an image survive.
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.paper_config(arguments, name="cifar_random_pixels", model="mlp_3x512")
    config.corruption.pixels = "random_pixels"
    config.stop.train_accuracy = 1.0
    return config
