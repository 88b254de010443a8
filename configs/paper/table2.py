"""Table 2: Inception V3 on ImageNet, true and random labels, with and without explicit regularizers. 7 cells.

    python main.py --config=configs/paper/table2.py                # all cells
    python main.py --config=configs/paper/table2.py:'random-*'     # those that match, patterns separated by commas

ImageNet must be prepared by TFDS, as array_record (see README). It is streamed; memory does not grow with it.

Time: made for TPU pods and GPU machines; days on one GPU.
Expect: the table beside the paper's, top-1 and top-5, with the best test accuracy on the way (an oracle).
"""

from rethink.configs import base

# Szegedy et al. (2015, 2016), at the strengths of the networks that they published.
AUGMENTATION = {
    "augmentation.crop": "inception",
    "augmentation.flip": True,
    "augmentation.brightness": 32 / 255,
    "augmentation.contrast": 0.5,
    "augmentation.saturation": 0.5,
    "augmentation.hue": 0.2,
}
DROPOUT = {"dropout.rate": 0.2}
DECAY = {"weight_decay.kind": "l2", "weight_decay.coefficient": 4e-5}
RANDOM = {"corruption.labels": "uniform"}


def get_config(arguments=None):
    config = base.imagenet_config(arguments, name="table2")
    for condition, changes in {
        "true-aug-dropout-wd": (AUGMENTATION, DROPOUT, DECAY),
        "true-aug": (AUGMENTATION,),
        "true-wd": (DECAY,),
        "true-none": (),
        "random-dropout-wd": (RANDOM, DROPOUT, DECAY),
        "random-wd": (RANDOM, DECAY),
        "random-none": (RANDOM,),
    }.items():
        config.cells[condition] = base.cell("inception_v3", *changes)
    return config
