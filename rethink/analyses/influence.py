"""The analysis of memorization and influence (Feldman & Zhang, 2020), on the data and the network of a config.

It joins memorization/ to data and records: networks on random subsets, what each memorizes, which test examples it
changes.

    networks.bin         which examples each network predicts; it grows while the networks are trained
    influence.npz        tr_mem, tr_standard_error, tr_networks, tr_ids, tr_labels (as given), tr_true_labels;
                         tt_labels, tt_ids; of pairs tr_idx, tt_idx (rows of these arrays), infl, infl_standard_error
    memorization.csv     a row for each training example, the most memorized first
    influence_pairs.csv  the pairs above the threshold, the strongest first
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.analyses.analysis import Analysis, require_values
from rethink.figures.gallery import draw_gallery
from rethink.figures.memorization import draw_memorization
from rethink.memorization import influence
from rethink.memorization.detection import measure_order
from rethink.memorization.influence import Memorization, Pairs
from rethink.memorization.subset_networks import CorrectnessFile, SubsetNetworks
from rethink.schema.errors import UserError
from rethink.theory import memory
from rethink.training import allocator

HIGH = 0.25  # from which on Feldman & Zhang call an example memorized
SHOWN_PAIRS = 6


def analyze_influence(analysis: Analysis) -> dict[str, Any]:
    """Returns the summary of the run: how much is memorized, of clean and of corrupted examples, and what by.

    Raises:
      UserError: fields that have no meaning here, too little memory, or a network diverged.
    """
    config, record = analysis.config, analysis.record
    train, test = analysis.splits["train"], analysis.splits["test"]
    members = influence.count_members(config.influence.share, len(train.ids))
    check_influence_config(config, members)
    networks, examples = config.influence.networks, len(train.ids) + len(test.ids)
    memory.require_memory("The influence", 5 * networks * examples, len(train.ids), power=1)

    # Train what is not there yet, and estimate.
    correct = train_networks(analysis, members)
    masks = np.stack([influence.draw_mask(config.seed, k, train.ids, members) for k in range(networks)])
    correct_train, correct_test = np.split(correct, [len(train.ids)], axis=1)
    found = influence.estimate_memorization(masks, correct_train)
    analysis.stages.report("influence of pairs", 0, 1)
    pairs = influence.find_pairs(masks, correct_test, config.influence.pair_threshold)
    analysis.stages.report("influence of pairs", 1, 1)

    # Record.
    record.save_arrays(
        "influence",
        **{f"tr_{name}": value for name, value in zip(("mem", "standard_error", "networks"), found, strict=True)},
        **{"tr_ids": train.ids, "tr_labels": train.labels, "tr_true_labels": train.true_labels},
        **{"tt_ids": test.ids, "tt_labels": test.labels, "tr_idx": pairs.train, "tt_idx": pairs.test},
        **{"infl": pairs.influence, "infl_standard_error": pairs.standard_error},
    )
    header = ("id", "path", "given_label", "true_label", "memorization", "standard_error")
    record.save_table("memorization.csv", header, _list_examples(analysis, found))
    header = ("train_id", "test_id", "influence", "standard_error", "train_label", "test_label")
    record.save_table("influence_pairs.csv", header, _list_pairs(analysis, pairs))
    folder, is_corrupted = record.subfolder("figures"), train.labels != train.true_labels
    draw_memorization(found.value, is_corrupted, folder / "memorization", title=config.name)
    _draw_pairs(analysis, pairs)

    # Summary.
    accuracies = {
        "train_in": float(correct_train[masks].mean()),
        "train_out": float(correct_train[~masks].mean()),
        "test": float(correct_test.mean()),
    }
    summary = summarize_memorization(found, is_corrupted)
    return {
        "evaluation": {},
        "networks": networks,
        "members": members,
        "accuracies": accuracies,
        "memorization": summary,
        "pairs": {"threshold": config.influence.pair_threshold, "above": pairs.above, "below": pairs.below},
        "rows": _make_closing_rows(config, members, summary, accuracies, pairs),
    }


def check_influence_config(config: ConfigDict, members: int) -> None:
    """Checks that no field is set that has no meaning here, and that a subset has a batch.

    Raises:
      UserError: one is, or it hasn't.
    """
    require_values(
        config,
        {
            "early_stopping.monitor": "none",
            "stop.train_accuracy": 0.0,
            "data.validation_fraction": 0.0,
            "data.folds": 0,
        },
    )
    if config.train.batch_size > members:
        raise UserError(
            f"train.batch_size={config.train.batch_size} is more than the {members} examples of a subset "
            f"(influence.share={config.influence.share:g}): set --config.train.batch_size to at most {members}."
        )


def train_networks(analysis: Analysis, members: int) -> np.ndarray:
    """Returns which examples of train, and then of test, each network predicts, bool [networks, examples].

    Those of earlier launches are read, the others trained and kept as they come.

    Raises:
      UserError: the earlier ones had other data, or one diverged.
    """
    config, splits, wanted = analysis.config, analysis.splits, analysis.config.influence.networks
    parts = analysis.make_networks(members)
    kept = CorrectnessFile(
        analysis.record.path("networks.bin"),
        analysis.record.manifest["fingerprints"],
        sum(len(splits[name].ids) for name in ("train", "test")),
    )

    def draw(network: int) -> tuple[int, np.ndarray]:
        mask = influence.draw_mask(config.seed, network, splits["train"].ids, members)
        return influence.draw_network_seed(config.seed, network), np.flatnonzero(mask).astype(np.int32)

    if kept.count < wanted:
        analysis.stages.report("networks", kept.count, wanted)
        program = SubsetNetworks(parts, {name: splits[name] for name in ("train", "test")})
        with allocator.keeping_freed_memory():
            for correct in program.train(range(kept.count, wanted), draw):
                kept.append(np.concatenate([correct["train"], correct["test"]], axis=1))
                analysis.stages.report("networks", kept.count, wanted, by_minute=True)
    return kept.read(wanted)


def summarize_memorization(found: Memorization, is_corrupted: np.ndarray) -> dict[str, Any]:
    """Returns means over the examples that have an estimate, and how well it finds the corrupted ones.

    A mean over no examples is None, and so is the area under the ROC curve where all or none are corrupted.
    """
    known = ~np.isnan(found.value)
    parts = {"all": known, "clean": known & ~is_corrupted, "corrupted": known & is_corrupted}
    means = {name: float(found.value[part].mean()) if part.any() else None for name, part in parts.items()}
    order = measure_order(np.unique(found.value[known], return_inverse=True)[1], is_corrupted[known])
    return {
        "examples": {name: int(part.sum()) for name, part in parts.items()},
        "without_estimate": int((~known).sum()),
        "mean": means,
        "mean_standard_error": float(found.standard_error[known].mean()) if known.any() else None,
        "share_high": float((found.value[known] >= HIGH).mean()) if known.any() else None,
        "auroc_corrupted": order.auroc if order else None,
    }


def _list_examples(analysis: Analysis, found: Memorization) -> Iterator[tuple[Any, ...]]:
    """Yields the rows of memorization.csv; what is unknown is empty, and comes last."""
    train, dataset = analysis.splits["train"], analysis.pipeline.dataset
    paths = dataset.train.paths or [""] * len(train.ids)
    for row in np.argsort(-found.value, kind="stable"):
        labels = (dataset.class_names[label[row]] for label in (train.labels, train.true_labels))
        known = not np.isnan(found.value[row])
        numbers = (f"{values[row]:.4f}" if known else "" for values in (found.value, found.standard_error))
        yield (train.ids[row], paths[row], *labels, *numbers)


def _list_pairs(analysis: Analysis, pairs: Pairs) -> Iterator[tuple[Any, ...]]:
    """Yields the rows of influence_pairs.csv."""
    train, test, names = analysis.splits["train"], analysis.splits["test"], analysis.pipeline.dataset.class_names
    for i, j, value, error in zip(pairs.train, pairs.test, pairs.influence, pairs.standard_error, strict=True):
        labels = names[train.labels[i]], names[test.labels[j]]
        yield (train.ids[i], test.ids[j], f"{value:.4f}", f"{error:.4f}", *labels)


def _draw_pairs(analysis: Analysis, pairs: Pairs) -> None:
    """Draws the strongest pairs of different training examples, if there is any."""
    _, first = np.unique(pairs.train, return_index=True)
    chosen, names = np.sort(first)[:SHOWN_PAIRS], analysis.pipeline.dataset.class_names
    if not len(chosen):
        return
    images, captions = [], []
    for split, rows in (("train", pairs.train), ("test", pairs.test)):
        examples = analysis.splits[split].take(rows[chosen])
        (shown,) = analysis.pipeline.show_samples(examples).values()
        images.append(shown)
        captions.append([f"{split}: {names[label]}" for label in examples.labels])
    lines = [
        (train, f"influence {value:.2f}") for train, value in zip(captions[0], pairs.influence[chosen], strict=True)
    ]
    draw_gallery(
        np.stack(images, axis=1).reshape(-1, *images[0].shape[1:]),
        [caption for pair in zip(lines, [(test,) for test in captions[1]], strict=True) for caption in pair],
        analysis.record.subfolder("figures") / "influence_pairs",
        title=f"{analysis.config.name}: the strongest influences of a training on a test example",
        columns=4,
        group=2,
    )


def _make_closing_rows(
    config: ConfigDict, members: int, summary: dict[str, Any], accuracies: dict[str, float], pairs: Pairs
) -> list[tuple[str, str]]:
    """Returns the closing table, (label, value) pairs."""
    rows = [("networks", f"{config.influence.networks:,}, each on {members:,} examples")]
    labels = {"train_in": "trained on", "train_out": "not trained on", "test": "of the test set"}
    rows += [(f"mean accuracy on examples {labels[name]}", f"{100 * value:.2f}%") for name, value in accuracies.items()]
    for name, mean in summary["mean"].items():
        if mean is not None and (name == "all" or summary["mean"]["corrupted"] is not None):
            rows.append((f"mean memorization, {name} examples", f"{mean:.4f} (n={summary['examples'][name]:,})"))
    if summary["mean"]["all"] is not None:
        rows.append(("  standard error of an example's, mean", f"{summary['mean_standard_error']:.4f}"))
        rows.append((f"examples with memorization of {HIGH} or more", f"{100 * summary['share_high']:.2f}%"))
    if summary["auroc_corrupted"] is not None:
        rows.append(("AUROC of memorization for corrupted labels", f"{summary['auroc_corrupted']:.4f}"))
    if summary["without_estimate"]:
        text = f"{summary['without_estimate']:,}: fewer than {influence.LEAST_NETWORKS} networks have, or lack, them"
        rows.append(("examples without an estimate", text))
    kept = f", the strongest {influence.MOST_PAIRS:,} kept" if pairs.above > influence.MOST_PAIRS else ""
    text = f"{pairs.above:,}{kept} ({pairs.below:,} at -{config.influence.pair_threshold:g} or less)"
    return [*rows, (f"pairs with influence of {config.influence.pair_threshold:g} or more", text)]
