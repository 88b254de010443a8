"""Table 3's random convolutional net: test error against the number of random filters, which the paper has at 32,000.

    python main.py --config=configs/paper/table3_filters.py                # with and without ridge
    python main.py --config=configs/paper/table3_filters.py --config.filter='l2-*'
    python main.py --config=configs/paper/table3_filters.py --config.axes='kernel.filters=4000,32000'   # an accelerator

Time: on 2 cores (AMD EPYC) half a second a filter, and some ten minutes a run for the matrix of 50,000 images.
Expect: figures/metric_vs_field.png, .pdf and .csv in the directory of the figure: the error falls with more filters.
"""

from rethink.configs import base
from rethink.configs.paper import table3


def get_config(arguments=None):
    if arguments:
        raise ValueError(f"this file takes no argument; given: '{arguments}'. The runs are chosen by --config.filter")
    config = base.analysis_config(None, kind="kernel", words=())
    config.name = "table3_filters"
    config.kernel.features = "random_convolutions"
    config.cells.interpolant = (("kernel.ridges", (0.0,)),)
    config.cells.l2 = (("kernel.ridges", table3.RIDGES),)
    config.axes = "kernel.filters=30,100,300,1000"
    return config
