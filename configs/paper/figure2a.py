"""Figure 2a: what early stopping could gain. Train and test accuracy against steps, the best so far shaded.

    python main.py --config=configs/paper/figure2a.py            # Inception V3 on ImageNet, three cells of table 2
    python main.py --config=configs/paper/figure2a.py:cifar10    # the same picture for CIFAR10
    python main.py --config=configs/paper/figure2a.py:cifar10 --config.filter=mlp_3x512

Time: ImageNet as table2.py; mlp_3x512 on CIFAR10 10 minutes on 2 cores (AMD EPYC), inception 15 hours.
Expect: figures/best_so_far.png and .pdf in the directory of the figure, the gain printed.
"""

from rethink.configs import base
from rethink.configs.paper import table2


def get_config(arguments=None):
    if arguments == "cifar10":
        config = base.table_config(None, name="figure2a-cifar10")
        config.evaluate.every_epochs = 1.0
        for name in ("mlp_3x512", "inception"):
            config.cells[name] = base.cell(name)
        return config
    config = base.imagenet_config(arguments, name="figure2a")
    regularized = (table2.AUGMENTATION, table2.DROPOUT, table2.DECAY)
    for condition, changes in {"aug-dropout-wd": regularized, "wd": (table2.DECAY,), "none": ()}.items():
        config.cells[condition] = base.cell("inception_v3", *changes)
    return config
