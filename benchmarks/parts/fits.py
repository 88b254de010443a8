"""Times how long mlp_3x512 takes to fit random labels: ours, resident on one device, and tuned PyTorch's.

A fit ends when the train accuracy over all examples, evaluated at the start and after each epoch together with that of
the test set, reaches `fit_accuracy`.
"""

import contextlib

from benchmarks import rows, workers
from benchmarks.parts import data
from benchmarks.parts.settings import Settings, learning_rate
from rethink.data.parallel import count_cores

MODEL = "mlp_3x512"


def fits(settings: Settings) -> list[rows.Row]:
    """Returns the seconds and the epochs of a fit, and the ratio of seconds; functions are compiled before."""
    shared = {"model": MODEL, "accuracy": settings.fit_accuracy}
    ours = {"data_dir": settings.data_dir, "examples": settings.examples}
    with contextlib.ExitStack() as stack:
        started = {"ours": stack.enter_context(workers.worker("benchmarks.ours.training", **shared, **ours))}
        if settings.peers:
            options = {"folder": data.copied(settings), "threads": count_cores(), "learning_rate": learning_rate(MODEL)}
            started["PyTorch, tuned"] = stack.enter_context(
                workers.worker("benchmarks.peers.tuned", **shared, **options)
            )
        measures = {name: lambda of=of: of.ask("fit", most_epochs=settings.fit_epochs) for name, of in started.items()}
        repeats = rows.take_turns(measures, settings.repeats)
    seconds = {name: [repeat["seconds"] for repeat in of] for name, of in repeats.items()}
    found = []
    for name, of in repeats.items():
        what = f"{MODEL}: {settings.examples:,} random labels to {settings.fit_accuracy:.4g} train accuracy"
        if not all(repeat["reached"] for repeat in of):
            what += f", NOT REACHED in {settings.fit_epochs} epochs"
        accuracies = [repeat["accuracy"] for repeat in of]
        found.append(rows.row(what, name, "s", seconds[name], seconds=seconds[name], accuracies=accuracies))
        found.append(rows.row(f"{MODEL}: epochs of it", name, "epochs", [repeat["epochs"] for repeat in of]))
    if len(seconds) == 2:
        found.append(rows.ratio_row(f"{MODEL}: seconds of a fit", "PyTorch, tuned / ours", *reversed(seconds.values())))
    return found
