"""How fast is an epoch, what does evaluation cost, and what does all that is around a step?

The limit that hardware sets is measured by limits.py.

An epoch is a whole one of random labels, as a run makes it: feed, corruption, steps, metrics, records and screen, but
for checkpoints. The corruption is the resident feed's, done once, or the streamed feed's, in each step.
"""

import contextlib
from typing import Any

from benchmarks import architectures, rows, workers
from benchmarks.parts import data
from benchmarks.parts.settings import Settings, learning_rate
from rethink.data.parallel import count_cores


def epochs(settings: Settings) -> list[rows.Row]:
    """Returns images/s of an epoch for each model, feed and number of devices, and of the peers, with ratios."""
    found = []
    for model in settings.models:
        with contextlib.ExitStack() as stack:
            started = {
                name: stack.enter_context(workers.worker(module, model=model, **options))
                for name, (module, options) in _variants(settings, model).items()
            }
            measures = {name: lambda of=of: of.ask("epoch") for name, of in started.items()}
            repeats = rows.take_turns(measures, settings.repeats)
        found += _rows(settings, model, repeats)
    return found


def _variants(settings: Settings, model: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns who trains a model, name -> (module of a worker, options)."""
    ours = {"data_dir": settings.data_dir, "examples": settings.examples}
    found: dict[str, tuple[str, dict[str, Any]]] = {
        f"ours, resident, {devices} device(s)": ("benchmarks.ours.training", {**ours, "devices": devices})
        for devices in settings.devices
    }
    if model in architectures.MLPS:
        found["ours, streamed"] = ("benchmarks.ours.training", {**ours, "feed": "streamed"})
    for style in settings.peers:
        options = {"folder": data.copied(settings), "threads": count_cores(), "learning_rate": learning_rate(model)}
        found[f"PyTorch, {style}"] = (f"benchmarks.peers.{style}", options)
    return found


def _rows(settings: Settings, model: str, repeats: dict[str, list[dict[str, Any]]]) -> list[rows.Row]:
    """Returns the rows of a model: each variant's, and the ratios of the fastest of ours to the peers'."""
    found = []
    for name, of in repeats.items():
        facts = {key: of[-1][key] for key in ("peak_mib", "choice", "trials") if key in of[-1]}
        by = f"{name} ({facts['choice']})" if "choice" in facts else name
        found.append(rows.rate_row(f"{model}: an epoch", by, of, model=model, **facts))
    rates = {name: [repeat["images"] / repeat["seconds"] for repeat in of] for name, of in repeats.items()}
    ours = {name: row["median"] for name, row in zip(repeats, found, strict=True) if name.startswith("ours, resident")}
    best = max(ours, key=ours.__getitem__)
    for style in settings.peers:
        peer = f"PyTorch, {style}"
        found.append(rows.ratio_row(f"{model}: an epoch, images/s", f"{best} / {peer}", rates[best], rates[peer]))
    return found


def around(settings: Settings) -> list[rows.Row]:
    """Returns, of each model resident on one device: images/s of evaluation and their ratio to training's, and the
    share of an epoch that is not its steps (records, progress, logging, fetching of metrics)."""
    found = []
    for model in settings.models:
        options = {"model": model, "data_dir": settings.data_dir, "examples": settings.examples}
        with workers.worker("benchmarks.ours.training", **options) as ours:
            measures = {name: lambda name=name: ours.ask(name) for name in ("epoch", "steps", "evaluation")}
            repeats = rows.take_turns(measures, settings.repeats)
        seconds = {name: [repeat["seconds"] for repeat in of] for name, of in repeats.items()}
        evaluated = [of["images"] / of["seconds"] for of in repeats["evaluation"]]
        trained = [of["images"] / of["seconds"] for of in repeats["epoch"]]
        shares = [100 * (1 - steps / whole) for whole, steps in zip(seconds["epoch"], seconds["steps"], strict=True)]
        found += [
            rows.rate_row(f"{model}: an epoch", "ours", repeats["epoch"], model=model),
            rows.rate_row(f"{model}: its steps alone", "ours", repeats["steps"], model=model),
            rows.rate_row(f"{model}: evaluation", "ours", repeats["evaluation"], model=model),
            rows.ratio_row(f"{model}: evaluation / training, images/s", "ours", evaluated, trained),
            rows.row(f"{model}: share of an epoch around its steps", "ours", "%", shares, model=model),
        ]
    return found
