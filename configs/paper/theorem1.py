"""Theorem 1: a two-layer ReLU network of 2n + d weights that takes every random label of CIFAR10, built, not trained.

    python main.py --config=configs/paper/theorem1.py            # all 50,000 images
    python main.py --config=configs/paper/theorem1.py:growth     # ... and up to 1,000,000 synthetic points, timed
    python main.py --config=configs/paper/theorem1.py:digits     # the embedded digits, seconds

Time: about a minute on 2 cores.
Expect: every label reproduced by a direct evaluation of the network, with the residual, the weight count and the
smallest eigenvalue (lemma 1) as its certificate; the deep and narrow networks of corollary 1.
"""

from rethink.configs import base

SIZES = (62_500, 125_000, 250_000, 500_000, 1_000_000)


def get_config(arguments=None):
    config = base.analysis_config(arguments, kind="theorem1", words=("growth", "digits"))
    config.corruption.labels = "uniform"
    if "growth" in (arguments or ""):
        config.theorem1.sizes = SIZES
    return config
