"""Measures the limit: the time of a step's own matrix products, run alone by the faster of the two libraries.

What is no matrix product does not count. The products, and the formula of their operations, stand in
architectures.py: forward, gradients of weights, gradients of activations, none with respect to the images;
convolutions as the matrix products of their windows laid out in rows (im2col), without the laying out, a slice of the
batch at a time so that it is not memory that limits. For convolutional networks this is a measure, not a bound.
"""

import contextlib

from benchmarks import architectures, rows, workers
from benchmarks.parts.settings import Settings
from rethink.data.parallel import count_cores

FORMULA = "2 x m x inputs x outputs for each product: forward, weights' and activations' gradient, none to the images"


def limits(settings: Settings) -> list[rows.Row]:
    """Returns, for each model, ms of a step's products in each library, and images/s at the faster one's pace."""
    found = []
    for model in settings.models:
        with contextlib.ExitStack() as stack:
            started = {"XLA": stack.enter_context(workers.worker("benchmarks.ours.products", model=model))}
            if settings.peers:
                options = {"model": model, "threads": count_cores()}
                started["PyTorch"] = stack.enter_context(workers.worker("benchmarks.peers.products", **options))
            measures = {name: lambda of=of: of.ask("step") for name, of in started.items()}
            repeats = rows.take_turns(measures, settings.repeats)
        flop = architectures.step_flop(model)
        facts = {"model": model, "gflop": flop / 1e9, "formula": FORMULA}
        seconds = {name: [repeat["seconds"] for repeat in of] for name, of in repeats.items()}
        what = f"{model}: a step's matrix products"
        for name, of in seconds.items():
            row = rows.row(f"{what}, {flop / 1e9:.3g} GFLOP", name, "ms", [1e3 * value for value in of], seconds=of)
            found.append({**row, **facts, "gflop_per_second": flop / 1e9 / (row["median"] / 1e3)})
        fastest = min(found[-len(seconds) :], key=lambda row: row["median"])
        at_limit = [architectures.BATCH / value for value in fastest["seconds"]]
        found.append(rows.row(f"{model}: the limit", fastest["by"], "images/s", at_limit, **facts))
    return found


def shares(measured: dict[str, list[rows.Row]]) -> list[rows.Row]:
    """Returns how much of the limit's median each epoch reaches, where both were measured."""
    limit = {row["model"]: row["median"] for row in measured.get("limits", []) if row["unit"] == "images/s"}
    return [
        rows.row(
            f"{row['model']}: share of the limit",
            row["by"],
            "%",
            [100 * value / limit[row["model"]] for value in row["values"]],
            model=row["model"],
        )
        for row in measured.get("epochs", [])
        if row["unit"] == "images/s" and row["model"] in limit
    ]
