"""Whole runs on the embedded digits: what they leave behind, how they end, and that they resume as if uninterrupted."""

import hashlib
import json
import os
import pathlib
import signal
import sys

import jax
import numpy as np
import pytest
from made_up import assert_predicted

from rethink.configs import base, cifar_random, digits_random, digits_true
from rethink.data import fingerprints
from rethink.experiment import reporter, rerun, train
from rethink.experiment.run import Launch, run_experiment
from rethink.experiment.setup import set_up_run
from rethink.figures import learning_curve
from rethink.results import launches, progress, records, runs
from rethink.schema.errors import UserError
from rethink.training import devices, feeds, loop, preemption

STEPS_PER_EPOCH = 12  # 1,437 examples in batches of 128
ARRAYS = ("ids", "true_labels", "given_labels", "resampled")


@pytest.fixture
def drawn(monkeypatch):
    """Leaves out the figures, which take most of the time of a small run; returns the stems of those left out."""
    stems = []
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda rows, stem, **_: stems.append(stem))
    return stems


@pytest.fixture
def make_config():
    def make(get_config=digits_random.get_config, model="mlp_tiny", **fields):
        config = get_config(model)
        config.train.total_epochs = 2.0
        config.log.every_steps = 5
        config.train.steps_per_call = 1  # a signal may come between any two
        config.update_from_flattened_dict({field.replace("__", "."): value for field, value in fields.items()})
        return config

    return make


@pytest.fixture
def launch(drawn):
    return start


def start(config, workdir):
    return run_experiment(config, str(workdir), Launch())


def manifest(workdir):
    return json.loads((workdir / "manifest.json").read_text())


def rows(workdir, kind):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def parameters(workdir):
    """Returns digests of the files of the last checkpoint's state, by leaf."""
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        content = ocp.args.Composite(state=ocp.args.StandardRestore())
        state = manager.restore(manager.latest_step(), args=content)["state"]
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest() for path, leaf in leaves}


