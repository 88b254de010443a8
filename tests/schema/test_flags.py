"""The command line and the config files: what they mean, and one line with exit code 2 for each mistake."""

import ast
import errno
import json
import logging
import os
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

from rethink.configs import base
from rethink.experiment.run import read_processes, read_step_range
from rethink.models import registry
from rethink.schema import config_file, grid, validation
from rethink.schema.config_file import SCHEMA
from rethink.schema.errors import UserError
from rethink.schema.fields import FIELDS as ROWS

ROOT = pathlib.Path(__file__).parents[2]
DEFAULT = str(ROOT / "configs" / "digits_random.py")
TABLES = sorted(path for folder in ("beyond", "paper") for path in (ROOT / "configs" / folder).glob("*.py"))
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.py") if path.stem not in (*SCHEMA, "__init__"))
FIELDS = list(dict(validation.flatten(base.get_config())))

# Runs main.py once for each command line, all in processes that are forked after the imports, which take the time.
DRIVER = """
import json, os, sys, traceback
import main, rethink.sweeps.reproduce

def forked(words, number):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv = ["main.py", *words]
    exit_code = 0
    try:
        main.launch()
    except SystemExit as error:
        exit_code = error.code or 0
    except BaseException:
        traceback.print_exc()
        exit_code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)

json.dump([forked(words, i) for i, words in enumerate(json.load(sys.stdin))], sys.stdout)
"""

TINY = "--config=CONFIGS/digits_true.py:mlp_tiny,smoke"
MISTAKES = {  # command line -> what its line of error says
    "--config.optimizer.learning_rat=1": r"--config.optimizer.learning_rat is no field; did you mean config.optimizer",
    "--config.model.name=my/net:Net": r"model.name='my/net:Net' is malformed: write package.module:ClassName.",
    "--config.axes=model.name=my/net:Net": r"model.name='my/net:Net' is malformed: write package.module:ClassName.",
    "--config.axes=model.name=my_net:Net,mlp_tiny": r"model.name='my_net:Net' cannot be imported",
    "--config.seed=one": r"--config.seed=one is no int: type a value such as --config.seed=0",
    "--config.model.name=mlp_1x521": r"model.name='mlp_1x521' is unknown; did you mean 'mlp_1x512'\? Choices: mlp",
    "--config.corruption.labels=unifrom": r"corruption.labels='unifrom' is unknown; did you mean 'uniform'\? Choices:",
    "--config.corruption.pixels=noise": r"corruption.pixels='noise' is unknown; did you mean 'none'\? Choices: none,",
    "--config.data.name=cifar11 --config.data.dir=EMPTY": r"data.name='cifar11' is unknown; did you mean 'cifar10'\?",
    "--config.data.name=../x": r"data.name='../x' is no data set's name: type 'digits', a TFDS name",
    "--config.corruption.label_probability=1.5": r"corruption.label_probability=1.5 is out of range: .* in \[0, 1\]",
    "--config.corruption.label_probability=-0.1": r"corruption.label_probability=-0.1 is out of range",
    "--config.data.name=mnist --config.data.dir=MISSING": r"data.dir='\S*MISSING' is not a directory: create it",
    "--config.data.name=mnist --config.data.dir=EMPTY": r"data.name='mnist' is not prepared in .* connect to a network",
    "--config.preprocess.crop=28": r"preprocess.crop=28 is larger than the images \(8x8\): set --config.pre",
    "--workdir=EMPTY/file/run": r"--workdir=\S*EMPTY/file/run can't be written \(Not a directory\): choose another",
    "--workdir=FOREIGN": r"--workdir=\S*FOREIGN holds files but no run",
    "--config.train.batch_size=9 --config.hardware.cpu_devices=2": r"batch_size=9 .* try --config.train.batch_size=8",
    "--config.data.remainder=drop --config.train.batch_size=600": r"train.batch_size=600 .* 512 .*='digits', split 'tr",
    "--config.data.train_examples=5000": r"data.train_examples=5000 is more than digits has: set it to at most 1437",
    "configs/cifar_true.py": r"'configs/cifar_true.py' is no flag: did you mean --config=configs/cifar_true.py\?",
    "config.seed=3": r"'config.seed=3' is no flag: did you mean --config.seed=3\?",
    "--seeds=3": r"Did you mean --config.seeds\?",
    "--wrokdir=x": r"Unknown command line flag 'wrokdir'. Did you mean: workdir",
}


