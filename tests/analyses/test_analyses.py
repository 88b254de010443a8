"""Analyses as a user runs them: one command, certificates in the manifest, a figure, one line for a mistake."""

import json
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from rethink.analyses import capacity as capacity_analysis
from rethink.analyses.analysis import Analysis
from rethink.configs.paper import capacity as capacity_config
from rethink.configs.paper import linear as linear_config
from rethink.configs.paper import table3
from rethink.configs.paper import theorem1 as theorem1_config
from rethink.data.corruption.spec import resolve_seed
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.run import Launch, run_experiment
from rethink.experiment.setup import set_up_run
from rethink.paper.numbers import TABLES
from rethink.schema import grid
from rethink.schema.errors import UserError
from rethink.theory import memory
from rethink.theory.linear import gradient_descent

LAUNCH = Launch()


def theorem1(**fields):
    """An analysis of 60 digits with random labels."""
    config = theorem1_config.get_config("digits")
    config.data.train_examples = 60
    config.theorem1.update({"depths": (3,), "float32_sizes": (10,), "sizes": (200,), "sampled": 50, **fields})
    return config


def linear(**fields):
    config = linear_config.get_config("digits")
    config.data.train_examples = 40
    config.linear.update({"count": 200, "batch_size": 10, "sgd_steps": 300, "gradient_steps": 100, **fields})
    return config


def kernel(**fields):
    """A kernel model of 200 digits with their true labels."""
    config = table3.get_config()
    config.cells = ConfigDict()
    config.filter = "*"
    config.data.name, config.data.train_examples = "digits", 200
    config.kernel.update({"tile": 64, "filters": 12, "filter_block": 5, "whitening_patches": 500, **fields})
    return config


def capacity(**fields):
    config = capacity_config.get_config("digits")
    config.data.train_examples, config.train.batch_size = 100, 20
    config.capacity.update({"draws": 2, **fields})
    return config


def run_to_manifest(config, folder):
    """Runs it; returns its manifest."""
    assert run_experiment(config, str(folder), LAUNCH) == 0
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("targets, weights", [("labels", 64 + 2 * 60), ("one_hot", 64 + 60 + 600)])
def test_theorem1_takes_every_random_label_with_the_weights_it_states(tmp_path, targets, weights):
    manifest = run_to_manifest(theorem1(targets=targets), tmp_path)
    summary = manifest["summary"]
    assert manifest["status"] == "done"
    assert summary["evaluation"]["train_accuracy"] == 1
    assert summary["certificate"]["weight_count"] == weights
    assert summary["certificate"]["fit"]["residual"] < 1e-6
    assert summary["depths"][0]["fit"]["residual"] < 1e-6
    assert [found["points"] for found in summary["growth"]] == [200]
    assert summary["growth"][0]["labels_right"] == summary["growth"][0]["sampled"] == 50
    assert (tmp_path / "figures" / "theorem1.png").stat().st_size
    with np.load(tmp_path / "network.npz", allow_pickle=False) as network:
        assert sum(array.size for array in network.values()) == weights


def test_sgd_from_zero_finds_the_least_norm_and_a_random_start_does_not(tmp_path):
    summary = run_to_manifest(linear(sgd_steps=3000, gradient_steps=500), tmp_path)["summary"]
    runs = summary["runs"].items()
    assert [name for name, _ in runs][::2] == [
        "SGD from zero, with replacement",
        "SGD from a random start, with replacement",
    ]
    zero, random = (next(found for name, found in runs if f"GD from {start}" in name) for start in ("zero", "a"))
    assert zero["from_least_norm"][-1] < 1e-6
    assert random["distances"][-1] < 1e-6 < 1e-3 < random["from_least_norm"][-1]
    assert max(zero["outside"]) < 1e-10
    assert summary["least_norm"]["from_lstsq"] < 1e-8
    assert summary["evaluation"]["train_accuracy"] == 1
    distances = summary["shrinkage"]["weight_decay"]["distances"]
    assert distances == sorted(distances, reverse=True) and distances[-1] < 1e-3
    assert (tmp_path / "figures" / "least_norm.png").stat().st_size


