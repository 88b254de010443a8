"""The benchmark of speed: that it runs, what it refuses, its networks on paper and in PyTorch."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import architectures, rows
from benchmarks.parts import settings
from rethink import randomness
from rethink.configs import base
from rethink.models import registry
from rethink.regularization import batch_norm, explicit

ROOT = pathlib.Path(__file__).parents[1]
needs_torch = pytest.mark.skipif(
    not settings.has_pytorch(),
    reason="PyTorch and torchvision are in the extra `bench`",
)
# In a process of its own, as PyTorch and JAX would fight for threads. Of 25, 13 and 7 pixels both pad alike.
LOGITS = """
import sys
import numpy as np, torch
from benchmarks.peers import networks

model, file, tuned = sys.argv[1], sys.argv[2], sys.argv[3] == "tuned"
arrays = np.load(file)
network = networks.build(model, tuned=tuned).eval()
layers = [module for module in network.modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
for i, layer in enumerate(layers):
    kernel, bias = torch.from_numpy(arrays[f"kernel{i}"]), torch.from_numpy(arrays[f"bias{i}"])
    if kernel.ndim == 2 and layer.weight.ndim == 4:
        kernel = kernel[None, None]
    with torch.no_grad():
        layer.weight.copy_(kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T)
        layer.bias.copy_(bias)
with torch.no_grad():
    logits = network(torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2)).numpy()
