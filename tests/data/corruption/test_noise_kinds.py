"""Pair flip, maps of classes, matrices and noise that depends on the image: what is drawn, and from what."""

import jax
import numpy as np
import pytest
import scipy.special

from rethink.data.corruption import instance, transitions
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.spec import CHUNK, redraw_labels
from rethink.data.corruption.transitions import CIFAR100_NAMES, MAPS, check_matrix, divide_rows
from rethink.schema.errors import UserError
from tests.data.corruption.test_spec import section

N, K = 13 * CHUNK, 10  # 53,248: one shape, as most of the time goes into compilation
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, K, N).astype(np.int32)
MATRIX = RNG.dirichlet(np.full(K, 0.3), K)
SMALL = RNG.integers(0, 256, (N, 2, 2, 1)).astype(np.uint8)
KINDS = ("pair_flip", "asymmetric:cifar10", "matrix", "instance")


def redraw(kind, probability=1.0, *, labels=LABELS, seed=0, rows=slice(None), facts=None, images=SMALL, **fields):
    """Returns (given labels, resampled) of the examples at `rows`."""
    facts = facts or DataFacts(K, seed)
    ids = np.arange(len(labels), dtype=np.uint32)[rows]
    config = section(labels=kind, label_probability=probability, **fields)
    matrix = MATRIX if kind == "matrix" else None
    return redraw_labels(
        labels[rows], config, facts._replace(ids=ids), images=images[: len(labels)][rows], matrix=matrix
    )


def count(given, labels=LABELS, classes=K):
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, given), 1)
    return counts


def assert_matrix(counts, declared):
    """Each cell is within 4 standard errors of what is declared, and what is impossible does not occur."""
    rows = counts.sum(axis=1, keepdims=True)
    error = np.sqrt(declared * (1 - declared) / rows)
    assert (abs(counts / rows - declared) <= 4 * error + 1e-12).all()


