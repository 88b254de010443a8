"""Figures 1b and 1c: steps to fit, and test error after that, against the probability that a label is resampled.

    python main.py --config=configs/paper/figure1bc.py                            # 4 networks at 6 levels
    python main.py --config=configs/paper/figure1bc.py:'mlp_*' --config.seeds=3
    python main.py --config=configs/paper/figure1bc.py --config.axes='corruption.label_probability=0.0,0.1,0.3,1.0'

Time: an MLP's run 6 to 10 minutes on 2 cores (AMD EPYC); by their speed there, with --config.hardware.cpu_devices=2,
AlexNet 1.5 hours, Inception 15: these want a GPU or TPU, or a subset (--config.data.train_examples=5000).
Expect: figures/label_corruption.png, .pdf and .csv in the directory of the figure. Steps to fit grow with p, up to
some 4 times those at p = 0; the test error rises to 90%. The paper has Inception, AlexNet and the MLP 1x512.
"""

from rethink.configs import base

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def get_config(arguments=None):
    config = base.table_config(arguments, name="figure1bc")
    config.corruption.labels = "uniform"
    config.axes = "corruption.label_probability=" + ",".join(map(str, LEVELS))
    config.figure = "label_corruption"
    config.evaluate.every_epochs = 1.0
    for model in ("inception", "alexnet", "mlp_1x512", "mlp_3x512"):
        config.cells[model] = base.cell(model)
    return config
