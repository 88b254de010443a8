"""Memorization and influence: the estimates against all subsets, the subsets, and the networks that are trained."""

import itertools

import numpy as np
import pytest

from rethink.configs import digits_true
from rethink.data.dataset import Subset
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.setup import Given, make_network_parts, open_dataset_once, set_up_run
from rethink.memorization import influence
from rethink.memorization.subset_networks import CorrectnessFile, SubsetNetworks
from rethink.schema.errors import UserError

IDS = np.arange(3, 43, dtype=np.uint32)


def learn(points, labels, mask, queries):
    """The deterministic learner: the label of the nearest point in the subset."""
    inside = np.flatnonzero(mask)
    return labels[inside[np.abs(queries[:, None] - points[inside]).argmin(axis=1)]]


@pytest.fixture(scope="module")
def enumeration():
    """All 56 subsets of 5 of 8 examples on a line: masks, which train and test examples are predicted."""
    points, labels = np.array([0.0, 1, 2.2, 3.1, 4.5, 5, 6.3, 7]), np.array([0, 0, 1, 0, 1, 1, 0, 1])
    queries, wanted = np.array([0.4, 2.5, 3.3, 6.5]), np.array([0, 1, 0, 1])
    masks = np.array([np.isin(range(8), chosen) for chosen in itertools.combinations(range(8), 5)])
    train = np.array([learn(points, labels, mask, points) == labels for mask in masks])
    test = np.array([learn(points, labels, mask, queries) == wanted for mask in masks])
    return masks, train, test


def test_memorization_is_the_difference_over_all_subsets_with_and_without_an_example(enumeration):
    masks, train, _ = enumeration
    found = influence.estimate_memorization(masks, train)
    for i in range(8):
        assert found.value[i] == pytest.approx(train[masks[:, i], i].mean() - train[~masks[:, i], i].mean())
    assert found.value.min() >= 0 and found.value.max() > 0.5  # an example in its subset is its own neighbour
    assert found.networks.tolist() == [35] * 8


def test_influence_is_that_difference_for_each_pair(enumeration):
    masks, _, test = enumeration
    [(_, found)] = influence.estimate_influence(masks, test)
    expected = [[test[masks[:, i], j].mean() - test[~masks[:, i], j].mean() for j in range(4)] for i in range(8)]
    np.testing.assert_allclose(found.value, expected, atol=1e-12)
    assert (found.value < 0).any()  # a neighbour of the other label harms


def test_pairs_are_the_strongest_first_and_all_are_counted(enumeration, monkeypatch):
    masks, _, test = enumeration
    [(_, whole)] = influence.estimate_influence(masks, test)
    monkeypatch.setattr(influence, "BLOCK", 3)
    pairs = influence.find_pairs(masks, test, 0.1)
    assert pairs.above == len(pairs.train) == (whole.value >= 0.1).sum()
    assert pairs.below == (whole.value <= -0.1).sum()
    np.testing.assert_array_equal(pairs.influence, whole.value[pairs.train, pairs.test])
    np.testing.assert_array_equal(pairs.standard_error, whole.standard_error[pairs.train, pairs.test])
    assert (np.diff(pairs.influence) <= 0).all()
    monkeypatch.setattr(influence, "MOST_PAIRS", 2)
    fewer = influence.find_pairs(masks, test, 0.1)
    assert fewer.above == pairs.above
    assert fewer.influence.tolist() == pairs.influence[:2].tolist()


def test_the_mean_memorization_is_the_mean_difference_of_train_in_and_train_out_accuracy(enumeration):
    masks, train, _ = enumeration
    accuracies = [(of[mask].mean(), of[~mask].mean()) for mask, of in zip(masks, train, strict=True)]
    inside, outside = np.mean(accuracies, axis=0)
    assert influence.estimate_memorization(masks, train).value.mean() == pytest.approx(inside - outside)


def test_squared_standard_errors_have_the_variance_of_binomial_shares_as_their_mean():
    rng = np.random.default_rng(0)
    hits_in, hits_out = rng.binomial(30, 0.9, 20000), rng.binomial(12, 0.3, 20000)
    found = influence.compare_shares(hits_in, np.full(20000, 30), hits_out, np.full(20000, 12))
    variance = 0.9 * 0.1 / 30 + 0.3 * 0.7 / 12
    assert np.mean(found.standard_error**2) == pytest.approx(variance, rel=0.02)
    assert np.var(found.value) == pytest.approx(variance, rel=0.05)
    assert found.value.mean() == pytest.approx(0.6, abs=0.005)


def test_an_example_in_or_out_of_too_few_networks_has_no_estimate():
    least = influence.LEAST_NETWORKS
    masks = np.zeros((2 * least, 3), bool)
    masks[:least, 0], masks[: least - 1, 1], masks[: least + 1, 2] = True, True, True
    found = influence.estimate_memorization(masks, masks)
    assert found.value[0] == 1 and np.isnan(found.value[1:]).all() and np.isnan(found.standard_error[1:]).all()
    [(_, pairs)] = influence.estimate_influence(masks, masks[:, :2])
    assert np.isnan(pairs.value[1:]).all() and not np.isnan(pairs.value[0]).any()


# Subsets