print(np.abs(logits - arrays["logits"]).max() / np.abs(arrays["logits"]).max())
"""


def run(*words):
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("model", architectures.MODELS)
def test_the_networks_on_paper_have_the_papers_parameters(model):
    assert architectures.parameters(model) == architectures.PARAMETERS[model]


@pytest.mark.parametrize("model, gflop", [("mlp_1x512", 0.62), ("mlp_3x512", 1.02)])
def test_the_operations_of_a_step_are_those_of_its_products(model, gflop):
    assert architectures.step_flop(model) / 1e9 == pytest.approx(gflop, abs=0.005)


def test_the_products_of_a_step_counted_by_hand():
    first, last = architectures.layers("mlp_1x512")
    assert first == (1, 2352, 512, True) and last == (1, 512, 10, False)
    assert architectures.step_flop("mlp_1x512") == 2 * 128 * (2 * 2352 * 512 + 3 * 512 * 10)


def test_rows_say_how_repeats_spread():
    repeats = [{"seconds": 2.0, "images": 10}, {"seconds": 1.0, "images": 10}, {"seconds": 4.0, "images": 10}]
    row = rows.rate_row("epoch", "ours", repeats)
    assert (row["median"], row["min"], row["max"], row["n"]) == (5.0, 2.5, 10.0, 3)
    ratio = rows.ratio_row("epoch", "a / b", [4.0, 9.0], [2.0, 3.0])
    assert (ratio["median"], ratio["min"], ratio["max"]) == (2.5, 2.0, 3.0)
    assert rows.show([row]).splitlines()[1].split() == ["epoch", "ours", "5", "2.5", "10", "images/s", "3", "2.333"]


def test_repeats_take_turns():
    order = []
    measures = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert rows.take_turns(measures, 2) == {"a": [1, 3], "b": [2, 4]}
    assert order == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    "word", ["--only=nothing", "--examples=3", "--models=vgg", "--devices=3", "--data_dir=/nowhere", "--unknown", "x"]
)
def test_a_mistake_is_one_line_and_exit_code_2(word):
    ended = run(word)
    assert ended.returncode == 2 and not ended.stdout
    assert ended.stderr.startswith("Error: ") and ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_set_that_is_not_there_is_a_mistake(tmp_path):
    (tmp_path / "cifar10").mkdir()
    ended = run("--only=around", "--models=mlp_1x512", "--examples=128", f"--data_dir={tmp_path}")
    assert ended.returncode == 2 and ended.stderr.splitlines()[-1].startswith("Error: "), ended.stderr
    assert "Traceback" not in ended.stderr


def measure(tmp_path, real_data, *words):
    """Returns the file of the smallest benchmark that there is."""
    file = tmp_path / "speed.json"
    least = ["--models=mlp_1x512", "--examples=512", "--repeats=1", "--devices=1"]
    ended = run(*least, *words, f"--data_dir={real_data}", f"--output={file}")
    assert ended.returncode == 0, ended.stderr
    assert all(row["what"] in ended.stdout for part in json.loads(file.read_text())["parts"].values() for row in part)
    return json.loads(file.read_text())


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path, real_data):
    results = measure(tmp_path, real_data, "--only=around,limits")
    rates = {row["what"]: row["median"] for row in results["parts"]["around"] if row["unit"] == "images/s"}
    assert len(rates) == 3 and min(rates.values()) > 0
    assert {row["by"] for row in results["parts"]["limits"]} >= {"XLA"}
    assert set(results["seconds"]) == {"around", "limits"}


@pytest.mark.slow
def test_every_part_of_the_benchmark_runs(tmp_path, real_data):
    words = ["--only=epochs,limits,fit,start,memory", "--fit_accuracy=0.2", "--fit_epochs=5"]
    results = measure(tmp_path, real_data, *words)
    assert set(results["parts"]) == {"epochs", "limits", "shares", "fit", "start", "memory"}
    measured = {row["by"]: row["median"] for row in results["parts"]["epochs"]}
    assert {"ours, resident, 1 device(s)", "ours, streamed"} <= set(measured) and min(measured.values()) > 0
    assert any("PyTorch" in by for by in measured) == (results["PyTorch"] == "measured")
    assert not any("NOT REACHED" in row["what"] for row in results["parts"]["fit"])


@needs_torch
@pytest.mark.parametrize("tuned", ["plain", "tuned"])
@pytest.mark.parametrize("model, size", [("mlp_3x512", 28), ("alexnet", 25), ("inception", 25)])
def test_the_networks_in_pytorch_give_the_same_logits(model, size, tuned, tmp_path):
    config = base.get_config()
    network = registry.build_model(
        model,
        num_classes=10,
        norm=batch_norm.from_config(config.batch_norm, "devices"),
        dropout=explicit.dropout_from_config(config.dropout, "devices"),
        init="lecun_normal",
        kwargs={},
    )
    rng = np.random.default_rng(0)
    images = rng.normal(0, 30, (4, size, size, 3)).astype(np.float32)  # large, for the normalization of AlexNet to act
    params = network.init(randomness.key_for(0, "params"), images, train=False)["params"]
    params = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.01, leaf.shape).astype(np.float32), params)
    layers = [{name: np.asarray(part) for name, part in params[layer].items()} for layer in in_order(model, params)]
    flat = next(layer for layer in layers if layer["kernel"].ndim == 2)  # the first that reads a flat image, HWC
    if model != "inception":
        channels = 3 if model == "mlp_3x512" else 64
        side = int((len(flat["kernel"]) // channels) ** 0.5)
        by_place = flat["kernel"].reshape(side, side, channels, -1)
        flat["kernel"] = by_place.transpose(2, 0, 1, 3).reshape(flat["kernel"].shape)
    file = tmp_path / "network.npz"
    parts = {f"{name}{i}": part for i, layer in enumerate(layers) for name, part in layer.items()}
    logits = network.apply({"params": params}, images, train=False)
    np.savez(file, images=images, logits=logits, allow_pickle=False, **parts)
    ended = subprocess.run(
        [sys.executable, "-c", LOGITS, model.replace("inception", "inception_no_bn"), str(file), tuned],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 1e-4


def in_order(model, params):
    """Returns the names of layers as PyTorch has them: an Inception module's 1x1 convolution, a Dense, comes first."""
    layers = {kind: [f"{kind}_{i}" for i in range(sum(kind in name for name in params))] for kind in ("Conv", "Dense")}
    if model != "inception":
        return layers["Conv"] + layers["Dense"]
    order = [layers["Conv"].pop(0)]
    for filters in architectures.INCEPTION_MODULES:
        if not isinstance(filters, int):
            order.append(layers["Dense"].pop(0))
        order.append(layers["Conv"].pop(0))
    return order + layers["Dense"]
