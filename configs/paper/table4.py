"""Table 4: random labels of CIFAR10 with explicit regularizers, train accuracy. 6 cells.

    python main.py --config=configs/paper/table4.py
    python main.py --config=configs/paper/table4.py:'mlp_*'    # those that match

Time: an MLP's cell 6 to 10 minutes on 2 cores (AMD EPYC); by their speed there, with --config.hardware.cpu_devices=2,
AlexNet 1.5 hours, Inception 15, and 45 in the two cells that run longer.
Expect: the table beside the paper's, in which all but AlexNet still fit.
"""

from rethink.configs import base

DECAY = {"weight_decay.kind": "l2"}
CROP = {"augmentation.crop": "random"}
AUGMENTATION = {**CROP, "augmentation.flip": True, "augmentation.rotation": 25.0}
# The paper lets the rate fall more slowly with augmentation, over more epochs; it does not say how many.
LONGER = {"optimizer.decay_factor": 0.999, "train.total_epochs": 300.0}


def get_config(arguments=None):
    config = base.table_config(arguments, name="table4")
    config.corruption.labels = "uniform"
    for model in ("inception", "alexnet", "mlp_3x512", "mlp_1x512"):
        config.cells[f"{model}-wd"] = base.cell(model, DECAY)
    config.cells["inception-crop"] = base.cell("inception", CROP, LONGER)
    config.cells["inception-augmentation"] = base.cell("inception", AUGMENTATION, LONGER)
    return config