def mistake(command, *words):
    """Returns the one line of a command line that is refused."""
    with pytest.raises(UserError) as error:
        command(*words)
    assert "\n" not in str(error.value).strip()
    return str(error.value)


@pytest.fixture
def file(tmp_path):
    """Writes a config file of the user's own; returns its path."""

    def write(*lines, name="own.py"):
        head = [
            "from rethink.configs import base",
            "import ml_collections; from ml_collections import config_dict",
            "def get_config(arguments=None):",
            "    config = base.get_config()",
        ]
        path = tmp_path / name
        path.write_text("\n".join([*head, *(f"    {line}" for line in lines), "    return config"]))
        return str(path)

    return write


def test_without_arguments_the_embedded_default_is_taken(command):
    assert validation.to_json(command()) == validation.to_json(runpy.run_path(DEFAULT)["get_config"]())


def test_overrides_change_fields_and_keep_their_types(command):
    config = command(
        "--config.seed=7", "--config.train.total_epochs=3", "--config.data.name=mnist", "--noconfig.batch_norm.shift"
    )
    assert (config.seed, config.train.total_epochs, config.data.name, config.batch_norm.shift) == (
        7,
        3.0,
        "mnist",
        False,
    )
    assert isinstance(config.train.total_epochs, float)


@pytest.mark.parametrize(
    "words", [["--config=FILE:mlp_tiny"], ["--config", "FILE:mlp_tiny"], ["-config=FILE:mlp_tiny"]]
)
def test_a_config_file_may_follow_as_a_word_of_its_own_and_takes_arguments(command, words):
    config = command(*(word.replace("FILE", str(ROOT / "configs" / "cifar_random.py")) for word in words))
    assert (config.data.name, config.model.name) == ("cifar10", "mlp_tiny")


def test_overrides_apply_to_the_config_file_that_is_given(command, file):
    config = command(
        f"--config={file('config.seed = 3', 'config.model.kwargs.width = 8')}", "--config.model.kwargs.width=9"
    )
    assert (config.seed, config.model.kwargs.width) == (3, 9)


@pytest.mark.parametrize(
    "word, line",
    [
        ("--config.sed=1", "--config.sed is no field; did you mean config.seed?"),
        (
            "--config.train.learning_rate=1",
            "--config.train.learning_rate is no field; did you mean config.optimizer.lear",
        ),
        ("--config.lr=1", "--config.lr is no field; did you mean config.optimizer.learning_rate?"),
        (
            "--config.corruption.noise=1",
            "--config.corruption.noise is no field; did you mean config.corruption.label_p",
        ),
        ("--config.model.kwarg.width=1", "--config.model.kwarg.width is no field; did you mean config.model.kwargs.wi"),
        ("--config.stop.elapsed=1", "--config.stop.elapsed is no field; config.stop has: stop.train_accuracy."),
        ("--config.nothing.alike=1", "--config.nothing.alike is no field. All fields are in configs/base.py."),
        ("--config.=1", "--config. is no field. All fields are in configs/base.py."),
        ("--config.seed\n=1", "--config.seed\\n is no field; did you mean config.seed?"),
        ("--config.stop=1", "config.stop is a section: set one of its fields, stop.train_accuracy."),
        ("--config.experiments.none.model.kwargs.width=1", "config.experiments takes names of your own"),
        ("--config.model.kwargs=1", "config.model.kwargs has the fields of the model: set one, --config.model.kwargs."),
    ],
)
def test_a_name_that_is_no_field_is_answered_with_what_there_is(command, word, line):
    assert mistake(command, word).startswith(line)


