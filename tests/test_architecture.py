"""The layout of the package: who may import whom, who alone may name what, and how long a file may be."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
    [ROOT / "main.py", *(ROOT / "rethink").rglob("*.py"), *(ROOT / "rethink" / "configs").rglob("*.py")], key=str
)
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

# Imports point down only: a folder may import the folders below it, and none of its own tier.
TIER = {
    "main": 9,
    "api": 9,
    "sweeps": 8,
    "experiment": 7,
    "analyses": 6,
    "report": 6,
    "figures": 5,
    "paper": 4,
    "memorization": 4,
    "training": 3,
    "models": 2,
    "theory": 1,
    "data": 1,
    "results": 1,
    "regularization": 1,
    "schema": 0,
    "jax_options": 0,
    "randomness": 0,
    "configs": -1,
    "__init__": -1,  # of the package itself: it imports api.py when that is used, so that all else is light
}
ENTRY_POINTS = ("main.py", "rethink/__init__.py", "rethink/sweeps/worker.py")  # and every __main__.py: import anything
# Module -> the only files that import it.
ONLY_IMPORTERS = {
    "tensorflow_datasets": {"rethink/data/tfds.py", "rethink/data/download.py"},
    "tensorflow": {"rethink/data/tfds.py"},
    "grain": {"rethink/data/streaming.py"},
    "flax.jax_utils": {"rethink/training/devices.py"},
    "jax.experimental": {"rethink/training/distributed.py"},
    "orbax": {"rethink/training/checkpoints.py"},
    "sklearn": {"rethink/data/digits.py"},
    "ray": {"rethink/sweeps/executors/ray.py"},
    "plotly": {"rethink/report/page/drawing.py"},
    "ml_collections.config_flags": {"rethink/schema/flags.py"},
    "pickle": set(),
    "cloudpickle": set(),
    "dill": set(),
    "random": set(),
}
# Name in the code -> the only files where it stands.
ONLY_NAMED = {
    "pmap": {"rethink/training/devices.py"},
    "shard_map": {"rethink/training/devices.py"},
    "device_put": {"rethink/training/devices.py"},
    "process_index": {"rethink/training/devices.py", "rethink/training/distributed.py"},
    "process_count": {"rethink/training/devices.py", "rethink/training/distributed.py"},
    "device_count": {"rethink/training/devices.py"},
    "PRNGKey": set(),
    "tfds": {"rethink/data/tfds.py", "rethink/data/download.py"},
    "EXIT_MISTAKE": {
        "rethink/schema/errors.py",
        "rethink/sweeps/executors/worker_process.py",  # which reads it
        "rethink/training/distributed.py",  # a thread ends the process: the main one waits in JAX
    },
}
MOST_LINES = 400


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


def folder_of(dotted):
    """Returns the folder (or single file) of the package that a dotted name belongs to; else None."""
    parts = dotted.split(".")
    if parts[0] == "rethink":
        return parts[1] if len(parts) > 1 else "__init__"
    return parts[0] if parts[0] == "main" else None


def dotted_path(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def upward_imports(path, tree):
    """Returns the imports of another folder that is not below the file's own."""
    own = folder_of(dotted_path(path))
    others = [name for name in imports(tree) if folder_of(name) not in (None, own)]
    return [name for name in others if TIER[folder_of(name)] >= TIER[own]]


def module_imports(path, tree, modules):
    """Returns the files of the package that a file imports at its top level or inside a function."""
    found = set()
    for name in imports(tree):
        for module in (name, name.rpartition(".")[0]):
            if module in modules and modules[module] != path:
                found.add(modules[module])
                break
    return found


def parse(path):
    return ast.parse(path.read_text())


def is_entry_point(path):
    return path.relative_to(ROOT).as_posix() in ENTRY_POINTS or path.name == "__main__.py"


INSIDE = [path for path in FILES if not is_entry_point(path)]


@pytest.mark.parametrize("path", INSIDE, ids=map(dotted_path, INSIDE))
def test_imports_point_down(path):
    assert upward_imports(path, parse(path)) == []


@pytest.mark.parametrize(
    "file, line, found",
    [
        ("training/loop.py", "from rethink.experiment import run", ["rethink.experiment.run"]),
        ("training/loop.py", "from rethink.models import registry", []),
        ("training/loop.py", "import rethink.figures.style", ["rethink.figures.style"]),
        ("data/dataset.py", "from rethink.results import records", ["rethink.results.records"]),  # of one tier
        (
            "results/records.py",
            "def f():\n    from rethink.training.loop import History",
            ["rethink.training.loop.History"],
        ),
        ("theory/memory.py", "from rethink.training import step", ["rethink.training.step"]),
        ("configs/base.py", "from rethink.schema import fields", ["rethink.schema.fields"]),
    ],
)
def test_an_import_that_points_up_is_seen(file, line, found):
    path = ROOT / "rethink" / file
    assert upward_imports(path, ast.parse(line)) == found


def test_no_files_import_each_other_in_a_circle():
    modules = {dotted_path(path).removesuffix(".__init__"): path for path in FILES}
    arrows = {path: module_imports(path, parse(path), modules) for path in FILES}
    done: set[pathlib.Path] = set()

    def visit(path, trail):
        assert path not in trail, " -> ".join(map(dotted_path, [*trail[trail.index(path) :], path]))
        if path not in done:
            for other in sorted(arrows[path]):
                visit(other, [*trail, path])
            done.add(path)

    for path in FILES:
        visit(path, [])


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


@pytest.mark.parametrize("folder", ["results", "paper", "figures", "report"])
def test_the_results_are_read_without_jax(folder):
    for path in (ROOT / "rethink" / folder).rglob("*.py"):
        found = {name.split(".")[0] for name in imports(parse(path))}
        assert not found & {"jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "tensorflow_datasets"}, path


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_randomness_has_one_owner(path):
    """NumPy draws nowhere but in theory and in the simulations of verdicts, without JAX; nothing is seeded globally."""
    folder = folder_of(dotted_path(path))
    draws = folder == "theory" or path.name == "power.py"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute) and node.attr == "random" and isinstance(node.value, ast.Name):
            assert node.value.id not in ("np", "numpy") or draws, f"line {node.lineno}"
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "key"
            and ast.unparse(node.value) in ("jax.random", "random")
        ):
            abstract = "stand for any"  # keys of an evaluation that draws nothing
            assert folder == "randomness" or abstract in path.read_text(), f"line {node.lineno}"
    assert not any(below(name, "numpy.random") for name in imports(parse(path))) or folder == "theory"
    assert "random.seed" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_pickled(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False", f"line {node.value.lineno}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_short_and_says_what_it_is(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert not text or ast.get_docstring(parse(path))


def test_the_entry_point_is_short():
    source = (ROOT / "main.py").read_text()
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    assert len(source.replace(docstring, "").splitlines()) < 60


def test_flags_are_read_only_at_the_entry():
    readers = {"main.py", "rethink/schema/flags.py", "rethink/data/streaming.py"}  # the last marks them read, for grain
    found = {name for path, name in zip(FILES, NAMES, strict=True) if "absl.flags" in imports(parse(path))}
    assert found <= readers
