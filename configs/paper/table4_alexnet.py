"""AlexNet on random labels of CIFAR10 against the coefficient of weight decay, which the paper does not state.

    python main.py --config=configs/paper/table4_alexnet.py

Time: 1.5 hours a cell on 2 cores (AMD EPYC) with --config.hardware.cpu_devices=2, by its speed there; shorter on a GPU
or TPU, or on a subset (--config.data.train_examples=5000).
Expect: the larger the coefficient, the fewer labels are fitted; with the paper's, AlexNet failed to converge (table 4).
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.table_config(arguments, name="table4_alexnet")
    config.corruption.labels = "uniform"
    for coefficient in ("1e-4", "5e-4", "4e-3"):
        decay = {"weight_decay.kind": "l2", "weight_decay.coefficient": float(coefficient)}
        config.cells[f"alexnet-wd-{coefficient}"] = base.cell("alexnet", decay)
    return config