@pytest.mark.parametrize("given", [[], ["config.model.kwargs.width = 8"], ["config.model.kwargs.width = None"]])
@pytest.mark.parametrize(
    "text, value",
    [
        ("64", 64),
        ("1e-3", 1e-3),
        ("true", True),
        ("None", None),
        ("relu", "relu"),
        ("'64'", "64"),
        ("(3, 4)", (3, 4)),
        ("3,4", (3, 4)),
        ("my net", "my net"),
        ("[3, [4]]", (3, (4,))),
        *(
            (text, text)
            for text in ("{1: 2}", "{1}", "(1, {2: 3})", "b'a'", "1j", "...", "1e400", "(1, -1e400)", "nan")
        ),
    ],
)
def test_fields_of_a_model_are_set_whether_the_config_file_has_them_or_not(command, file, tmp_path, given, text, value):
    config = command(f"--config={file(*given)}", f"--config.model.kwargs.width={text}")
    assert config.model.kwargs.width == value and type(config.model.kwargs.width) is type(value)
    (tmp_path / "flags").write_text(f"--config.model.kwargs.width={text}\n")
    from_file = command(f"--config={file(*given)}", f"--flagfile={tmp_path}/flags")
    assert validation.digest(from_file) == validation.digest(config) != validation.digest(command())
    assert validation.from_flat(json.loads(validation.to_json(config))).model.kwargs.width == value
    with pytest.raises(AttributeError, match="width2"):  # the config is locked as ever
        config.model.kwargs.width2 = 3


def test_a_config_file_may_lock_its_config(command, file):
    words = "--config.model.kwargs.width=4", "--config.model.name=nets:Net"
    config = command(f"--config={file('config.lock()')}", *words)
    assert config.model.kwargs.to_dict() == {"width": 4} and config.is_locked


@pytest.mark.parametrize(
    "words, name",
    [
        ([], "digits_random-mlp_1x512"),
        (["--config.model.name=alexnet"], "digits_random-alexnet"),
        (["--config.model.name", "my_package.nets:MyNet"], "digits_random-my_package.nets.MyNet"),
        (["--config=DEFAULT:smoke,mlp_tiny", "--config.model.name=nets:Net"], "digits_random-nets.Net-smoke"),
        (["--config=DEFAULT:nets:Net", "--config.model.name=alexnet"], "digits_random-alexnet"),
        (["--config.model.name=alexnet", "--config.name=mlp_1x512"], "mlp_1x512"),
        (["--config.axes=model.name=alexnet,mlp_tiny"], "digits_random"),
        (["--config.axes=seeds=1,2"], "digits_random-mlp_1x512"),
        (["--config=OWN", "--config.model.name=alexnet"], "mine-mlp"),
        (["--config=own", "--config.data.name=folder:data/my pets/"], "own-my.pets-mlp_1x512"),
        (["--config=own:random,alexnet", "--config.data.name=module:my_data:load"], "own-my_data.load-random-alexnet"),
        (["--config=own", "--config.data.name=npz:mine.npz", "--config.model.name=nets:N"], "own-mine.npz-nets.N"),
        (["--config.data.name=npz:mine.npz"], "digits_random-mlp_1x512"),
        (["--config.model.name=my/net:Net"], "digits_random-my.net.Net"),  # no model, which its own check reports
    ],
)
def test_the_name_follows_the_model_and_the_data_where_it_has_those(command, file, words, name):
    own = file("config.name = 'mine-mlp'")
    assert command(*(word.replace("DEFAULT", DEFAULT).replace("OWN", own) for word in words)).name == name


