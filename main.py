"""Runs one experiment of the laboratory: what does a network learn when the data says nothing?

  python main.py                                              random labels on digits, no download, seconds
  python main.py --config=configs/cifar_random.py             random labels on CIFAR10 (downloaded on first use)
  python main.py --config=configs/cifar_random.py:mlp_1x512   ... with another model
  python main.py --config=configs/cifar_random.py:smoke       ... a run of seconds
  python main.py --config=configs/cifar_partial.py:0.4        ... 40% of the labels redrawn

Fields that matter (all of them, with their defaults: configs/base.py):
  --config.seed=1                        everything random
  --config.data.dir=DIR                  where prepared TFDS sets are
  --config.data.train_examples=5000      a fixed subset
  --config.corruption.labels=uniform     or symmetric, none
  --config.corruption.label_probability=0.5
  --config.corruption.pixels=gaussian    or shuffled_pixels, random_pixels, none
  --config.model.name=my.module:MyNet    a Linen module of your own
  --config.optimizer.learning_rate=0.1
  --config.train.batch_size=128          over all devices
  --config.train.total_epochs=100.0
  --config.stop.train_accuracy=1.0       end when all is fitted; 0 runs the full schedule

A second launch of the same command resumes the run, or says that it has ended. Exit status: 0 done, 1 or 2 a mistake
in the command, 3 diverged, 130 interrupted.
"""

import logging
import pathlib
import sys

import absl.logging
from absl import app, flags
from ml_collections import config_flags

from rethink import experiment, settings

_DEFAULT = pathlib.Path(__file__).parent / "configs" / "digits_random.py"
_CONFIG = config_flags.DEFINE_config_file("config", str(_DEFAULT), "Config file, with its arguments after a colon.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run. Default: runs/NAME-HASH, by the config.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise settings.UserError(f"'{argv[1]}' is not a flag: did you mean --config={argv[1]}?")
    config = _CONFIG.value
    sys.exit(experiment.run(config, _WORKDIR.value or f"runs/{config.name}-{settings.digest(config)}"))


def launch() -> None:
    """Runs `main`; a user's mistake ends in one line and exit status 2."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("rethink").setLevel(logging.INFO)
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        app.run(main, flags_parser=app.parse_flags_with_usage)
    except settings.UserError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    launch()