def files(workdir):
    """Returns the bytes and the time of change of every file but the lock."""
    paths = [path for path in workdir.rglob("*") if path.is_file() and path.name != "lock"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def arrays(workdir):
    with np.load(workdir / "corruption.npz", allow_pickle=False) as stored:
        assert set(stored) == set(ARRAYS)
        return {name: stored[name] for name in ARRAYS}


def interrupt_at(monkeypatch, step, error=KeyboardInterrupt, signal_number=None, times=1):
    """Lets the next run break off after the dispatch of a step: by an error there, or by signals to the process.

    Returns a list that is no longer empty when it has happened.
    """
    advance, happened = progress.RunProgress.advance, []

    def interrupted(screen, now):
        advance(screen, now)
        if now >= step:
            monkeypatch.setattr(progress.RunProgress, "advance", advance)
            happened.append(now)
            if signal_number is None:
                raise error
            for _ in range(times):
                os.kill(os.getpid(), signal_number)

    monkeypatch.setattr(progress.RunProgress, "advance", interrupted)
    return happened


def test_a_run_leaves_its_config_data_metrics_and_figures(make_config, tmp_path):
    workdir = tmp_path / "run"
    assert start(make_config(), workdir) == 0

    recorded = manifest(workdir)
    assert recorded["status"] == "done"
    assert recorded["config"]["model.name"] == "mlp_tiny"
    assert recorded["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    (launched,) = recorded["launches"]
    assert (launched["first_step"], launched["last_step"]) == (0, 2 * STEPS_PER_EPOCH)
    assert launched["hardware"]["platform"] and launched["hardware"]["devices"] >= 1
    assert {"jax", "flax", "optax", "python"} <= set(launched["versions"])
    assert recorded["data"]["train_examples"] == 1437 and recorded["data"]["name"].startswith("digits (scikit-learn ")
    assert (recorded["plan"]["total_steps"], recorded["plan"]["steps_per_epoch"]) == (
        2 * STEPS_PER_EPOCH,
        STEPS_PER_EPOCH,
    )
    of_data = {"images", "labels", "true_labels"}
    assert set(recorded["fingerprints"]) == {"order", *of_data, *(f"test_{name}" for name in of_data)}
    assert all(len(value) == 64 for value in recorded["fingerprints"].values())

    evaluations = rows(workdir, "evaluation")
    assert [row["step"] for row in evaluations] == [0, 12, 24]
    assert [row["step"] for row in rows(workdir, "train")] == [5, 10, 12, 15, 20, 24]
    assert recorded["summary"]["evaluation"] == evaluations[-1]
    assert (recorded["summary"]["steps"], recorded["summary"]["epochs"], recorded["summary"]["num_classes"]) == (
        24,
        2.0,
        10,
    )
    for suffix, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert (workdir / "figures" / f"learning_curve.{suffix}").read_bytes().startswith(magic)
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["24"]


def test_a_run_has_not_ended_before_its_figure_is_drawn(make_config, tmp_path, monkeypatch):
    status_when_drawn = []  # a run that is killed there is launched again, and draws it then
    monkeypatch.setattr(
        learning_curve, "draw_learning_curve", lambda *_, **__: status_when_drawn.append(manifest(tmp_path)["status"])
    )
    assert start(make_config(), tmp_path) == 0
    assert status_when_drawn == ["running"] and manifest(tmp_path)["status"] == "done"


def test_what_is_kept_of_the_labels_is_what_was_trained_on(launch, make_config, tmp_path):
    config = make_config(corruption__label_probability=0.5)
    launch(config, tmp_path)
    kept, recorded = arrays(tmp_path), manifest(tmp_path)
    assert recorded["fingerprints"]["labels"] == fingerprints.fingerprint_examples(kept["ids"], kept["given_labels"])
    assert np.all(kept["resampled"] | (kept["given_labels"] == kept["true_labels"]))
    assert kept["resampled"].mean() == pytest.approx(0.5, abs=0.06)
    assert len(np.unique(kept["ids"])) == 1437

    corrupted = kept["given_labels"] != kept["true_labels"]
    last = rows(tmp_path, "evaluation")[-1]
    of_parts = corrupted.mean() * last["train_accuracy_corrupted_given"]
    of_parts += (1 - corrupted.mean()) * last["train_accuracy_clean"]
    assert of_parts == pytest.approx(last["train_accuracy"], rel=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"evaluate__batch_size": 100}, id="resident"),  # the last batch: 60 examples and 40 of padding
        pytest.param(
            {"corruption__labels": "uniform", "corruption__label_probability": 0.5, "corruption__test_labels": True}
            | {"data__feed": "streamed"},
            id="streamed",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_keeps_what_it_predicts_on_its_test_set(launch, make_config, tmp_path, fields):
    launch(make_config(digits_true.get_config, data__workers=0, **fields), tmp_path)
    predictions = assert_predicted(tmp_path)
    assert len(np.unique(predictions.predicted)) > 5
    noisy = "corruption__test_labels" in fields
    assert np.any(predictions.given_labels != predictions.true_labels) == noisy


@pytest.mark.slow
def test_a_run_that_is_killed_at_its_end_makes_its_predictions_again(launch, make_config, tmp_path, monkeypatch):
    config = make_config(data__feed="streamed", data__workers=0)
    launch(config, tmp_path / "whole")
    for place in ("draw_learning_curve", "save_predictions", "update"):
        launch_until_killed(config, tmp_path / place, monkeypatch, place)
        assert manifest(tmp_path / place)["status"] == "running"
        assert (tmp_path / place / "predictions.npz").exists() == (place == "update")
        assert launch(config, tmp_path / place) == 0
        one, other = (tmp_path / name / "predictions.npz" for name in (place, "whole"))
        assert one.read_bytes() == other.read_bytes(), place


def launch_until_killed(config, workdir, monkeypatch, place):
    holder = learning_curve if place == "draw_learning_curve" else records.Run
    plain = getattr(holder, place)

    def killed(*arguments, **fields):
        if place == "update" and fields.get("status") != "done":
            return plain(*arguments, **fields)
        raise SystemExit(137)  # which nothing catches, as nothing catches SIGKILL

    with monkeypatch.context() as patch:
        patch.setattr(holder, place, killed)
        with pytest.raises(SystemExit):
            start(config, workdir)


def test_true_labels_are_learned_and_generalize(launch, make_config, tmp_path):
    config = make_config(digits_true.get_config, train__total_epochs=5.0)
    assert launch(config, tmp_path) == 0
    first, last = rows(tmp_path, "evaluation")[0], rows(tmp_path, "evaluation")[-1]
    assert first["test_accuracy"] < 0.4
    assert last["test_accuracy"] > 0.8
    assert last["train_accuracy_corrupted_given"] is None  # there are no such examples
    assert last["train_accuracy_clean"] == last["train_accuracy"]


def test_random_labels_are_fitted_and_do_not_generalize(launch, make_config, tmp_path):
    config = make_config(data__train_examples=128, train__total_epochs=1000.0, evaluate__every_epochs=50.0)
    assert launch(config, tmp_path) == 0
    recorded = manifest(tmp_path)
    assert recorded["status"] == "fitted"
    assert recorded["summary"]["evaluation"]["train_accuracy"] == 1.0
    assert recorded["summary"]["evaluation"]["test_accuracy"] < 0.3
    reached = recorded["summary"]["steps_to_train_accuracy"]
    assert reached["0.9"] <= reached["1.0"] == recorded["summary"]["steps"] < recorded["plan"]["total_steps"]


def test_a_run_that_has_ended_says_so_and_changes_no_file(launch, make_config, tmp_path, capsys):
    launch(make_config(), tmp_path)
    before, table = files(tmp_path), capsys.readouterr().out.partition("status: done")[2]
    assert launch(make_config(), tmp_path) == 0
    out = capsys.readouterr().out
    assert out.startswith("Nothing to do: ") and str(tmp_path) in out
    assert table and out.endswith(table)  # the same closing table
    assert files(tmp_path) == before


def test_a_longer_run_goes_on_and_equals_one_that_was_long_from_the_start(launch, make_config, tmp_path, capsys):
    launch(make_config(), tmp_path / "extended")
    capsys.readouterr()
    assert launch(make_config(train__total_epochs=3.0), tmp_path / "extended") == 0
    assert "Resumed at step 24." in capsys.readouterr().out
    launch(make_config(train__total_epochs=3.0), tmp_path / "straight")
    assert manifest(tmp_path / "extended")["summary"]["steps"] == 36
    one, other = (tmp_path / name / "predictions.npz" for name in ("extended", "straight"))
    assert one.read_bytes() == other.read_bytes()
    assert_equal_runs(tmp_path / "extended", tmp_path / "straight")


def test_a_run_of_launches_on_different_hardware_names_each_and_that_a_rerun_can_differ(
    launch, make_config, tmp_path, monkeypatch, capsys
):
    first, plain = make_config(train__total_epochs=1.0), devices.describe_hardware()
    launch(first, tmp_path / "run")
    monkeypatch.setattr(devices, "describe_hardware", lambda: {**plain, "devices": 7})
    launch(make_config(), tmp_path / "run")
    described = f"{plain['devices']} x cpu (steps 0 to 12), 7 x cpu (steps 12 to 24)"
    assert launches.describe_hardware(manifest(tmp_path / "run")) == described
    assert runs.describe_run(runs.load_run(tmp_path / "run"))["devices"] == described
    monkeypatch.setattr(sys, "argv", ["rerun", str(tmp_path / "run"), f"--workdir={tmp_path / 'again'}"])
    capsys.readouterr()
    assert rerun.main() == 0
    shown = capsys.readouterr().out
    differ = f"{plain['devices']} x cpu, 7 x cpu"
    assert f"made by launches that differ in hardware ({differ}): a rerun" in shown
    assert f"; other now: hardware ({differ} -> 7 x cpu)" in shown


def assert_equal_runs(one, other):
    for name in ("metrics.jsonl", "presentations.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    histories = [run / "examples_train.bin" for run in (one, other)]
    if all(path.exists() for path in histories):  # of streamed data there is none
        assert histories[0].read_bytes() == histories[1].read_bytes()
    assert parameters(one) == parameters(other)  # bit for bit, with batch statistics and optimizer state
    assert manifest(one)["fingerprints"] == manifest(other)["fingerprints"]
    assert manifest(one)["summary"]["steps_to_train_accuracy"] == manifest(other)["summary"]["steps_to_train_accuracy"]
    for name, values in arrays(one).items():
        np.testing.assert_array_equal(values, arrays(other)[name])


@pytest.mark.parametrize(
    "model, fields",
    [
        ("mlp_tiny", {"train__steps_per_call": 6, "augmentation__mixup": 0.4, "train__loss": "squared"}),
        pytest.param(
            "conv_tiny",
            {"batch_norm__kind": "across_devices", "corruption__pixels": "gaussian"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_interrupted_run_goes_on_as_if_it_were_uninterrupted(
    launch, make_config, tmp_path, monkeypatch, capsys, model, fields
):
    config = make_config(model=model, checkpoint__every_epochs=0.5, optimizer__schedule="cosine", **fields)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert launch(config, whole) == 0
    for step in (8, 21):
        interrupt_at(monkeypatch, step)
        with pytest.raises(KeyboardInterrupt):
            launch(config, parts)
        assert manifest(parts)["status"] == "interrupted"
    capsys.readouterr()
    assert launch(config, parts) == 0
    assert "Resumed at step 18." in capsys.readouterr().out
    assert manifest(parts)["status"] == "done"
    assert_equal_runs(parts, whole)


EVERYTHING = {
    "weight_decay__kind": "decoupled",
    "dropout__rate": 0.3,
    "augmentation__crop": "random",
    "augmentation__flip": True,
    "augmentation__rotation": 20.0,
    "augmentation__contrast": 0.5,
    "augmentation__mixup": 0.4,
    "preprocess__crop": 6,
    "data__validation_fraction": 0.1,
    "early_stopping__monitor": "validation",
}
# They act where a rotation acts; mixup has tests of the step.
ALIKE = ("augmentation__crop", "augmentation__flip", "augmentation__contrast", "augmentation__mixup")


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["resident", "streamed"])
def test_regularizers_draw_the_same_after_an_interruption_and_with_any_feed(
    launch, make_config, tmp_path, monkeypatch, feed
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert launch(make_config(**EVERYTHING, evaluate__every_epochs=0.5), whole) == 0
    config = make_config(**EVERYTHING, evaluate__every_epochs=0.5, data__feed=feed, data__workers=0)
    interrupt_at(monkeypatch, 15)
    with pytest.raises(KeyboardInterrupt):
        launch(config, parts)
    assert launch(config, parts) == 0
    assert_equal_runs(parts, whole)


@pytest.mark.slow  # before the first step it is in `test_each_regularizer_acts_and_evaluation_stays_as_it_is`
def test_evaluation_is_never_augmented(launch, make_config, tmp_path):
    by_name = {}
    for name, fields in {
        "plain": {},
        "augmented": {"augmentation__rotation": 40.0, "augmentation__flip": True},
    }.items():
        # At such a rate the network stays what it was, so that only the images can make a difference.
        config = make_config(optimizer__learning_rate=1e-12, preprocess__crop=6, **fields)
        config.augmentation.crop = "random" if fields else "none"
        assert launch(config, tmp_path / name) == 0
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        by_name[name] = {kind: [row for row in rows if row["kind"] == kind] for kind in ("train", "evaluation")}
    evaluated = zip(by_name["plain"]["evaluation"], by_name["augmented"]["evaluation"], strict=True)
    for plain, augmented in evaluated:
        numbers = [name for name, value in plain.items() if isinstance(value, float)]
        assert [plain[name] for name in numbers] == pytest.approx([augmented[name] for name in numbers], rel=1e-6)
    trained = [[row["loss"] for row in by_name[name]["train"]] for name in by_name]
    assert trained[0] != pytest.approx(trained[1], rel=1e-3)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(other, marks=pytest.mark.slow) for other in (signal.SIGINT, signal.SIGHUP))],
)
@pytest.mark.parametrize("workers", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on_from_there(
    launch, make_config, tmp_path, monkeypatch, capsys, number, workers
):
    fields = {} if workers is None else {"data__feed": "streamed", "data__workers": workers}
    config = make_config(**fields, checkpoint__every_epochs=50.0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert launch(config, whole) == 0
    signalled = interrupt_at(monkeypatch, 15, signal_number=number)
    with pytest.raises(preemption.Interrupted) as ended:
        launch(config, parts)
    assert signalled and ended.value.exit_code == 128 + number
    assert manifest(parts)["status"] == "interrupted"
    assert "Interrupted at step 15, and saved" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert launch(config, parts) == 0
    assert "Resumed at step 15." in capsys.readouterr().out
    assert_equal_runs(parts, whole)


def test_a_signal_before_the_first_step_ends_the_run_at_once(launch, make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "set_up_run", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(preemption.Interrupted):
        launch(make_config(), tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_a_signal_in_an_evaluation_breaks_it_off_and_it_is_made_when_the_run_goes_on(
    launch, make_config, tmp_path, monkeypatch, capsys
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = make_config(evaluate__batch_size=100, checkpoint__every_epochs=50.0)
    assert launch(config, whole) == 0
    evaluation = feeds.ResidentFeed.evaluation

    def signalled(feed, split):
        for number, batch in enumerate(evaluation(feed, split)):
            if number == 2 and split == "train" and interrupted:
                os.kill(os.getpid(), interrupted.pop())
            yield batch

    interrupted = []
    monkeypatch.setattr(feeds.ResidentFeed, "evaluation", signalled)
    monkeypatch.setattr(loop, "_make_train_row", lambda *args, made=loop._make_train_row: noted(made(*args)))

    def noted(row):
        if row["step"] == 12 and not (parts / "checkpoints" / "12").exists():
            interrupted.append(signal.SIGTERM)
        return row

    with pytest.raises(preemption.Interrupted):
        launch(config, parts)
    assert "Interrupted at step 12, and saved" in capsys.readouterr().out
    assert [row["step"] for row in rows(parts, "evaluation")] == [0]
    assert launch(config, parts) == 0
    assert_equal_runs(parts, whole)


def test_a_signal_after_the_last_step_lets_the_run_end_and_stops_what_would_follow(
    launch, make_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(preemption.Interrupted):
        launch(make_config(), tmp_path)
    assert manifest(tmp_path)["status"] == "done"


def test_a_second_signal_does_not_wait(launch, make_config, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 15, signal_number=signal.SIGINT, times=2)
    with pytest.raises(preemption.Interrupted):
        launch(make_config(checkpoint__every_epochs=50.0), tmp_path)
    assert manifest(tmp_path)["status"] == "interrupted" and not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(field, marks=pytest.mark.slow if field in ALIKE else ())
        for field in EVERYTHING
        if not field.startswith(("preprocess", "data", "early"))
    ],
)
def test_each_regularizer_acts_and_evaluation_stays_as_it_is(launch, make_config, tmp_path, field):
    shared = {"preprocess__crop": 6, "augmentation__crop": "random"}
    on = {**shared, field: EVERYTHING[field]}
    off = {**shared, field: type(EVERYTHING[field])() if not isinstance(EVERYTHING[field], str) else "none"}
    for name, fields in (("on", on), ("off", off)):
        assert launch(make_config(**fields, train__total_epochs=1.0), tmp_path / name) == 0
    assert rows(tmp_path / "on", "evaluation")[0] == rows(tmp_path / "off", "evaluation")[0]  # before the first step
    assert parameters(tmp_path / "on") != parameters(tmp_path / "off")


def test_a_part_held_out_is_not_trained_on_and_its_labels_are_corrupted_as_those_of_train(
    launch, make_config, tmp_path
):
    fields = {"data__validation_fraction": 0.2, "corruption__label_probability": 0.5}
    assert launch(make_config(**fields, train__total_epochs=20.0, evaluate__every_epochs=20.0), tmp_path) == 0
    with np.load(tmp_path / "corruption_validation.npz", allow_pickle=False) as stored:
        held_out = {name: stored[name] for name in ARRAYS}
    assert not set(held_out["ids"]) & set(arrays(tmp_path)["ids"])
    assert len(held_out["ids"]) + len(arrays(tmp_path)["ids"]) == manifest(tmp_path)["data"]["full_train_examples"]
    assert 0.4 < np.mean(held_out["resampled"]) < 0.6
    last = rows(tmp_path, "evaluation")[-1]
    assert last["validation_accuracy_true"] > last["validation_accuracy"] + 0.1  # half of the given ones are noise


def test_patience_ends_a_run_whose_result_is_that_of_its_best_evaluation(launch, make_config, tmp_path, capsys):
    config = make_config(
        data__validation_fraction=0.2,
        early_stopping__monitor="validation",
        early_stopping__patience=3,
        train__total_epochs=60.0,
        checkpoint__keep=1,
    )
    assert launch(config, tmp_path) == 0
    evaluations, summary = rows(tmp_path, "evaluation"), manifest(tmp_path)["summary"]
    accuracies = [row["validation_accuracy"] for row in evaluations[1:]]
    best = accuracies.index(max(accuracies))
    assert manifest(tmp_path)["status"] == "stopped early" and len(accuracies) == best + 1 + 3
    assert summary["evaluation"] == evaluations[1 + best]
    assert summary["early_stopping"]["best_step"] == evaluations[1 + best]["step"]
    gain = evaluations[1 + best]["test_accuracy"] - evaluations[-1]["test_accuracy"]
    assert summary["early_stopping"]["gain"] == pytest.approx(gain)
    assert "best step by the part held out" in capsys.readouterr().out
    saved = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert {str(evaluations[1 + best]["step"]), str(evaluations[-1]["step"])} == saved
    assert_predicted(tmp_path)
    assert summary["evaluation"]["test_accuracy"] != evaluations[-1]["test_accuracy"]  # or this shows nothing


def test_the_oracle_is_named_in_rows_summary_and_on_the_screen(launch, make_config, tmp_path, capsys):
    assert launch(make_config(early_stopping__monitor="oracle"), tmp_path) == 0
    evaluations = rows(tmp_path, "evaluation")
    assert evaluations[-1]["oracle_best_accuracy"] == max(row["test_accuracy"] for row in evaluations[1:])
    assert manifest(tmp_path)["summary"]["early_stopping"]["monitor"] == "oracle"
    shown = capsys.readouterr().out
    assert "early stopping by the ORACLE (test set)" in shown and "best step by the test set, an oracle" in shown


def test_a_run_that_watches_nothing_speaks_of_no_best_step(launch, make_config, tmp_path):
    assert launch(make_config(), tmp_path) == 0
    assert "early_stopping" not in manifest(tmp_path)["summary"]
    assert not any("best" in name or "validation" in name for name in rows(tmp_path, "evaluation")[-1])


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"early_stopping__monitor": "validation"}, ["early_stopping.monitor", "data.validation_fraction=0.1"]),
        ({"data__validation_fraction": 0.9999}, ["data.validation_fraction=0.9999", "0.1"]),
        ({"augmentation__crop": "random"}, ["augmentation.crop", "preprocess.crop"]),
        ({"dropout__rate": 0.5, "dropout__place": "hidden", "model__name": "conv_tiny"}, ["dropout.place=last"]),
        ({"augmentation__hue": 0.1}, ["augmentation.hue"]),
    ],
)
def test_a_regularizer_that_could_not_act_is_refused(launch, make_config, tmp_path, fields, words):
    with pytest.raises(UserError) as caught:
        launch(make_config(**fields), tmp_path)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_run_that_is_interrupted_before_its_first_checkpoint_starts_over(launch, make_config, tmp_path, monkeypatch):
    config = make_config()
    launch(config, tmp_path / "whole")
    interrupt_at(monkeypatch, 13)
    with pytest.raises(KeyboardInterrupt):
        launch(config, tmp_path / "parts")
    assert launch(config, tmp_path / "parts") == 0
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


def test_a_run_that_breaks_is_recorded_as_failed_and_goes_on(launch, make_config, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 3, RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        launch(make_config(), tmp_path)
    assert (manifest(tmp_path)["status"], manifest(tmp_path)["error"]) == ("failed", "RuntimeError: out of memory")
    assert launch(make_config(), tmp_path) == 0
    assert manifest(tmp_path)["status"] == "done" and "error" not in manifest(tmp_path)


def test_a_run_that_diverges_says_where_and_does_not_start_again(launch, make_config, tmp_path, capsys):
    config = make_config(optimizer__learning_rate=1e30)
    assert launch(config, tmp_path) == 3
    recorded = manifest(tmp_path)
    assert recorded["status"] == "diverged" and recorded["end"]["learning_rate"] == pytest.approx(1e30)
    assert 1 <= recorded["end"]["step"] <= 5
    assert not list((tmp_path / "checkpoints").iterdir())
    assert runs.load_run(tmp_path).predictions() is None
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    printed = capsys.readouterr().out
    assert f"at step {recorded['end']['step']}, learning rate 1e+30: " in printed and "try a smaller" in printed
    before = files(tmp_path)
    assert launch(config, tmp_path) == 3
    assert "Nothing to do" in capsys.readouterr().out
    assert files(tmp_path) == before


def test_a_loss_that_is_not_finite_is_the_networks_at_first_and_later_the_rates():
    start, first, later = (reporter.describe_divergence({"step": step, "learning_rate": 0.1}) for step in (0, 1, 2))
    assert "the network or its initialization" in start and "smaller" not in start
    assert "either the rate is too large: try a smaller" in first and "or the gradient at the initial par" in first
    assert "at step 2, learning rate 0.1: try a smaller" in later


def test_another_config_does_not_touch_the_run(launch, make_config, tmp_path):
    launch(make_config(), tmp_path)
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"belongs to another run \(seed: 0 -> 1\)"):
        launch(make_config(seed=1), tmp_path)
    assert files(tmp_path) == before


def test_a_mistake_leaves_the_directory_free_for_the_corrected_command(launch, make_config, tmp_path):
    with pytest.raises(UserError, match="model.name='mlp_tny' is unknown"):
        launch(make_config(model__name="mlp_tny"), tmp_path)
    assert launch(make_config(), tmp_path) == 0


def test_the_seed_decides_everything(launch, make_config, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        launch(make_config(seed=seed), tmp_path / name)
    assert_equal_runs(tmp_path / "a", tmp_path / "b")
    one, other = manifest(tmp_path / "a")["fingerprints"], manifest(tmp_path / "c")["fingerprints"]
    assert {name for name in one if one[name] != other[name]} == {"labels", "order"}
    assert set(parameters(tmp_path / "a").values()).isdisjoint(
        value for leaf, value in parameters(tmp_path / "c").items() if "kernel" in leaf
    )


@pytest.mark.parametrize("pixels, test_pixels, has_gap", [("random_pixels", False, False), ("gaussian", True, True)])
def test_a_gap_is_recorded_where_test_images_are_corrupted_as_those_of_train(
    launch, make_config, tmp_path, capsys, pixels, test_pixels, has_gap
):
    config = make_config(
        digits_true.get_config, corruption__pixels=pixels, corruption__test_pixels=test_pixels, train__total_epochs=0.2
    )
    launch(config, tmp_path)
    assert {"generalization_gap" in row for row in rows(tmp_path, "evaluation")} == {has_gap}
    shown = capsys.readouterr().out
    assert ("left out: the test images are not corrupted" in shown) != has_gap
    assert f"Pixels: {pixels}, of train {'and test' if test_pixels else 'alone'}" in shown
    assert ("images changed, test" in shown) == test_pixels


def test_runs_of_other_seeds_can_have_the_same_labels_and_pixels(make_config):
    fields = {"corruption__test_labels": True, "corruption__pixels": "random_pixels"}
    prints, seeds, kernels = {}, [], []
    for name, seed, corruption_seed in (("a", 0, 0), ("b", 1, 0), ("c", 0, 5), ("d", 5, -1)):
        setup = set_up_run(make_config(seed=seed, corruption__seed=corruption_seed, **fields))
        prints[name] = setup.pipeline.fingerprint_splits()
        prints[name]["order"] = setup.pipeline.fingerprint_order(STEPS_PER_EPOCH)
        seeds.append(setup.pipeline.compare_rates()["seed"])
        kernels.append({leaf.tobytes() for leaf in jax.tree.leaves(setup.start.params) if leaf.ndim == 2})
    changed = {
        name: {part for part in prints[name] if prints[name][part] != prints["a"][part]} for name in ("b", "c", "d")
    }
    corrupted = {"labels", "images", "test_labels"}
    assert changed == {"b": {"order"}, "c": corrupted, "d": {*corrupted, "order"}}
    assert all(prints["c"][part] == prints["d"][part] for part in corrupted)  # -1 is that of `seed`
    assert seeds == [0, 0, 5, 5]
    assert len(kernels[0]) == 2 and kernels[0].isdisjoint(kernels[1])


def test_how_often_a_run_evaluates_and_saves_does_not_change_what_it_learns(launch, make_config, tmp_path):
    launch(make_config(), tmp_path / "often")
    launch(make_config(evaluate__every_epochs=2.0, checkpoint__every_epochs=0.3), tmp_path / "seldom")
    assert parameters(tmp_path / "often") == parameters(tmp_path / "seldom")


def test_a_field_that_is_off_is_refused_before_a_directory_is_made(launch, tmp_path):
    config = base.get_config()
    config.corruption.label_probability = 1.5
    with pytest.raises(UserError, match="corruption.label_probability=1.5 is out of range"):
        launch(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_cifar10_with_random_labels_runs_from_a_prepared_directory(launch, tmp_path, real_data):
    config = cifar_random.get_config("mlp_tiny,smoke")
    config.data.dir = str(real_data)
    config.data.cache_dir = str(tmp_path / "cache")
    assert launch(config, tmp_path / "run") == 0
    recorded = manifest(tmp_path / "run")
    assert recorded["data"]["name"].startswith("cifar10/") and recorded["data"]["train_examples"] == 512
    assert recorded["summary"]["steps"] == 3 * 4
    kept = arrays(tmp_path / "run")
    assert kept["resampled"].all()
    assert np.mean(kept["given_labels"] == kept["true_labels"]) == pytest.approx(0.1, abs=0.05)
    assert pathlib.Path(config.data.cache_dir).is_dir()
