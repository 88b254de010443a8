"""A network of the user's own with batch norm, memory and noise: recorded, resumed, refused."""

import json

import numpy as np
import orbax.checkpoint as ocp
import pytest

from rethink.configs import digits_random
from rethink.experiment.run import Launch, run_experiment
from rethink.figures import learning_curve
from rethink.results import progress
from rethink.schema.errors import UserError

OWN_MODEL = """
import flax.linen as nn
import jax
import jax.numpy as jnp

class Net(nn.Module):
    num_classes: int
    width: int = 4

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Dense(self.width)(images.reshape(len(images), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        mean = self.variable("memory", "mean", jnp.zeros, self.width)
        seen = self.variable("memory", "seen", jnp.zeros, (), jnp.int32)
        any_seen = self.variable("memory", "any", jnp.zeros, (), bool)
        x = x - mean.value
        if train:
            x += 0.01 * jax.random.normal(self.make_rng("noise"), x.shape)
        if not self.is_initializing():  # in evaluation too, where it is dropped
            mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
            seen.value += len(x)
            any_seen.value = jnp.array(True)
        self.sow("norms", "mean", mean.value)  # an output, which is no state
        return nn.Dense(self.num_classes)(x)
"""


@pytest.fixture
def make_config(tmp_path, monkeypatch):
    (tmp_path / "net_with_state.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: None)

    def make(**fields):
        config = digits_random.get_config("net_with_state:Net")
        config.model.kwargs.width = 8
        config.train.total_epochs = 2.0
        config.checkpoint.every_epochs = 0.5
        config.train.steps_per_call = 1
        config.update_from_flattened_dict({field.replace("__", "."): value for field, value in fields.items()})
        return config

    return make


def start(config, workdir):
    return run_experiment(config, str(workdir), Launch())


def read_state(workdir):
    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        content = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(manager.latest_step(), args=content)["state"]


def read_results(workdir):
    return (workdir / "metrics.jsonl").read_text(), json.dumps(read_state(workdir), default=lambda leaf: leaf.tolist())


def read_manifest(workdir):
    return json.loads((workdir / "manifest.json").read_text())


def interrupt_at(monkeypatch, step):
    advance = progress.RunProgress.advance

    def interrupted(screen, now):
        advance(screen, now)
        if now == step:
            monkeypatch.setattr(progress.RunProgress, "advance", advance)
            raise KeyboardInterrupt

    monkeypatch.setattr(progress.RunProgress, "advance", interrupted)


def test_it_is_recorded_resumes_exactly_and_only_on_as_many_devices(make_config, tmp_path, monkeypatch, capsys):
    assert start(make_config(), tmp_path / "whole") == 0
    recorded = read_manifest(tmp_path / "whole")
    assert recorded["parameters"] == (64 * 8 + 8) + (8 + 8) + (8 * 10 + 10)
    assert recorded["config"]["model.kwargs.width"] == 8
    assert recorded["batch_norm"] == "the model's own" and recorded["collections"] == ["memory"]
    assert "the model's random stream 'noise'" in recorded["depends_on_devices"]
    assert "batch norm the model's own" in " ".join(capsys.readouterr().out.split())
    # Carried, and changed by training alone.
    collections = read_state(tmp_path / "whole")["collections"]
    memory = collections["memory"]
    assert set(collections) == {"batch_stats", "memory"}
    assert memory["seen"] == 24 * 128 and memory["any"] and np.all(memory["mean"] != 0)

    interrupt_at(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        start(make_config(), tmp_path / "run")
    # On another number of devices, by the record of those that it had.
    manifest = tmp_path / "run" / "manifest.json"
    there = manifest.read_text()
    of_two = json.loads(there)
    of_two["launches"][-1]["hardware"]["devices"] = 2
    manifest.write_text(json.dumps(of_two))
    before = manifest.read_text(), (tmp_path / "run" / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match=r"^The run .* 2 device\(s\), not on 1, .*own batch norm, .*'memory'.* to 2"):
        start(make_config(), tmp_path / "run")
    assert (manifest.read_text(), (tmp_path / "run" / "metrics.jsonl").read_text()) == before
    # Where there is no such record.
    manifest.write_text(json.dumps({name: of_two[name] for name in of_two if name != "launches"}))
    with pytest.raises(UserError, match="has no launches, .*: choose another --workdir"):
        start(make_config(), tmp_path / "run")
    # On as many.
    manifest.write_text(there)
    assert start(make_config(), tmp_path / "run") == 0
    assert read_results(tmp_path / "run") == read_results(tmp_path / "whole")