def test_an_analysis_that_was_interrupted_keeps_what_it_computed(tmp_path, monkeypatch):
    descend, calls = gradient_descent.run_descent, []

    def interrupt_the_third(*arguments, **settings):
        calls.append(settings)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return descend(*arguments, **settings)

    monkeypatch.setattr(gradient_descent, "run_descent", interrupt_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(linear(), str(tmp_path), LAUNCH)
    kept = json.loads((tmp_path / "parts.json").read_text())["parts"]
    runs = run_to_manifest(linear(), tmp_path)["summary"]["runs"]
    assert (len(kept), len(runs), len(calls)) == (2, 4, 3 + 2) and kept.items() < runs.items()
    assert not (tmp_path / "parts.json").exists()


@pytest.mark.parametrize("order, known", [("with_replacement", True), ("shuffled", False)])
def test_a_bound_on_sgd_is_recorded_for_the_order_that_it_holds_for(tmp_path, order, known):
    summary = run_to_manifest(linear(order=order), tmp_path)["summary"]
    found = summary["runs"][f"SGD from zero, {order.replace('_', ' ')}"]
    assert (found["predicted_rate"] is not None) == known
    assert sum("root mean square at most" in text for _, text in summary["rows"]) == 2 * known


@pytest.mark.parametrize(
    "features, name", [("pixels", "gaussian"), ("gabor", "gaussian"), ("random_convolutions", "linear")]
)
def test_a_kernel_interpolates_train_and_predicts_test(tmp_path, features, name):
    ridges = (0.01,) if features == "random_convolutions" else (0.0,)
    manifest = run_to_manifest(kernel(features=features, name=name, ridges=ridges, patch=3), tmp_path)
    summary = manifest["summary"]
    assert summary["evaluation"]["train_accuracy"] == 1
    assert summary["evaluation"]["test_error"] < 0.2
    assert summary["certificate"]["residual"] < 1e-5
    assert summary["certificate"]["norm"] > 0
    assert len(summary["choice"]["trials"]) == 4 and summary["choice"]["held_out_examples"] == 20
    with np.load(tmp_path / "solution.npz", allow_pickle=False) as solution:
        assert solution["alpha"].shape == (200, 10)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as test:
        assert list(test["given_labels"]) == list(test["true_labels"]) and len(test["ids"]) > 100
        assert np.mean(test["predicted"] != test["given_labels"]) == summary["evaluation"]["test_error"]


def test_a_gamma_that_is_given_is_not_chosen(tmp_path):
    summary = run_to_manifest(kernel(gamma=0.05), tmp_path)["summary"]
    assert summary["choice"] is None and summary["kernel"]["gamma"] == 0.05


@pytest.mark.slow
def test_a_network_fits_every_draw_of_signs_and_the_bounds_are_vacuous(tmp_path):
    manifest = run_to_manifest(capacity(), tmp_path)
    summary = manifest["summary"]
    network = summary["rademacher"]["mlp_1x512"]
    assert (network["mean"], network["draws"], network["fitted"]) == (1, 2, 2)
    control = summary["rademacher"]["linear"]  # of 100 digits in 64 dimensions, which alone would fit most signs
    assert control["mean"] < summary["linear_ceiling"] < 0.7 and control["fitted"] == 0
    assert summary["linear_dimensions"] == 5
    assert summary["vacuous_from"] == pytest.approx(0.9 - 3 * (0.09 / 360) ** 0.5)
    for rows in summary["bounds"].values():
        assert len(rows) == 7 and all(row["value"] < 1e9 and row["vacuous"] for row in rows)
    assert summary["stability"]["vacuous"] == (summary["stability"]["beta"] >= summary["vacuous_from"])
    gaps = {labels: rows[0]["gap"] for labels, rows in summary["bounds"].items()}
    assert gaps["true"] < gaps["random"]
    signs = json.loads((tmp_path / "signs-0" / "manifest.json").read_text())
    assert signs["status"] == "fitted" and signs["config"]["data.classes"] == 2
    trained = json.loads((tmp_path / "labels-random" / "manifest.json").read_text())
    assert manifest["program"] == trained["program"]  # so that an edited network is refused here too


def test_capacity_of_another_architecture_is_refused_before_anything_is_trained(tmp_path):
    config = capacity()
    config.model.name = "conv_tiny"
    with pytest.raises(UserError, match="model.name='conv_tiny' has no bounds"):
        run_experiment(config, str(tmp_path), LAUNCH)
    assert not (tmp_path / "signs-0").exists()


def test_capacity_of_corrupted_pixels_is_refused(tmp_path):
    config = capacity()
    config.corruption.pixels = "random_pixels"
    with pytest.raises(UserError, match="corruption.pixels='random_pixels' has no meaning in this analysis"):
        run_experiment(config, str(tmp_path), LAUNCH)


def test_an_analysis_of_pixels_of_8_bits_refuses_gaussian_ones(tmp_path):
    config = theorem1()
    config.corruption.pixels = "gaussian"
    with pytest.raises(UserError, match="takes pixels of 8 bits: set --config.corruption.pixels=gaussian_clipped"):
        run_experiment(config, str(tmp_path), LAUNCH)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_an_analysis_of_pixels_of_8_bits_refuses_images_of_another_type(dtype):
    examples = types.SimpleNamespace(images=np.zeros((2, 1, 1, 3), dtype))
    handed = Analysis(theorem1(), 10, None, {"train": examples}, *[None] * 5)
    with pytest.raises(UserError, match=f"has {dtype} values, and pixels of 8 bits are needed for the thing"):
        handed.require_raw_pixels("the thing")


def test_every_draw_of_signs_is_another_whatever_the_seed_of_the_labels():
    config = capacity()
    config.corruption.seed = 3
    runs = [capacity_analysis._make_sign_config(config, draw) for draw in range(3)]
    assert len({resolve_seed(run) for run in runs}) == 3


def test_a_network_that_diverged_ends_the_analysis_in_one_line(tmp_path):
    config = capacity()
    config.optimizer.learning_rate = 1e30
    with pytest.raises(UserError, match="signs-0 diverged. .* try a smaller .* another --workdir"):
        run_experiment(config, str(tmp_path), LAUNCH)
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_a_network_whose_last_checkpoint_is_damaged_is_not_taken_for_another(tmp_path):
    run_to_manifest(capacity(draws=1), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    newest = max((tmp_path / "labels-true" / "checkpoints").glob("[0-9]*"), key=lambda folder: int(folder.name))
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(UserError, match="labels-true|None of the checkpoints"):
        run_experiment(capacity(draws=1), str(tmp_path), LAUNCH)


def test_table3_has_the_cells_of_the_paper_and_only_changes_what_a_cell_says():
    found = {run.name: run.config for run in grid.expand_grid(table3.get_config())}
    assert set(found) == set(table3.CELLS) == set(TABLES["table3"].cells)
    assert found["mnist-gabor"].data.name == "mnist" and found["cifar10-pixels"].data.name == "cifar10"
    assert all(config.kind == "kernel" and config.kernel.gamma == 0 for config in found.values())


def test_an_analysis_that_is_rerun_is_skipped_and_another_one_is_refused(tmp_path, capsys):
    first = run_to_manifest(theorem1(), tmp_path)
    assert run_to_manifest(theorem1(), tmp_path) == first
    assert "Nothing to do" in capsys.readouterr().out
    with pytest.raises(UserError, match="theorem1.threshold_position: 0.0078125 -> 0.25"):
        run_experiment(theorem1(threshold_position=0.25), str(tmp_path), LAUNCH)


def test_labels_and_fingerprints_are_those_of_a_training_run(tmp_path):
    analysis = run_to_manifest(theorem1(), tmp_path)
    config = theorem1()
    config.kind, config.train.total_epochs, config.train.batch_size = "train", 1.0, 20
    assert set_up_run(config).pipeline.fingerprint_splits() == analysis["fingerprints"]


@pytest.mark.parametrize(
    "config, line",
    [
        (theorem1(depths=(62,)), "depth=62 is out of range: it must be in [2, 61] for 60 units."),
        (theorem1(depths=(1,)), "theorem1.depths=(1,) holds 1"),
        (kernel(gamma=0.1, ridges=(0.0, 1.0)), "leaves open which"),
        (theorem1(sizes=(0,)), "theorem1.sizes=(0,) holds 0"),
        (theorem1(targets="words"), "theorem1.targets='words' is unknown"),
        (linear(features="edges"), "linear.features='edges' is unknown"),
        (linear(batch_size=41), "batch_size=41 is out of range: it must be in [1, 40]"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, config, line):
    with pytest.raises(UserError) as error:
        run_experiment(config, str(tmp_path), LAUNCH)
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "config, line",
    [
        (theorem1(sizes=(200,)), "A network of 200 examples needs"),
        (linear(), "A linear model of 40 examples needs"),
        (kernel(), "A kernel model of 200 examples needs"),
    ],
)
def test_too_little_memory_is_foreseen(tmp_path, monkeypatch, config, line):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(UserError) as error:
        run_experiment(config, str(tmp_path), LAUNCH)
    assert line in str(error.value) and "to at most" in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize("features, gamma", [("pixels", 0.0), ("pixels", 0.05), ("random_convolutions", 0.0)])
def test_equal_images_are_named_where_no_ridge_parts_them(tmp_path, monkeypatch, features, gamma):
    corrupt = InputPipeline.corrupt_splits

    def with_a_repeated_image(pipeline):
        splits = corrupt(pipeline)
        splits["train"].images[7] = splits["train"].images[3]
        named.extend([*splits["train"].ids[[3, 7]], *splits["train"].labels[[3, 7]]])
        return splits

    named: list[int] = []
    monkeypatch.setattr(InputPipeline, "corrupt_splits", with_a_repeated_image)
    with pytest.raises(UserError) as error:
        run_experiment(kernel(features=features, gamma=gamma, ridges=(0.0,), patch=3), str(tmp_path), LAUNCH)
    assert str(error.value).startswith("Examples {} and {} (labels {} and {}) are equal".format(*named))
    assert "kernel.gamma" not in str(error.value)
    if features == "pixels":
        run_to_manifest(kernel(gamma=gamma, ridges=(1e-3,)), tmp_path / "ridge")


def test_an_unknown_word_after_the_colon_names_the_choices():
    with pytest.raises(ValueError, match="'digit' is no argument of this file: choose from growth, digits"):
        theorem1_config.get_config("digit")