@pytest.mark.parametrize(
    "word, kind, nearest",
    [
        ("--config.seed=1.5", "int", "1"),
        ("--config.data.train_examples=5e3", "int", "5000"),
        ("--config.seed=", "int", "0"),
        ("--config.seed=inf", "int", "0"),
        ("--config.optimizer.learning_rate=fast", "float", "0.1"),
        ("--config.optimizer.nesterov=maybe", "bool", "True or False"),
        ("--config.optimizer.nesterov=yes", "bool", "True"),
        ("--config.log.tensorboard=off", "bool", "False"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_nearest_of_the_right_type(command, word, kind, nearest):
    assert mistake(command, word) == f"{word} is no {kind}: type a value such as {word.partition('=')[0]}={nearest}."


def test_an_override_before_the_config_file_is_refused(command):
    line = mistake(command, "--config.seed=1", f"--config={DEFAULT}")
    assert line == f"--config.seed=1 stands before --config={DEFAULT}, which it changes: put --config first."


def test_two_config_files_are_refused(command):
    line = mistake(command, f"--config={DEFAULT}", f"--config={CIFAR}")
    assert line == f"--config is given 2 times ({DEFAULT}, {CIFAR}): choose one."


ROADS = {  # a flag -> what is said of it, by whichever road it comes
    "--config.sed=1": "--config.sed is no field; did you mean config.seed?",
    "--config.optimizer.learning_rate=0.5": "--config.optimizer.learning_rate would change nothing, as all cells of",
    "--noconfig.batch_norm.shift=1": "--noconfig.batch_norm.shift=1 does not take an argument",
    "--config=configs/cifar_true.py": "--config is given 2 times",
}


@pytest.mark.parametrize("flag, line", ROADS.items())
@pytest.mark.parametrize("road", ["word", "file", "file in a file"])
def test_a_flag_means_the_same_by_every_road(command, tmp_path, flag, line, road):
    (tmp_path / "inner").write_text(f"# a comment\n\n{flag}\n")
    (tmp_path / "outer").write_text(f"// another\n--flagfile={tmp_path}/inner\n")
    word = {"word": flag, "file": f"--flagfile={tmp_path}/inner", "file in a file": f"--flagfile={tmp_path}/outer"}
    table = str(ROOT / "configs" / "paper" / "table1.py")
    assert mistake(command, f"--config={table}", word[road]).startswith(line)


def test_a_file_of_flags_can_name_the_config_and_is_overridden_by_what_follows(command, tmp_path, warned):
    (tmp_path / "flags").write_text(f"--config={CIFAR}\n--config.seed=3\n")
    config = command(f"--flagfile={tmp_path}/flags", "--config.seed", "4")
    assert (config.data.name, config.seed) == ("cifar10", 4)
    assert set(warned()) == {"--config.seed is given 2 times: the last one counts, 4."}


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_of_flags_that_can_not_be_read_is_refused(command, tmp_path, content):
    if content:
        (tmp_path / "flags").write_bytes(content)
    assert "name a text file, a flag a line" in mistake(command, f"--flagfile={tmp_path}/flags")


def test_a_flag_that_would_become_the_value_of_another_is_refused(command):
    line = mistake(command, "--config.name", "--config.seed=3")
    assert line.startswith("--config.seed=3 follows a flag that has no value")


def test_an_empty_name_of_a_config_file_is_none_and_takes_no_other_word(command):
    for words in (["--config=", "--config.seed=1"], ["--config=", DEFAULT], ["--config"]):
        assert mistake(command, *words).startswith("--config='' is unknown. Choices: ")


def test_an_unknown_config_file_is_answered_with_the_nearest(command):
    line = mistake(command, "--config=configs/cifar_randm.py:smoke")
    assert line.startswith(
        "--config='configs/cifar_randm.py' is unknown; did you mean 'configs/cifar_random.py'? Choices:"
    )
    assert "base.py" not in line
    assert mistake(command, "--config").startswith("--config='' is unknown. Choices: configs/")


def test_config_files_are_shown_by_names_that_work_from_any_directory(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    choices = mistake(command, "--config=configs/cifar_randm.py").partition("Choices: ")[2].rstrip(".").split(", ")
    assert sorted(choices) == sorted(path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in CONFIGS)


def test_a_path_of_a_packaged_config_works_from_any_directory_but_a_file_there_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file.load_config("configs/paper/table1.py", ()).name == "table1"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/own.py").write_text("get_config = None")
    with pytest.raises(UserError, match="defines no function get_config"):
        config_file.load_config("configs/own.py", ())


@pytest.fixture
def warned(caplog):
    """What the command line has warned of; main.py keeps the package's logger to itself."""
    logger = logging.getLogger("rethink.schema")
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records if record.name.startswith("rethink.schema.")]
    logger.removeHandler(caplog.handler)


CIFAR = str(ROOT / "configs" / "cifar_random.py")


@pytest.mark.parametrize("words", [["--config.model.name=inception"], ["--config.model.name", "inception"]])
def test_a_model_by_override_is_warned_of_what_it_does_not_bring(command, warned, words):
    command(f"--config={CIFAR}:smoke", *words)
    assert set(warned()) == {
        "model.name=inception by override keeps optimizer.learning_rate=0.01 and batch_norm.kind=none; "
        f"--config={CIFAR}:inception brings 0.1 and across_devices."
    }


def test_a_field_that_is_overridden_too_is_not_warned_of(command, warned):
    command(f"--config={CIFAR}", "--config.model.name=inception", "--config.optimizer.learning_rate=0.05")
    (line,) = set(warned())
    assert "keeps batch_norm.kind=none; " in line and line.endswith(" brings across_devices.")


@pytest.mark.parametrize(
    "words",
    [
        [f"--config={CIFAR}:inception"],
        [f"--config={CIFAR}:inception", "--config.model.name=inception"],
        [f"--config={CIFAR}", "--config.model.name=alexnet"],  # the same learning rate
        [f"--config={CIFAR}", "--config.model.name=conv_tiny"],  # brings nothing
        ["--config.model.name=mlp_3x512"],  # on digits no model brings a learning rate
    ],
)
def test_a_model_that_would_bring_nothing_else_is_no_matter(command, warned, words):
    command(*words)
    assert warned() == []


def test_a_field_that_the_cells_of_a_table_set_is_not_overridden(command):
    table = str(ROOT / "configs" / "paper" / "table1.py")
    message = mistake(command, f"--config={table}", "--config.optimizer.learning_rate=0.5")
    assert "--config.optimizer.learning_rate" in message and "cells" in message and table in message
    command(f"--config={table}", "--config.data.train_examples=100")


def test_a_field_that_some_cells_set_leaves_them_as_they_are(command, warned):
    command(f"--config={ROOT}/configs/paper/table4.py", "--config.train.total_epochs=5.0")
    (line,) = set(warned())
    assert "--config.train.total_epochs" in line and line.endswith("inception-augmentation, inception-crop.")


@pytest.mark.parametrize("cell", ["{'seed': 3}", "(('seed', 3, 4),)", "3"])
def test_a_cell_of_another_form_is_refused(command, tmp_path, cell):
    (tmp_path / "own.py").write_text(
        "from rethink.configs import base\ndef get_config():\n    config = base.get_config()\n"
        f"    config.cells['a'] = {cell}\n    return config\n"
    )
    message = mistake(command, f"--config={tmp_path}/own.py")
    assert "config.cells.a" in message and "((field, value), ...)" in message


def test_an_unknown_flag_is_refused(command):
    assert mistake(command, "--seed=1").startswith("Unknown command line flag 'seed'")
    assert "config.seed" in mistake(command, "--config.seed")  # no value


@pytest.mark.parametrize(
    "line, message",
    [
        ("raise ValueError('one fraction at most')", "one fraction at most"),  # meant for the user: no place
        ("raise ValueError('one\\ntwo')", "one two"),
        ("1 / 0", "division by zero (ZeroDivisionError, PATH:5)"),
        ("config.optimzer.name = 'sgd'", "(AttributeError, PATH:5)"),
        ("config.seed = 'one'", "(TypeError, PATH:5)"),
        (
            "config.optimizer.lerning_rate = 1.0",
            "config.optimizer.lerning_rate is no field; did you mean config.optimizer.l",
        ),
        ("del config.seed", "config.seed is missing: begin with base.get_config()."),
        ("return {'seed': 1}", "get_config must return a ConfigDict, not dict."),
        ("return None", "get_config must return a ConfigDict, not NoneType."),
        (
            "return ml_collections.FrozenConfigDict(config)",
            "get_config must return a ConfigDict, not FrozenConfigDict.",
        ),
        ("raise SystemExit(0)", "calls sys.exit(0) (SystemExit, PATH:5)"),
        ("config.model.kwargs = {1: 2}", "config.model.kwargs has a name that is no text"),
        ("config.model.kwargs = {1: 2, 'width': 3}", "config.model.kwargs has a name that is no text"),
        ("return ml_collections.ConfigDict({1: 2})", "config has a name that is no text"),
        ("config.model.kwargs.more = config", "a section holds itself"),
        (
            "del config.seed; config.seed = config_dict.required_placeholder(int)",
            "config.seed is left open: set it, --",
        ),
        ("del config.seed; config.seed = config_dict.placeholder(int)", "seed=None is no number"),
        ("del config.seed; config.seed = 'one'", "seed='one' is no number"),
        ("del config.axes; config.axes = 3", "axes=3 is no text"),
        ("del config.model.name; config.model.name = ['a']", "model.name=['a'] is no text"),
    ],
)
def test_a_mistake_in_a_config_file_is_named_with_its_place(command, file, line, message):
    path = file(line)
    refusal = mistake(command, f"--config={path}")
    assert refusal.startswith(f"--config={path}: ") and message.replace("PATH", path) in refusal


def test_a_file_that_is_no_config_is_refused(command, tmp_path):
    (tmp_path / "broken.py").write_text("def get_config(")
    assert "'(' was never closed (broken.py, line 1)" in mistake(command, f"--config={tmp_path / 'broken.py'}")
    for name in ("empty.py", "config.json"):
        (tmp_path / name).write_text("{}")
        assert "defines no function get_config: begin with" in mistake(command, f"--config={tmp_path / name}")
    (tmp_path / "link.py").symlink_to(tmp_path / "nothing.py")
    for name in ("", "link.py", "empty.py/own.py"):
        assert mistake(command, f"--config={tmp_path}/{name}").startswith(f"--config='{tmp_path}/{name}' is unknown")


@pytest.mark.parametrize("parameters, words", [("", ":a"), ("a", ""), ("a, b", ":a")])
def test_a_config_file_with_other_parameters_is_refused(command, tmp_path, parameters, words):
    (tmp_path / "own.py").write_text(f"def get_config({parameters}): 1 / 0")
    line = mistake(command, f"--config={tmp_path}/own.py{words}")
    assert "get_config: " in line and line.endswith("what follows a colon is given to it.")


def test_a_config_file_that_may_not_be_read_is_named(command, file, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = file()
    monkeypatch.setattr(config_file, "open", refuse, raising=False)
    assert (
        mistake(command, f"--config={path}")
        == f"--config={path} can't be read (Permission denied): allow reading of it."
    )


def test_a_field_that_is_left_open_is_set_by_the_command_line(command, file):
    kinds = ("required_placeholder", "placeholder")
    path = file(
        *(
            f"del config.{field}; config.{field} = config_dict.{kind}(int)"
            for field, kind in zip(("seed", "jobs"), kinds, strict=True)
        )
    )
    config = command(f"--config={path}", "--config.seed=3", "--config.jobs=0")
    assert (config.seed, config.jobs) == (3, 0)


def test_a_config_file_is_run_once_and_asked_once_more_what_another_model_would_bring(command, file):
    path = file("open(__file__ + '.runs', 'a').write(f'{arguments} ')")
    command(f"--config={path}", "--config.seed=3")
    assert pathlib.Path(f"{path}.runs").read_text() == "None "
    command(f"--config={path}", "--config.model.name=alexnet")
    assert pathlib.Path(f"{path}.runs").read_text() == "None None alexnet "


def test_the_processes_of_a_run_are_named_all_or_not_at_all():
    assert read_processes(None, None, None) is None
    processes = read_processes("localhost:12345", 4, 3)
    assert (processes.coordinator, processes.count, processes.index) == ("localhost:12345", 4, 3)
    for given in (("localhost:1", None, None), (None, 2, 0), (None, None, 0), ("localhost:1", 2, None)):
        with pytest.raises(UserError, match="go together: give all three"):
            read_processes(*given)
    with pytest.raises(UserError, match="--coordinator=localhost is no address: type HOST:PORT"):
        read_processes("localhost", 2, 0)
    for index in (-1, 2):
        with pytest.raises(
            UserError, match=f"--process_id={index} is out of range: with --num_processes=2 it is 0 to 1"
        ):
            read_processes("localhost:1", 2, index)


def test_the_steps_of_a_profile_are_a_range():
    assert read_step_range(None) is None
    assert read_step_range("20,30") == (20, 30)
    for text in ("", "20", "30,20", "20,20", "0,10", "a,b", "1,2,3", "-1,5"):
        with pytest.raises(UserError, match="is no range of steps: type FIRST,LAST, such as 20,30"):
            read_step_range(text)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Command line -> (exit code, stdout, stderr, folder), each run by main.py; there is no network."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name in ("EMPTY", "FOREIGN"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("")
    lines = list(MISTAKES)
    commands = []
    for i, line in enumerate(lines):
        words = [re.sub(r"(EMPTY|MISSING|FOREIGN)", rf"{folder}/\1", word) for word in line.split()]
        workdir = [] if "--workdir" in line else [f"--workdir={folder}/run{i}"]
        commands.append([TINY.replace("CONFIGS", str(ROOT / "configs")), *workdir, *words])
    nowhere = "http://127.0.0.1:9"
    proxies = {name: nowhere for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    environment = {**os.environ, **proxies, "no_proxy": "", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    output = [[(folder / f"{i}.{name}").read_text() for name in ("out", "err")] for i in range(len(lines))]
    exit_codes = json.loads(process.stdout)
    return {line: (exit_codes[i], *output[i], folder / f"run{i}") for i, line in enumerate(lines)}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_ends_with_exit_code_2_and_one_line(outcomes, line):
    exit_code, _, stderr, workdir = outcomes[line]
    assert exit_code == 2, stderr
    assert re.fullmatch(r"Error: .+\n", stderr)
    assert re.search(MISTAKES[line].replace("EMPTY", r"\S*EMPTY"), stderr)
    assert not workdir.exists()  # nothing is left that the corrected command could stumble over


def run_main(folder, *words):
    command = [sys.executable, str(ROOT / "main.py"), *words]
    safe = {"PYTHONSAFEPATH": "1"}  # the directory of main.py is not on the path
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | safe)


def test_main_ends_with_exit_code_2_and_no_traceback_from_any_directory(tmp_path):
    process = run_main(tmp_path, "--config.sed=1")
    assert (process.returncode, process.stdout) == (2, "")
    hint = "did you mean config.seed? All fields are in configs/base.py."
    assert process.stderr == f"Error: --config.sed is no field; {hint}\n"
    assert not list(tmp_path.iterdir())


def test_help_shows_the_usage_and_every_field_and_exits_with_0(tmp_path):
    process = run_main(tmp_path, "--help")
    assert (process.returncode, process.stderr) == (0, "")
    lines = process.stdout.splitlines()
    assert set(main_docstring().splitlines()) <= set(lines)
    assert "--workdir" in process.stdout
    assert max(map(len, lines)) <= 100
    # Every field with its default, what it may hold, its unit and its help.
    shown = " ".join(process.stdout.split())
    defaults = dict(validation.flatten(base.get_config()))
    for field, row in ROWS.items():
        value = "" if row.type is dict else f"={defaults[field]!r}"
        end = shown.index(" ".join(row.help.split()), shown.index(f" {field}{value} "))
        between = shown[shown.index(f" {field}{value} ") : end]
        for part in (*row.choices, row.unit, row.interval or ""):
            assert str(part) in between, field
        assert shown[: shown.index(f" {field}{value} ")].endswith("*") == row.resumable
    assert not list(tmp_path.iterdir())


def main_docstring():
    return ast.get_docstring(ast.parse((ROOT / "main.py").read_text()))


def test_every_override_that_the_help_shows_is_understood(command):
    words = [word.replace("'", "") for word in re.findall(r"--config\.\S+=\S+", main_docstring())]
    axes = next(word for word in words if word.startswith("--config.axes"))
    assert len(grid.expand_grid(command(axes))) == 3
    words.remove(axes)  # one of the others sets what it varies
    assert len(words) > 5
    config = command(*words)
    for word in words:
        field, _, value = word.removeprefix("--config.").partition("=")
        assert str(dict(validation.flatten(config))[field]) == value
    config.axes = "train.batch_size=64,128"  # some are for sweeps
    validation.validate(config)


def test_every_config_that_the_help_shows_loads(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = re.findall(r"--config=\S+(?: +--config\.data\.name=\S+)?", main_docstring())
    assert len(lines) > 2
    for line in lines:
        command(*line.split())


def load(path, *arguments):
    config = runpy.run_path(str(path))["get_config"](*arguments)
    if path.stem in ("own", "label_issues"):  # which leave it open
        config.data.name = "digits"
    return config


RUNS = [path for path in CONFIGS if path not in TABLES]


def names(paths):
    return [path.relative_to(ROOT).as_posix() for path in paths]


@pytest.mark.parametrize("path", CONFIGS, ids=names(CONFIGS))
def test_every_config_file_opens_with_its_command_its_time_and_what_to_expect(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    short = f"--config={path.relative_to(ROOT).as_posix()}"
    assert f"    python main.py {short}" in docstring or (str(path) == DEFAULT and "    python main.py\n" in docstring)
    assert re.search(r"^Time: \S", docstring, re.MULTILINE)
    assert re.search(r"^Expect: \S", docstring, re.MULTILINE)


@pytest.mark.parametrize("path", RUNS, ids=names(RUNS))
def test_every_config_file_has_the_fields_of_the_schema_and_is_valid(path):
    for config in (load(path), load(path, ""), load(path, "smoke")):
        assert list(dict(validation.flatten(config))) == FIELDS
        validation.validate(config)
        assert config.name.startswith(path.stem)


@pytest.mark.parametrize("path", RUNS, ids=names(RUNS))
def test_every_config_file_takes_every_model_and_smoke_in_any_order(path):
    full = load(path)
    for name in registry.MODELS:
        for config in (load(path, name), load(path, f"{name},smoke"), load(path, f"smoke,{name}")):
            assert config.model.name == name and name in config.name
            validation.validate(config)
        assert load(path, f"{name},smoke") == config
        assert config.train.total_epochs <= 3 and config.data.train_examples == 512
        assert config.corruption == full.corruption and config.data.name == full.data.name
        assert config.name != load(path, name).name  # a directory of its own


@pytest.mark.parametrize("path", RUNS, ids=names(RUNS))
def test_two_models_are_refused(path):
    with pytest.raises(ValueError, match="one model at most"):
        load(path, "mlp_1x512,alexnet")


def test_the_fraction_of_resampled_labels_is_an_argument():
    path = ROOT / "configs" / "cifar_partial.py"
    for arguments in ("0.4,mlp_1x512,smoke", "mlp_1x512,0.4,smoke"):
        config = load(path, arguments)
        assert (config.corruption.label_probability, config.model.name) == (0.4, "mlp_1x512")
        assert "0.4" in config.name
    assert load(path).corruption.label_probability == 0.5
    with pytest.raises(ValueError, match="one fraction at most"):
        load(path, "0.4,0.5")


def test_an_override_of_an_axis_is_refused(command):
    words = ("--config=configs/digits_random.py", "--config.axes=optimizer.learning_rate=0.1,0.2")
    assert command(*words).axes == "optimizer.learning_rate=0.1,0.2"
    with pytest.raises(UserError, match="--config.optimizer.learning_rate would change nothing, as it is an axis"):
        command(*words, "--config.optimizer.learning_rate=0.3")
