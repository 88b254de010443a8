"""Handwritten digits that ship with scikit-learn, true labels: the baseline of digits_random.

    python main.py --config=configs/digits_true.py

Time: not measured; as digits_random.
Expect: 100% train accuracy, about 98% on test.
"""

from rethink.configs import base


def get_config(arguments=None):
    config = base.digits_config(arguments, name="digits_true")
    return config
