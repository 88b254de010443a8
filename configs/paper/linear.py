"""Section 5: SGD from zero on a linear model finds the interpolant of least norm, here of 1,000 random labels.

    python main.py --config=configs/paper/linear.py            # random Fourier features of CIFAR10, condition 28
    python main.py --config=configs/paper/linear.py:pixels     # raw pixels, as far as their condition allows
    python main.py --config=configs/paper/linear.py:digits     # features of the embedded digits

Time: 7 minutes on 2 cores (AMD EPYC); the digits 2 minutes, as it takes one core for small products (n = 1).
Expect: the distance to the least-norm interpolant falls at the rate that the condition predicts and no iterate leaves
the span of the data; from a random start the limit keeps the part of the start outside of that span.
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.analysis_config(arguments, kind="linear", words=("pixels", "digits"))
    config.corruption.labels = "uniform"
    config.data.train_examples = 1000
    if "pixels" in (arguments or ""):
        config.linear.features = "pixels"
    return config
