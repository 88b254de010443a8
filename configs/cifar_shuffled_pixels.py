"""CIFAR10 with true labels and one permutation of the pixels for all images.

    python main.py --config=configs/cifar_shuffled_pixels.py

Time: 4 minutes for 19 epochs on 2 cores (Intel Xeon), shared with other work.
Expect: 100% train accuracy; on test as with the true pixels, since an MLP has no notion of neighbours.
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.paper_config(arguments, name="cifar_shuffled_pixels", model="mlp_3x512")
    config.corruption.pixels = "shuffled_pixels"
    config.stop.train_accuracy = 1.0
    return config
