"""Runs one experiment, or many: what does a network learn when the data says nothing?

  python main.py                                              random labels on digits: seconds
  python main.py --config=configs/cifar_random.py             random labels on CIFAR10 (downloaded)
  python main.py --config=configs/cifar_random.py:mlp_1x512   ... with another model
  python main.py --config=configs/cifar_random.py:smoke       ... a run of seconds
  python main.py --config=cifar_random:smoke                  ... by its name, from any directory
  python main.py --config=configs/cifar_partial.py:0.4        ... 40% of the labels resampled
  python main.py --config=configs/own.py --config.data.name=folder:data/pets
                                                              your own data; own.py:random
  python main.py --config=configs/paper/table1.py             a table, beside the paper's
  python main.py --config=configs/paper/table1.py:'mlp_*'     ... those that match
  python main.py --config=configs/paper/theorem1.py           theorem 1; also linear, capacity
  python main.py --config=configs/paper/all.py                all of the paper on digits, in minutes
  python main.py --config=configs/paper/all.py:cpu            ... on CIFAR10; all.py:full in full
  python main.py --config.axes='corruption.label_probability=0.0,0.5,1.0'
                                                              a sweep over any field, and its figure
  python main.py --config=configs/paper/table1.py --config.executor=processes --config.jobs=2
                                                              two runs at a time; ray: on a cluster

Fields that are set most often (all of them are below the flags):
  --config.seed=1                        everything random
  --config.corruption.seed=0             labels and pixels alone: the same for every seed
  --config.data.dir=DIR                  where prepared TFDS sets are
  --config.data.train_examples=5000      a fixed subset; data.test_examples=1000: of the test set
  --config.corruption.labels=uniform     or symmetric, pair_flip, asymmetric, instance, matrix:FILE,
                                         file:FILE, none
  --config.corruption.label_probability=0.5
  --config.corruption.pixels=gaussian    or shuffled_pixels, random_pixels, none
  --config.model.name=my_net:MyNet       a Linen module of your own
  --config.model.kwargs.width=64         a field of the model's class
  --config.optimizer.learning_rate=0.1
  --config.train.batch_size=128          over all devices
  --config.train.total_epochs=100.0
  --config.stop.train_accuracy=1.0       end when all is fitted; 0 runs the full schedule

The same command a second time resumes the run, or reports that it has ended. SIGTERM, SIGHUP (a
closed terminal) and Ctrl-C save it first; a second signal does not wait. Exit code: 0 done, 1 a
failure (of a sweep: some runs failed), 2 a mistake in the command, 3 diverged (of a sweep: some
runs did, and none failed), 75 another process of the run was lost, 129, 130 or 143 interrupted by
SIGHUP, Ctrl-C or SIGTERM.
"""

import dataclasses
import functools
import sys

from absl import app, flags

from rethink.schema import flags as command_line
from rethink.schema import grid, validation
from rethink.schema.errors import exit_on_mistake, import_jax


def launch() -> None:
    """Reads the flags and runs the experiment; a user's mistake ends in one line and exit code 2."""
    with exit_on_mistake():
        import_jax()  # and what imports it
        from rethink.experiment.run import Launch, read_processes, read_step_range, run_experiment
        from rethink.sweeps.executors.tasks import RunFunctions
        from rethink.sweeps.reproduce import run_sweep_or_suite
        from rethink.sweeps.run import init_distributed

        command_line.configure_logging()
        config, rest = command_line.define_config(command_line.read_words(sys.argv[1:]))
        workdir = flags.DEFINE_string("workdir", None, "Directory of the run. Default: runs/NAME-HASH, by the config.")
        profile = flags.DEFINE_string("profile_steps", None, "FIRST,LAST: writes a profiler's trace of these steps.")
        coordinator = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first of several processes.")
        count = flags.DEFINE_integer("num_processes", None, "How many processes share the run.")
        index = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
        command_line.show_help(rest, __doc__)

        def main(arguments: list[str]) -> int:
            command_line.refuse_arguments(arguments)
            processes = read_processes(coordinator.value, count.value, index.value)
            launched = Launch(processes, read_step_range(profile.value))
            overridden = command_line.overridden_fields()
            folder = workdir.value or f"runs/{config.value.name}-{validation.digest(config.value, overridden)}"
            if config.value.experiments or validation.is_sweep(config.value):
                quiet = dataclasses.replace(launched, quiet=True)
                run_one = functools.partial(run_experiment, launch=quiet)
                functions = RunFunctions(run_one, init_distributed(config.value, launched))
                return run_sweep_or_suite(config.value, overridden, folder, functions)
            grid.check_overrides_matter({"": config.value}, overridden)
            return run_experiment(config.value, folder, launched)

        app.run(main, [sys.argv[0], *rest], flags_parser=command_line.parse_flags)


if __name__ == "__main__":
    launch()
