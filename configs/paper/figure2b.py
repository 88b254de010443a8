"""Figure 2b: batch norm as an implicit regularizer. The small Inception with and without it, test accuracy by steps.

    python main.py --config=configs/paper/figure2b.py

Time: 15 hours a cell on 2 cores (AMD EPYC), by its speed there: it wants a GPU or TPU, or a subset
(--config.data.train_examples=1000 --config.evaluate.every_epochs=5.0).
Expect: figures/best_so_far.png and .pdf in the directory of the figure: with batch norm the curve is higher and
smoother, and stopping early gains next to nothing.
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.table_config(arguments, name="figure2b")
    config.evaluate.every_epochs = 1.0
    for name in ("inception", "inception_no_bn"):
        config.cells[name] = base.cell(name)
    return config
