"""The layout of the project: who may import whom, who alone may name what, and how long a file may be."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
    [ROOT / "main.py", *(ROOT / "rethink").rglob("*.py"), *(ROOT / "configs").rglob("*.py")], key=lambda path: str(path)
)
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

# Imports point down only: room or file -> what it may import beside itself.
MAY_IMPORT = {
    "main": {"experiment", "sweeps", "settings"},
    "sweeps": {"results", "settings"},
    "experiment": {"data", "models", "regularization", "training", "theory", "results", "settings", "randomness"},
    "training": {"regularization", "results.records", "settings", "randomness"},
    "models": {"regularization"},
    "data": {"settings", "randomness"},
    "regularization": {"settings", "randomness"},
    "theory": {"data", "models", "randomness", "settings", "ranges"},
    "results": {"settings"},
    "configs": set(),
    "settings": {"ranges"},
    "ranges": set(),
    "randomness": set(),
}
# Files that were split off: what they serve may import them, and they what they need of its share.
SPLIT_OFF = {
    "main": {"command_line", "members", "reproduction", "statuses"},
    "members": {"settings"},
    "reproduction": {"executors", "members", "results.page", "settings", "statuses", "sweeps"},
    "again": {"experiment", "results", "settings", "statuses"},
    "plans": {"executors.tasks", "members", "results", "settings"},
    "sweeps": {"executors", "members", "plans", "statuses"},
    "executors": {"results", "settings", "statuses", "training.preemption"},
    "statuses": set(),
    "worker": {"command_line", "experiment", "results.files", "settings", "statuses"},
    "command_line": {"members", "settings", "training.parallel"},  # how processes find each other
    "experiment": {"assembly", "choices", "executors", "feeding", "reporting", "statuses", "story", "studies"},
    "story": {"assembly", "reporting", "results", "settings", "statuses", "training"},
    "choices": MAY_IMPORT["experiment"] | {"executors", "feeding", "studies"},
    "studies": {"data", "models", "theory", "results", "settings", "randomness"},
    "assembly": MAY_IMPORT["experiment"] | {"feeding"},
    "feeding": {"data", "training"},
    "reporting": {"statuses", "assembly", "data", "regularization", "results", "training"},
    "models": {"settings"},  # the errors that a user sees
}
# Module -> the only files that import it.
ONLY_IMPORTERS = {
    "tensorflow_datasets": {"rethink/data/tfds_source.py", "rethink/data/prepare.py"},
    "tensorflow": {"rethink/data/tfds_source.py"},
    "grain": {"rethink/data/streaming.py"},
    "flax.jax_utils": {"rethink/training/parallel.py"},
    "jax.experimental": {"rethink/training/parallel.py"},
    "orbax": {"rethink/training/checkpoints.py"},
    "sklearn": {"rethink/data/sources.py"},
    "ray": {"rethink/executors/cluster.py"},
    "plotly": {"rethink/results/page/drawing.py"},
    "ml_collections.config_flags": {"rethink/command_line.py"},
    "pickle": set(),
    "cloudpickle": set(),
    "dill": set(),
    "random": set(),
}
# Name in the code -> the only files where it stands.
ONLY_NAMED = {
    "pmap": {"rethink/training/parallel.py"},
    "shard_map": {"rethink/training/parallel.py"},
    "device_put": {"rethink/training/parallel.py"},
    "process_index": {"rethink/training/parallel.py"},
    "process_count": {"rethink/training/parallel.py"},
    "device_count": {"rethink/training/parallel.py"},
    "PRNGKey": set(),
    "tfds": {"rethink/data/tfds_source.py", "rethink/data/prepare.py"},
}


def imports(tree):
    """Yields the dotted name of everything that is imported anywhere in a file, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(tree):
    """Yields every identifier and attribute that the code uses, docstrings and comments apart."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def below(name, prefix):
    return name == prefix or name.startswith(f"{prefix}.")


def room_of(path):
    """Returns the room or file at the top of the package that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "rethink" else parts[0]


def strays(path, tree):
    """Returns the imports of the project that its tables do not allow."""
    room = room_of(path)
    allowed = MAY_IMPORT.get(room, set()) | SPLIT_OFF.get(room, set()) | {room}
    own = [name.removeprefix("rethink.") for name in imports(tree) if below(name, "rethink")]
    return [name for name in own if not any(below(name, other) for other in allowed)]