def test_a_subset_has_its_size_and_is_a_function_of_seed_network_and_id():
    first = influence.draw_mask(0, 7, IDS, 28)
    assert first.sum() == 28 and first.dtype == bool
    np.testing.assert_array_equal(first, influence.draw_mask(0, 7, IDS, 28))
    assert (first != influence.draw_mask(0, 8, IDS, 28)).any()
    assert (first != influence.draw_mask(1, 7, IDS, 28)).any()
    assert (first <= influence.draw_mask(0, 7, IDS, 29)).all()
    others = np.delete(IDS, 5)  # an example less changes no other's number: at most one more comes in
    assert (np.delete(first, 5) <= influence.draw_mask(0, 7, others, 28)).all()


def test_each_example_is_in_its_share_of_the_subsets():
    masks = np.array([influence.draw_mask(3, network, IDS, 28) for network in range(200)])
    assert abs(masks.mean(axis=0) - 0.7).max() < 5 * (0.7 * 0.3 / 200) ** 0.5
    assert len({mask.tobytes() for mask in masks}) == 200


@pytest.mark.parametrize("share, examples", [(0.01, 10), (0.99, 10)])
def test_a_share_that_leaves_nothing_in_or_out_is_refused(share, examples):
    with pytest.raises(UserError, match=f"influence.share={share} takes .* of 10 .* --config.influence.share=0.7"):
        influence.count_members(share, examples)


# Networks


def config_of(**fields):
    config = digits_true.get_config("mlp_tiny")
    config.data.train_examples, config.data.test_examples, config.train.batch_size = 40, 30, 8
    config.train.total_epochs, config.stop.train_accuracy, config.evaluate.batch_size = 2.0, 0.0, 25
    config.update(fields)
    return config


def train(config, networks, members=28):
    """Returns (split -> bool [networks, n], masks) of these networks."""
    pipeline = InputPipeline(config, open_dataset_once(config))
    splits = pipeline.corrupt_splits()
    ids = splits["train"].ids
    masks = {k: influence.draw_mask(config.seed, k, ids, members) for k in networks}

    def draw(network):
        return influence.draw_network_seed(config.seed, network), np.flatnonzero(masks[network]).astype(np.int32)

    _, parts = make_network_parts(config, pipeline, members)
    found = list(SubsetNetworks(parts, splits).train(networks, draw))
    return {name: np.concatenate([of[name] for of in found]) for name in ("train", "test")}, masks


@pytest.fixture(scope="module")
def trained():
    """Five networks of 16 hidden units on 28 of 40 digits."""
    return train(config_of(), range(5))


def test_a_network_is_an_ordinary_run_on_its_subset(trained):
    correct, masks = trained
    config = config_of(seed=influence.draw_network_seed(0, 3))
    data = open_dataset_once(config)
    config.data.train_examples = config.data.test_examples = 0
    subset = Subset(data.train, data.train.ids[masks[3]])
    setup = set_up_run(config, given=Given(data._replace(splits={"train": subset, "test": data.test})))
    state, _ = setup.compiled.train_call(setup.compiled.place(setup.start), 0, setup.plan.total_steps)
    examples = setup.compiled.evaluate(state, "test").examples
    np.testing.assert_array_equal(examples.predicted == data.test.load().labels, correct["test"][3])


def test_networks_are_the_same_alone_in_another_company_and_stacked(trained):
    correct, _ = trained
    alone, _ = train(config_of(), [3])
    stacked, _ = train(config_of(influence={"stack": 2}), range(1, 4))
    for name in ("train", "test"):
        np.testing.assert_array_equal(alone[name][0], correct[name][3])
        np.testing.assert_array_equal(stacked[name], correct[name][1:4])


@pytest.mark.slow
def test_a_network_with_batch_norm_dropout_augmentation_and_decay_is_trained_as_it_is():
    fields = {"model": {"name": "conv_tiny"}, "batch_norm": {"kind": "across_devices"}, "dropout": {"rate": 0.2}}
    fields |= {"augmentation": {"rotation": 5.0}, "weight_decay": {"kind": "l2"}}
    correct, masks = train(config_of(**fields), range(1), members=8)
    assert correct["train"].shape == (1, 40) and correct["test"].shape == (1, 30)


def test_a_network_that_diverges_is_named():
    with pytest.raises(UserError, match="Network 2 diverged: try a smaller --config.optimizer.learning_rate"):
        train(config_of(optimizer={"learning_rate": 1e30}), [2])


# The file


def test_the_file_grows_by_whole_records_and_drops_what_is_not(tmp_path):
    path, origin = tmp_path / "networks.bin", {"images": "abc"}
    correct = np.random.default_rng(0).random((5, 21)) < 0.5
    first = CorrectnessFile(path, origin, 21)
    first.append(correct[:2])
    first.append(correct[2:4])
    np.testing.assert_array_equal(first.read(4), correct[:4])
    whole = path.read_bytes()
    for content, count in ((whole, 4), (whole[:-1], 3), (whole + b"x", 4), (whole[:-1] + bytes([whole[-1] ^ 8]), 3)):
        path.write_bytes(content)
        again = CorrectnessFile(path, origin, 21)
        assert again.count == count
        again.append(correct[count:])
        np.testing.assert_array_equal(again.read(5), correct)
        np.testing.assert_array_equal(CorrectnessFile(path, origin, 21).read(5), correct)
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("origin, examples", [({"images": "other"}, 21), ({"images": "abc"}, 22)])
def test_networks_of_other_data_are_refused_and_left_as_they_are(tmp_path, origin, examples):
    path = tmp_path / "networks.bin"
    CorrectnessFile(path, {"images": "abc"}, 21).append(np.ones((1, 21), bool))
    before = path.read_bytes()
    with pytest.raises(UserError, match="trained on other data .* another --workdir"):
        CorrectnessFile(path, origin, examples)
    assert path.read_bytes() == before
