"""Figure 1a: the training loss against steps under five conditions, from true labels to Gaussian noise.

    python main.py --config=configs/paper/figure1a.py              # the paper's small Inception
    python main.py --config=configs/paper/figure1a.py:mlp_3x512    # another network

Time: mlp_3x512 8 minutes a condition on 2 cores (AMD EPYC); inception 15 hours, by its speed there: it wants a GPU or
TPU, or a subset (--config.data.train_examples=1000 --config.optimizer.decay_unit=steps
--config.optimizer.decay_every=391.0).
Expect: figures/loss_curves.png, .pdf and .csv in the directory of the figure: all are fitted; Gaussian noise and random
pixels sooner than random labels.
"""

from rethink.configs import base

CONDITIONS = {
    "true": {},
    "random": {"corruption.labels": "uniform"},
    "shuffled_pixels": {"corruption.pixels": "shuffled_pixels"},
    "random_pixels": {"corruption.pixels": "random_pixels"},
    "gaussian": {"corruption.pixels": "gaussian"},
}


def get_config(arguments=None):
    model = arguments or "inception"
    if model not in base.CELL_MODELS:
        raise ValueError(f"'{model}' is no network of this file: choose from {', '.join(base.CELL_MODELS)}")
    config = base.table_config(None, name="figure1a" if model == "inception" else f"figure1a-{model}")
    config.figure = "loss_curves"
    for condition, changes in CONDITIONS.items():
        config.cells[condition] = base.cell(model, changes)
    return config