def parse(path):
    return ast.parse(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_point_down(path):
    room = room_of(path)
    if room == "__init__":
        assert not list(imports(parse(path)))
        return
    assert room in MAY_IMPORT or room in SPLIT_OFF, f"{path} belongs to no room"
    assert strays(path, parse(path)) == []


@pytest.mark.parametrize(
    "file, line, found",
    [
        ("training/loop.py", "from rethink.data import sources", ["data.sources"]),
        ("training/loop.py", "from rethink import models, settings", ["models"]),
        ("training/loop.py", "import rethink.results.figures", ["results.figures"]),
        ("training/loop.py", "from rethink.results import records", []),
        ("results/page.py", "def draw():\n    from rethink.training.loop import History", ["training.loop.History"]),
        ("theory/kernels.py", "from rethink.training import step", ["training.step"]),
        ("data/sources.py", "from rethink import experiment, randomness", ["experiment"]),
        ("../configs/base.py", "from rethink import settings", ["settings"]),
    ],
)
def test_an_import_that_points_up_is_seen(file, line, found):
    path = pathlib.Path(ROOT, "rethink", file).resolve()
    assert strays(path, ast.parse(line)) == found


def test_only_the_table_of_choices_and_the_assembly_see_data_models_and_training_together():
    together = set()
    for path, name in zip(FILES, NAMES, strict=True):
        rooms = {other.split(".")[1] for other in imports(parse(path)) if other.startswith("rethink.")}
        if {"data", "models", "training"} <= rooms | {room_of(path)}:
            together.add(name)
    assert together == {"rethink/choices.py", "rethink/assembly.py"}


@pytest.mark.parametrize("module", ONLY_IMPORTERS)
def test_a_module_is_imported_only_where_it_belongs(module):
    found = {
        name for path, name in zip(FILES, NAMES, strict=True) if any(below(i, module) for i in imports(parse(path)))
    }
    assert found <= ONLY_IMPORTERS[module]


@pytest.mark.parametrize("word", ONLY_NAMED)
def test_a_name_stands_only_where_it_belongs(word):
    found = {name for path, name in zip(FILES, NAMES, strict=True) if word in names(parse(path))}
    assert found <= ONLY_NAMED[word]


def test_the_results_are_read_without_jax():
    for path in (ROOT / "rethink" / "results").rglob("*.py"):
        found = {name.split(".")[0] for name in imports(parse(path))}
        assert not found & {"jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "tensorflow_datasets"}, path


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_randomness_has_one_owner(path):
    """NumPy draws nowhere but in theory, which has no JAX; nothing is seeded globally."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute) and node.attr == "random" and isinstance(node.value, ast.Name):
            assert node.value.id not in ("np", "numpy") or room_of(path) == "theory", f"line {node.lineno}"
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "key"
            and ast.unparse(node.value) in ("jax.random", "random")
        ):
            abstract = "stand for any"  # keys of an evaluation that draws nothing
            assert room_of(path) == "randomness" or abstract in path.read_text(), f"line {node.lineno}"
    assert not any(below(name, "numpy.random") for name in imports(parse(path))) or room_of(path) == "theory"
    assert "random.seed" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_pickled(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False", f"line {node.value.lineno}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_short(path):
    assert len(path.read_text().splitlines()) <= 300


def test_the_entry_point_is_short():
    source = (ROOT / "main.py").read_text()
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    assert len(source.replace(docstring, "").splitlines()) < 60


OWNERS = [path for path in FILES if room_of(path) not in ("main", "configs", "__init__")]


@pytest.mark.parametrize("path", OWNERS, ids=[path.relative_to(ROOT).as_posix() for path in OWNERS])
def test_a_file_says_what_it_owns_and_what_it_refuses(path):
    docstring = ast.get_docstring(parse(path))
    if path.name == "__init__.py" and not docstring:
        assert not path.read_text()
        return
    assert docstring.startswith("Owns ") and "\nRefuses " in docstring


def test_flags_are_read_only_at_the_entry():
    readers = {
        "main.py",
        "rethink/command_line.py",
        "rethink/data/streaming.py",
    }  # the last marks them as read, for grain
    found = {name for path, name in zip(FILES, NAMES, strict=True) if "absl.flags" in imports(parse(path))}
    assert found <= readers