@pytest.mark.parametrize("p", [0.2, 1.0])
@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_realized_matrix_is_the_declared_one(kind, p):
    drawn = {"pair_flip": np.eye(K)[(np.arange(K) + 1) % K], "matrix": MATRIX}.get(kind, np.eye(K))
    if kind.startswith("asymmetric"):
        drawn = drawn[[0, 1, 0, 5, 7, 3, 6, 7, 8, 1]]  # by hand: bird, cat, deer, dog, truck
    assert_matrix(count(redraw(kind, p)[0]), (1 - p) * np.eye(K) + p * drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_nested_in_its_probability_and_0_is_the_identity(kind):
    levels = [redraw(kind, p, labels=LABELS[:CHUNK]) for p in (0.0, 0.2, 0.9, 1.0)]
    np.testing.assert_array_equal(levels[0][0], LABELS[:CHUNK])
    assert not levels[0][1].any()
    for (fewer, inner), (more, outer) in zip(levels[:-1], levels[1:], strict=True):
        assert outer[inner].all() and outer.sum() > inner.sum()
        np.testing.assert_array_equal(fewer[inner], more[inner])
        np.testing.assert_array_equal(fewer[~inner], LABELS[:CHUNK][~inner])


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_depends_on_the_example_and_not_on_those_beside_it(kind):
    whole = redraw(kind, 0.5, labels=LABELS[:CHUNK])
    for rows in (RNG.permutation(CHUNK), np.repeat([5, 9], CHUNK // 2)):
        for part, of_whole in zip(redraw(kind, 0.5, labels=LABELS[:CHUNK], rows=rows), whole, strict=True):
            np.testing.assert_array_equal(part, of_whole[rows], strict=True)
    assert (redraw(kind, 0.5, labels=LABELS[:CHUNK], seed=1)[1] != whole[1]).any()


def test_the_maps_are_the_standard_ones():
    assert {name: len(names) for name, (names, _) in MAPS.items()} == {"mnist": 10, "cifar10": 10, "cifar100": 100}
    assert MAPS["mnist"][1] == {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
    assert MAPS["cifar10"][1] == {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
    # The superclass of each class of CIFAR-100, as its makers count them: one cycle of five in each.
    coarse = (
        "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 "
        "14 16 9 11 5 5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 "
        "2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13 "
    )
    superclass = np.array(coarse.split(), int)
    following = np.array([MAPS["cifar100"][1][label] for label in range(100)])
    np.testing.assert_array_equal(superclass[following], superclass)
    at = np.arange(100)
    for turns in range(1, 6):
        at = following[at]
        assert (at == np.arange(100)).all() == (turns == 5)
    assert CIFAR100_NAMES[following[CIFAR100_NAMES.index("beaver")]] == "dolphin"
    assert CIFAR100_NAMES[following[CIFAR100_NAMES.index("whale")]] == "beaver"


@pytest.mark.parametrize(
    "facts, map_name",
    [
        (DataFacts(10, 0, tuple("0123456789"), "mnist/3.0.1"), "mnist"),
        (DataFacts(10, 0, tuple("0123456789"), "cifar10/3.0.2"), "cifar10"),
        (DataFacts(10, 0, MAPS["cifar10"][0], "npz:mine.npz"), "cifar10"),
        (DataFacts(100, 0, CIFAR100_NAMES, "folder:pictures"), "cifar100"),
    ],
)
def test_the_data_set_chooses_its_map(facts, map_name):
    table = transitions.open_map("", section(labels="asymmetric"), facts)
    flips = MAPS[map_name][1]
    assert table.tolist() == [flips.get(label, label) for label in range(facts.num_classes)]


FASHION = DataFacts(10, 0, ("T-shirt/top", *map(str, range(1, 10))), "fashion_mnist/3.0.1")


@pytest.mark.parametrize(
    "labels, facts, words",
    [
        (
            "asymmetric",
            FASHION,
            "a map for mnist, cifar10, cifar100, and fashion_mnist/3.0.1 is none of them: .*matrix:",
        ),
        ("asymmetric", DataFacts(10, 0, tuple("0123456789"), "idx:fashion"), "idx:fashion is none of them"),
        ("asymmetric:mnist", FASHION, "is for the classes 0, 1, 2, .* this data set has T-shirt/top"),
        ("asymmetric:cifar10", DataFacts(2, 0, ("0", "1"), "cifar10"), r"\(10\), and this data set has 0, 1 \(2\)"),
        ("asymmetric:mnits", DataFacts(10, 0), "'mnits' is unknown; did you mean 'mnist'"),
        ("pair_flip:2", DataFacts(10, 0), "'pair_flip' takes nothing behind a colon"),
        ("instance:2", DataFacts(10, 0), "'instance' takes nothing behind a colon"),
    ],
)
def test_a_map_of_other_classes_is_refused(labels, facts, words):
    with pytest.raises(UserError, match=words) as error:
        redraw(labels, facts=facts, labels=LABELS[:5] % facts.num_classes)
    assert "\n" not in str(error.value)


# Matrices


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", "1,0,0\n0.25,0.5,0.25\n0,0,1\n"),
        ("a.csv", "\ufeff1;0;0\r\n0.25;0.5;0.25\r\n\r\n0;0;1"),
        ("a b.txt", "# rows: true\n1 0 0\n.25\t.5  .25\n0 0 1\n"),
    ],
)
def test_a_matrix_is_read_from_text_of_any_form(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    table = transitions.open_matrix(str(tmp_path / name), section(labels="matrix"), DataFacts(3, 0))
    matrix = transitions.matrix_transition(3, table, None, None)
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [0.25, 0.5, 0.25], [0, 0, 1]])


def test_a_matrix_in_a_file_gives_the_labels_of_the_array(tmp_path):
    np.save(tmp_path / "m.npy", MATRIX)
    np.savez(tmp_path / "m.npz", matrix=MATRIX)
    want = redraw("matrix", 0.5, labels=LABELS[:CHUNK])
    for name in ("m.npy", "m.npz"):
        np.testing.assert_array_equal(redraw(f"matrix:{tmp_path / name}", 0.5, labels=LABELS[:CHUNK]), want)


def test_an_impossible_label_is_never_drawn():
    matrix = np.array([[0.999999, 1e-6, 0.0], [0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3]])
    ends = divide_rows(matrix)
    assert ends.tolist()[1] == [0, 0, 2**31] and (ends[:, -1] == 2**31).all() and ends[0, 1] == 2**31
    np.testing.assert_allclose(transitions.matrix_transition(3, ends, None, None), matrix, atol=2**-31)


@pytest.mark.parametrize(
    "matrix, words",
    [
        (np.eye(4), r"has shape \[4, 4\], and there are 3 classes"),
        (np.eye(3)[:2], r"has shape \[2, 3\]"),
        ([[1, 0, 0], [0, np.nan, 1], [0, 0, 1]], "no finite number"),
        ([[1, 0, 0], [-0.1, 0.1, 1], [0, 0, 1]], "holds -0.1 in row 1, column 0"),
        ([[1, 0, 0], [0.2, 0.2, 0.2], [0, 0, 1]], "row 1 sums to 0.6, and rows sum to 1: divide"),
        ([[0.5, 0, 0.2], [0.5, 1, 0], [0, 0, 0.8]], "row 0 sums to 0.7, .* its columns do, so transpose it"),
        (np.array([["a"] * 3] * 3), "no finite number"),
    ],
)
def test_what_is_no_matrix_of_probabilities_is_refused(matrix, words):
    with pytest.raises(UserError, match=f"^here:? .*{words}"):
        check_matrix(np.array(matrix), 3, "here")


def test_rounded_rows_are_taken():
    assert check_matrix(np.full((3, 3), 0.3333), 3, "here").dtype == np.float64


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.csv", b"1,0\n0\n", "rows of \\[1, 2\\] numbers"),
        ("a.csv", b"", "rows of \\[\\] numbers"),
        ("a.csv", b"x,y\n1,0\n", "is no matrix of numbers"),
        ("a.csv", b"\xff\xfe", "is no matrix of numbers"),
        ("a.npy", b"no array", "can't be read as an array"),
        ("a.npz", b"", "can't be read as an array"),
        (None, b"", "there is no file"),
    ],
)
def test_a_file_without_a_matrix_is_refused(tmp_path, name, content, words):
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"^corruption.labels='matrix:.*{words}") as error:
        redraw(f"matrix:{tmp_path / (name or 'missing.csv')}", labels=LABELS[:5])
    assert "\n" not in str(error.value)


