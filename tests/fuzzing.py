"""Overrides to try on a config: values of every field that are valid, nearly so, or nonsense, and scribbled flags."""

import math

from hypothesis import strategies as st
from ml_collections import ConfigDict

from rethink.configs import base
from rethink.models import registry
from rethink.schema import validation
from rethink.schema.fields import FIELDS as ROWS

FIELDS = {field: value for field, value in validation.flatten(base.get_config()) if not isinstance(value, ConfigDict)}

NUMBERS = {  # values that the digits can take, or nearly
    "seeds": [1, 2],
    "data.train_examples": [0, 1, 2, 100, 1437, 1438],
    "data.test_examples": [0, 1, 100, 360, 361],
    "data.validation_fraction": [0.0, 1e-9, 0.1, 0.95, 0.9995],
    "data.test_fraction": [1e-9, 0.2, 0.9, 0.9999],
    "data.resident_limit_gib": [1e-9, 4.0],
    "preprocess.crop": [0, 1, 2, 7, 8, 9],
    "augmentation.padding": [0, 1, 4, 7, 8, 4096],
    "early_stopping.patience": [0, 1, 3, 1000],
    "optimizer.learning_rate": [1e-6, 0.1, 10.0],
    "optimizer.decay_every": [1e-9, 0.5, 1.0, 1e9],
    "train.batch_size": [1, 7, 128, 512, 1437, 1438, 2**20],
    "train.total_epochs": [1e-9, 0.5, 3.0, 1e6],
    "evaluate.every_epochs": [1e-9, 0.5, 1.0, 3.0, 1e6],
    "evaluate.batch_size": [1, 7, 1000, 2**20],
}
HUGE = [2**31, 2**63, 10**400]
EDGES = [0.0, -0.0, -1.0, 1.0, 1e-300, 5e-324, 1e300, 1.7e308, math.nan, math.inf, -math.inf]
TEXTS = ["", " ", "none ", "None", "..", "../../x", "a/b", "<script>", "a\nb", "a\rb", "\x1b[2J", "\0", "$(reboot)"]
TEXTS += ["$x", "`x`", "%s", "{0}", "[/red]", "'", '"', "é", "\ud800", "x" * 300, "~no_such_user/x", "-", "*", ","]
OWN_MODELS = [
    ":",
    "a:b",
    "a:b:c",
    "a..b:c",
    ".a:b",
    "os:path",
    "json:JSONDecoder",
    "math:pi",
    "rethink.models.registry:MODELS",
]
OWN_MODELS += ["flax.linen:Dense", "flax.linen:Sequential", "flax.linen:Module", "rethink.models.mlp:MLP", "x;reboot:y"]
OWN_MODELS += ["rethink.models.tiny:TinyConv", "$(reboot):x", "class:def", "numpy:ndarray"]
OWN_MODELS += ["rethink.configs.base:get_config"]
NAMES = {
    **{field: list(row.choices) for field, row in ROWS.items() if row.choices},
    "name": ["base", "a-b_c.1"],
    "filter": ["*", "true", "tr*,random", "["],
    "data.name": ["digits"] * 5,
    "data.train_split": ["train", "test"],
    "data.test_split": ["test", "train", "validation"],
    "model.name": ["mlp_tiny"] * 3 + ["conv_tiny"] * 3 + list(registry.MODELS),
}


def misspelt(name):
    return [name[:-1], name.upper(), f" {name}", f"{name}x", name.replace("_", "-")]


def possible(field):
    """Returns values of a field that are valid, or may be beside others; TFDS is left to its own tests."""
    default = FIELDS[field]
    if isinstance(default, bool):
        return [True, False]
    if isinstance(default, str):
        return NAMES.get(field, [default])
    if ROWS[field].least_length is not None:
        return [default, (2.0, 4.0) if field.startswith("kernel.") else (2, 4)]
    interval, kind = ROWS[field].interval, type(default)
    ends = [end for end in (interval.low, interval.high) if end in interval]
    return [kind(value) for value in NUMBERS.get(field, [*ends, (interval.low + min(interval.high, 100)) / 2, default])]


def hostile(field):
    """Returns values of a field that are mostly nonsense, of its type as those of flags are, or None."""
    default = FIELDS[field]
    if isinstance(default, bool):
        return [None]
    if isinstance(default, str):
        near = [other for name in possible(field)[:20] for other in misspelt(name)]
        return [None, *TEXTS, *(OWN_MODELS if field == "model.name" else []), *(near if field != "data.name" else [])]
    if ROWS[field].least_length is not None:
        return [None, (), (-1,), (0, 10**400)]
    interval = ROWS[field].interval
    beside = [end + move for end in (interval.low, interval.high) for move in (-1, 1) if math.isfinite(end)]
    if isinstance(default, int):
        return [None, 0, -1, *map(int, beside), *HUGE, *(-value for value in HUGE)]
    return [
        None,
        *EDGES,
        *map(float, beside),
        *(math.nextafter(end, way) for end in beside for way in (-math.inf, math.inf)),
    ]


VALUES = {field: (possible(field), hostile(field)) for field in FIELDS}


def overrides():
    """Sets of fields, some of them nonsense; for the most part valid alone: it is together that they are wrong."""
    fields, numbers = st.sampled_from(list(FIELDS)), st.integers(0, 2**16)

    def pick(choice, hostility):
        field, number, coin = choice
        values = VALUES[field][coin < hostility]
        return field, values[number % len(values)]

    def some(hostility, most):
        pairs = st.tuples(fields, numbers, st.integers(0, 99)).map(lambda choice: pick(choice, hostility))
        return st.lists(pairs, min_size=1, max_size=most).map(dict)

    return some(100, 1) | some(50, 3) | some(0, 6) | some(0, 20) | some(5, 20)


SCRIBBLES = ["abc", "", " ", "1e3", "0x10", "1_000", "True", "None", "nan", "-inf", "1,2", "(1,)", "\u0663", "1.5"]
SCRIBBLES += ["--5", "9" * 5000, "a=b", "a\nb", "\udcff", "1e999", "0b1", "+1", ".", "[]", "lambda: 0"]
NO_FIELDS = ["", ".", "seed.", ".seed", "seed.x", "seed[0]", "data", "cells", "cells.a", "model.kwargs"]
NO_FIELDS += ["model.kwargs.a", "Seed", "optimizer.learning_rte", "x" * 500, "a b", "data.name.", "__class__", "seed\n"]


def scribbles():
    """Command lines: overrides that are misspelt, of the wrong type, twice, without a value, or all right."""
    fields = st.sampled_from(list(FIELDS))
    value = st.sampled_from(SCRIBBLES) | st.text(max_size=10)
    word = st.one_of(
        st.builds("--config.{}={}".format, fields, value),
        st.builds("--config.{}={}".format, st.sampled_from(NO_FIELDS), value),
        st.builds("{}config.{}".format, st.sampled_from(["--", "-", "--no", "---"]), fields),
        st.builds("--{}".format, st.text(max_size=10)),
        overrides().map(lambda changes: "--config.{}={}".format(*next(iter(changes.items())))),
    )
    return st.lists(word, min_size=1, max_size=3)
