"""Table 1: explicit regularizers on CIFAR10, and random labels without them. 19 cells, train and test accuracy.

    python main.py --config=configs/paper/table1.py            # all cells
    python main.py --config=configs/paper/table1.py:'mlp_*'    # those that match, patterns separated by commas

Time: an MLP's cell 6 to 10 minutes on 2 cores (AMD EPYC); by their speed there, with --config.hardware.cpu_devices=2,
AlexNet 1.5 hours, Inception 15: these want a GPU or TPU, or a subset (--config.data.train_examples=5000).
Expect: the table beside the paper's, and whether the paper's orderings hold.
"""

from rethink.configs import base

CROP = {"augmentation.crop": "random"}  # a 28x28 window of the 32x32 image; evaluation sees the centre
DECAY = {"weight_decay.kind": "l2"}  # at base.py's coefficient: the paper does not state its own
RANDOM = {"corruption.labels": "uniform"}


def get_config(arguments=None):
    config = base.table_config(arguments, name="table1")
    plain = {"wd": (DECAY,), "none": (), "random": (RANDOM,)}
    cropped = {"crop-wd": (CROP, DECAY), "crop": (CROP,), **plain}
    for name, conditions in {
        "inception": cropped,
        "inception_no_bn": plain,
        "alexnet": cropped,
        "mlp_3x512": plain,
        "mlp_1x512": plain,
    }.items():
        for condition, changes in conditions.items():
            config.cells[f"{name}-{condition}"] = base.cell(name, *changes)
    return config