# Noise that depends on the image


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
def test_the_rates_are_those_of_the_truncated_normal_distribution(p):
    rates = instance.quantiles_of_rate(p).astype(np.float64)
    draws = RNG.normal(p, 0.1, 400_000)
    draws = draws[(draws >= 0) & (draws <= 1)]
    assert abs(rates.mean() - draws.mean()) < 4 * draws.std() / len(draws) ** 0.5
    assert abs(rates.std() - draws.std()) < 1e-3
    _, resampled = redraw("instance", p)
    assert abs(resampled.mean() - rates.mean()) < 4 * (rates.mean() * (1 - rates.mean()) / N) ** 0.5


def test_the_rates_grow_with_the_probability():
    levels = [instance.quantiles_of_rate(p) for p in np.linspace(0, 1, 101)]
    for lower, higher in zip(levels[:-1], levels[1:], strict=True):
        assert (lower <= higher).all()


def test_labels_by_image_have_the_distribution_of_the_definition():
    scale = 0.2  # of scores, so that several classes are likely
    weights = instance.draw_weights(0, K, 4).astype(np.float64) / instance.WEIGHT_STEPS
    x = scale * (SMALL.reshape(N, -1).astype(np.float64) - 128) / instance.PIXEL_STEPS
    scores = np.einsum("nd,jnd->nj", x, weights[:, LABELS])
    scores[np.arange(N), LABELS] = -np.inf
    chances = scipy.special.softmax(scores, axis=1)
    given, resampled = redraw("instance", 0.4, instance_scale=scale)
    np.testing.assert_array_equal(given != LABELS, resampled)
    # Each class as often as its chances say, among all that are resampled and among the examples that it suits.
    for label in range(K):
        for chosen in (resampled, resampled & (chances[:, label] > 0.3)):
            expected, spread = chances[chosen, label], chances[chosen, label] * (1 - chances[chosen, label])
            assert abs((given[chosen] == label).sum() - expected.sum()) <= 4 * spread.sum() ** 0.5


def test_the_weights_are_normal_and_a_function_of_the_seed():
    weights = np.stack([instance.draw_weights(seed, K, 4) for seed in range(20)])
    np.testing.assert_array_equal(weights[3], instance.draw_weights(3, K, 4))
    assert (weights[3] != weights[4]).mean() > 0.9
    values = weights / instance.WEIGHT_STEPS
    assert abs(values.mean()) < 4 / values.size**0.5
    assert abs(values.var() - 1) < 4 * (2 / values.size) ** 0.5


@pytest.mark.parametrize("length", [CHUNK, pytest.param(300, marks=pytest.mark.slow)])
def test_no_switch_and_no_length_of_a_batch_changes_a_label_by_image(length):
    want = redraw("instance", 0.4, labels=LABELS[:CHUNK])
    with jax.enable_x64(True):
        given = redraw("instance", 0.4, labels=LABELS[:length])
    np.testing.assert_array_equal(given, [part[:length] for part in want])


def test_images_of_any_type_have_the_codes_of_those_of_8_bits():
    image = np.arange(256, dtype=np.uint8)
    codes = instance.centre_pixels(image, np.float32(0), np.float32(1))
    assert codes.tolist() == list(range(-128, 128))
    deep = (image.astype(np.uint16) << 8) + 7
    np.testing.assert_array_equal(instance.centre_pixels(deep, np.float32(0), np.float32(1)), codes)
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        floats = (low + (high - low) * image / 255).astype(np.float32)
        steps = np.float32(256 / (high - low))
        np.testing.assert_array_equal(instance.centre_pixels(floats, np.float32(low), steps)[1:], codes[1:])


@pytest.mark.parametrize(
    "facts, words",
    [
        (DataFacts(10, 0, has_vectors=True), "is for images, .* and these are feature vectors"),
        (DataFacts(1000, 0, image_shape=(32, 32, 3)), "needs 2,930 MiB of weights for 1000 classes and 3,072 values"),
        (DataFacts(2, 0, image_shape=(500, 500, 3)), "sums over 750,000 values an image are too large for 32 bits"),
    ],
)
def test_images_that_no_label_can_be_drawn_by_are_refused(facts, words):
    with pytest.raises(UserError, match=f"^corruption.labels='instance'.*{words}"):
        instance.open_instance("", section(labels="instance"), facts)


def test_labels_by_image_need_images():
    with pytest.raises(UserError, match="reads the images: give images="):
        redraw_labels(LABELS[:5], section(labels="instance"), DataFacts(K, 0))
    with pytest.raises(UserError, match="images= has shape .* one to each label"):
        redraw_labels(LABELS[:5], section(labels="instance"), DataFacts(K, 0), images=SMALL)
    with pytest.raises(UserError, match="draws by a matrix: give matrix=, or type matrix:FILE"):
        redraw_labels(LABELS[:5], section(labels="matrix"), DataFacts(K, 0))
