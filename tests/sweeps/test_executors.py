"""The executors: all leave the same records, a failure stops no other run, a killed process is started again."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from made_up import RANDOM, RUN_FUNCTIONS, TRUE, make_sweep

from rethink.configs import base
from rethink.experiment.run import EXIT_DIVERGED, Launch, check_config
from rethink.results import files
from rethink.schema import grid, validation
from rethink.schema.errors import UserError
from rethink.sweeps import worker
from rethink.sweeps.executors import processes, worker_process
from rethink.sweeps.executors.tasks import RunFunctions, Task
from rethink.sweeps.reproduce import expand_suite, run_sweep_or_suite
from rethink.sweeps.run import EXIT_FAILED, init_distributed, run_sweep, run_tasks
from rethink.training import distributed, preemption


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


@pytest.fixture
def in_processes():
    """Makes a sweep whose runs have a process each."""

    def make(*, jobs=2, executor="processes", **cells):
        config = make_sweep(**cells)
        config.executor, config.jobs = executor, jobs
        return config

    return make


@pytest.fixture
def scripts(monkeypatch):
    """Name of a run -> the script that replaces its process; it is given the run's directory."""
    texts = {}

    def prepare(task):
        task.log.parent.mkdir(parents=True, exist_ok=True)
        task.directory.mkdir(exist_ok=True)
        return ["-c", texts[task.name.removesuffix("-seed5")], str(task.directory)]

    monkeypatch.setattr(worker_process, "prepare_worker", prepare)
    return texts


def run_without_table(config, folder):
    return run_sweep(config, str(folder), RunFunctions(None, writes=False))


OWN_MODEL = """
from flax import linen as nn

class Net(nn.Module):
    num_classes: int
    sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, images, *, train):
        assert isinstance(self.sizes, tuple)
        images = images.reshape(len(images), -1)
        for size in self.sizes:
            images = nn.relu(nn.Dense(size)(images))
        return nn.Dense(self.num_classes)(images)
"""


@pytest.mark.slow
def test_processes_leave_the_records_of_sequential_runs(in_processes, tmp_path, monkeypatch, capsys):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "a_net.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path / "modules")  # where the other processes are to find it too
    without_figure = RUN_FUNCTIONS._replace(writes=False)
    for executor, jobs in (("sequential", 0), ("processes", 2)):
        config = in_processes(true=TRUE, random=RANDOM, executor=executor, jobs=jobs)
        config.model.name, config.model.kwargs.sizes = "a_net:Net", (4, 5)
        assert run_sweep(config, str(tmp_path / executor), without_figure) == 0
    assert "[2/2] true-seed5: started\n" in capsys.readouterr().out
    for cell in ("true-seed5", "random-seed5"):
        one, other = tmp_path / "sequential" / cell, tmp_path / "processes" / cell
        for file in ("metrics.jsonl", "corruption.npz"):
            assert (one / file).read_bytes() == (other / file).read_bytes()
        first, second = (json.loads((folder / "manifest.json").read_text()) for folder in (one, other))
        for field in ("config", "status", "fingerprints", "plan"):
            assert first[field] == second[field]
    monkeypatch.setattr(processes, "find_device_envs", None)  # a second time, nothing is started
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "processes").glob("*-seed5/*")}
    assert run_sweep(config, str(tmp_path / "processes"), without_figure) == 0
    assert capsys.readouterr().out.count(": done before: ") == 2
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_run_that_fails_is_reported_with_its_last_lines_and_the_others_run(in_processes, scripts, tmp_path, capsys):
    scripts["good"] = "print('good')"
    scripts["mistake"] = "print('Error: no such field'); raise SystemExit(2)"
    scripts["bug"] = "print('before'); raise ValueError('a bug')"
    scripts["diverges"] = "raise SystemExit(3)"
    scripts["stopped"] = "import os; os._exit(143)"
    config = in_processes(good=TRUE, mistake=TRUE, bug=TRUE, diverges=TRUE, stopped=TRUE)
    assert run_without_table(config, tmp_path) == EXIT_FAILED
    shown = capsys.readouterr()
    log = tmp_path / "logs" / "bug-seed5.log"
    assert f"[1/5] bug-seed5: failed; the end of {log}:\n    before\n    Traceback" in shown.out
    assert f"Failed: bug-seed5: ValueError: a bug (exit code 1; see {log})\n" in shown.out
    assert "Failed: mistake-seed5: no such field\n" in shown.out and "Error: no such field\n" in shown.err
    assert "Failed: stopped-seed5: its process was interrupted: the same command resumes it\n" in shown.out
    assert "[3/5] good-seed5: done\n" in shown.out and "[2/5] diverges-seed5: diverged\n" in shown.out
    assert shown.out.count("Failed: ") == 3
    config.filter = "good,diverges"
    assert run_without_table(config, tmp_path) == EXIT_DIVERGED


KILLED = """
import os, pathlib, signal, sys
number = len(list(pathlib.Path(sys.argv[1]).iterdir())) + 1
pathlib.Path(sys.argv[1], str(number)).touch()
if number <= {times}:
    os.kill(os.{victim}(), signal.SIGKILL)
"""


@pytest.mark.parametrize("times, exit_code", [(1, 0), (2, 0), (3, EXIT_FAILED)])
def test_a_process_that_is_killed_is_started_again_twice(in_processes, scripts, tmp_path, capsys, times, exit_code):
    scripts["killed"], scripts["other"] = KILLED.format(times=times, victim="getpid"), "print('other')"
    assert run_without_table(in_processes(killed=TRUE, other=TRUE), tmp_path) == exit_code
    shown = capsys.readouterr().out
    assert shown.count("killed-seed5: its process was killed (SIGKILL), and is started again\n") == min(times, 2)
    assert ("Failed: killed-seed5: its process was killed 3 times (by SIGKILL" in shown) == (times == 3)
    assert "other-seed5: done\n" in shown


def test_a_run_whose_sweep_is_gone_is_one_line(tmp_path):
    event = worker_process.make_end_event(Task("a", None, tmp_path / "gone" / "a"), 1, stopping=False)
    assert str(event.error) == f"{tmp_path / 'gone' / 'logs'} was removed or moved"


SAVES = """
import os, pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1], "saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
if sys.argv[1].endswith("b-seed5"):
    os.kill(os.getppid(), signal.{name})
time.sleep(60)
"""


@pytest.mark.parametrize(
    "name, exit_code", [("SIGTERM", 143), ("SIGINT", 130), pytest.param("SIGHUP", 129, marks=pytest.mark.slow)]
)
def test_a_signal_lets_the_runs_save_and_starts_no_other(in_processes, scripts, tmp_path, capsys, name, exit_code):
    for cell in "abc":
        scripts[cell] = SAVES.format(name=name)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(preemption.Interrupted) as ended:
        run_without_table(in_processes(a=TRUE, b=TRUE, c=TRUE), tmp_path)
    assert ended.value.exit_code == exit_code and signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "b-seed5" / "saved").exists() and not (tmp_path / "c-seed5").exists()
    shown = capsys.readouterr().out
    assert "b-seed5: interrupted" in shown and "c-seed5: " not in shown and "Failed" not in shown


def test_a_process_that_does_not_end_is_killed_at_the_third_signal(in_processes, scripts, tmp_path):
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    scripts["deaf"] = deaf
    timers = [threading.Timer(1 + number / 2, os.kill, (os.getpid(), signal.SIGTERM)) for number in range(3)]
    for timer in timers:
        timer.start()
    with pytest.raises(preemption.Interrupted):
        run_without_table(in_processes(deaf=TRUE), tmp_path)
    assert not any(timer.is_alive() for timer in timers)


def test_a_process_ends_with_the_one_that_started_it():
    program = "import signal, sys; from rethink.sweeps import worker; worker.SAVE_SECONDS = 0.1\n"
    program += "if sys.argv[2:]: signal.signal(signal.SIGTERM, lambda *_: print('saved') or eval(sys.argv[2]))\n"
    command = [sys.executable, "-c", program + "worker._end_with(int(sys.argv[1]))", "1"]  # orphaned

    def end(*words):
        ended = subprocess.run([*command, *words], timeout=60, capture_output=True, text=True)
        return ended.returncode, ended.stdout

    assert end() == (-signal.SIGTERM, "")
    assert end("sys.exit(143)") == (143, "saved\n")
    assert end("print(flush=True)")[0] == 1
    command[-1:] = []
    with subprocess.Popen([*command, str(os.getpid())]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()


def test_a_run_waits_for_the_lock_of_a_process_that_is_about_to_end(tmp_path, monkeypatch):
    with files.lock(tmp_path):
        monkeypatch.setattr(worker, "LOCK_SECONDS", 0.3)
        worker._wait_for_lock(tmp_path)  # in vain
        released = threading.Event()
        monkeypatch.setattr(worker, "LOCK_SECONDS", 60.0)
        waiting = threading.Thread(target=lambda: (worker._wait_for_lock(tmp_path), released.set()))
        waiting.start()
        assert not released.wait(0.5)
    assert released.wait(5)
    waiting.join()


@pytest.mark.parametrize(
    "devices, visible, jobs, device_envs",
    [
        (("cpu", 1), None, 3, [{}, {}, {}]),
        (("gpu", 2), None, 0, [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]),
        (("gpu", 2), "3,5", 0, [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]),
        (("gpu", 2), None, 1, [{"CUDA_VISIBLE_DEVICES": "0"}]),
        (("gpu", 1), None, 2, 2 * [{"CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}]),
        (("tpu", 4), None, 0, [{}]),
    ],
)
def test_each_process_sees_one_gpu(monkeypatch, devices, visible, jobs, device_envs):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(processes, "_probe_devices", lambda: devices)
    assert processes.find_device_envs(jobs) == device_envs


def test_on_a_cpu_there_is_a_process_for_every_two_cores_and_other_devices_are_not_shared(monkeypatch):
    for cores, count in ((1, 1), (2, 1), (5, 2), (16, 8)):
        monkeypatch.setattr(processes.parallel, "count_cores", lambda cores=cores: cores)
        assert len(processes.find_device_envs(0)) == count
    monkeypatch.setattr(processes, "_probe_devices", lambda: ("tpu", 4))
    with pytest.raises(UserError, match="jobs=2: the devices of platform tpu belong to one process at a time"):
        processes.find_device_envs(2)


def test_devices_are_looked_up_in_another_process(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(processes, "_PROBE", "print('gpu', 4)")
    assert processes._probe_devices() == ("gpu", 4)
    monkeypatch.setattr(processes, "_PROBE", "raise RuntimeError('no driver')")
    with pytest.raises(UserError, match=r"JAX finds no device \(RuntimeError: no driver\)"):
        processes._probe_devices()


@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_runs_with_processes_of_their_own_are_launched_once(in_processes, executor, monkeypatch):
    config = in_processes(true=TRUE, executor=executor)
    monkeypatch.setattr(distributed, "initialize", None)  # no device is touched
    assert init_distributed(config, Launch())
    several = Launch(processes=distributed.Processes("localhost:1", 2, 0))
    with pytest.raises(UserError, match=f"executor='{executor}' starts a process for each run: launch it once"):
        init_distributed(config, several)
    with pytest.raises(UserError, match="--profile_steps is for runs in this process"):
        init_distributed(config, Launch(profile_steps=(1, 2)))


@pytest.mark.parametrize(
    "name, kwargs, axes",
    [
        ("a_net:Net", {}, "model.kwargs.sizes=(4,),(8,9)"),
        ("mlp_tiny", {"sizes": (4,)}, "model.name=a_net:Net,a_net:Other"),
        ("a_net:Net", {"sizes": 4}, "model.kwargs.sizes=(4,),(8,9)"),
    ],
)
def test_fields_of_a_model_are_checked_in_the_runs_that_have_it(tmp_path, monkeypatch, name, kwargs, axes):
    (tmp_path / "a_net.py").write_text(f"{OWN_MODEL}\n\nclass Other(Net):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_net", raising=False)
    config, started = make_sweep(), []
    config.model.name, config.axes = name, axes
    config.model.kwargs.update(kwargs)
    without_runs = RunFunctions(lambda config, folder: started.append(folder) or 0, writes=False)
    assert init_distributed(config, Launch())
    suite = base.get_config()
    suite.experiments.one = config
    for several in (config, suite):
        assert run_sweep_or_suite(several, (), str(tmp_path / "runs"), without_runs) == 0
    assert len(started) == 4
    config.axes = axes.replace("sizes", "sizs").replace("a_net:Other", "a_net:Othr")
    assert init_distributed(config, Launch())
    with pytest.raises(
        UserError, match="sizs is no field of model.name='a_net:Net'|a_net has no 'Othr'|sizes=4 is no tuple"
    ):
        run_sweep_or_suite(config, (), str(tmp_path / "runs"), without_runs)
    assert len(started) == 4


def test_the_executor_is_a_field_of_sweeps_and_not_of_their_runs(in_processes):
    (run,) = grid.expand_grid(in_processes(true=TRUE))
    (before,) = grid.expand_grid(make_sweep(true=TRUE))
    assert validation.to_json(run.config) != validation.to_json(in_processes(true=TRUE))
    assert (run.config.executor, run.config.jobs) == (before.config.executor, before.config.jobs) == ("sequential", 0)
    with pytest.raises(UserError, match="executor='processes' is for sweeps"):
        check_config(in_processes())
    with pytest.raises(UserError, match="jobs=2 would change nothing with executor='sequential'"):
        check_config(in_processes(true=TRUE, executor="sequential"))
    with pytest.raises(UserError, match="executor='procesess' is unknown; did you mean 'processes'"):
        check_config(in_processes(true=TRUE, executor="procesess"))


def test_the_experiments_of_a_suite_share_its_executor(in_processes, scripts, tmp_path, capsys):
    suite = base.get_config()
    suite.experiments.one, suite.experiments.two = make_sweep(a=TRUE), make_sweep()
    suite.executor, suite.jobs = "processes", 2
    overridden = ["executor", "jobs"]
    one, two = expand_suite(suite, overridden)
    assert (one.config.executor, one.config.jobs, two.config.executor, two.config.jobs) == (
        "processes",
        2,
        "sequential",
        0,
    )
    with pytest.raises(UserError, match="experiments.two.jobs can't differ between experiments: set config.jobs"):
        expand_suite(suite, ["experiments.two.jobs"])
    scripts["a"], scripts["two"] = "print('a')", "raise SystemExit(3)"
    functions = RunFunctions(None, writes=False)
    assert run_sweep_or_suite(suite, overridden, str(tmp_path), functions) == EXIT_DIVERGED
    shown = capsys.readouterr().out
    assert "[1/1] a-seed5: done\n" in shown and "[1/1] two: diverged\n" in shown


def test_without_ray_one_line_says_how_to_get_it(in_processes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"executor='ray' needs Ray .*: pip install -e '.\[cluster\]', or set"):
        run_without_table(in_processes(true=TRUE, executor="ray"), tmp_path)


@pytest.mark.slow
def test_on_ray_runs_that_fail_or_are_killed_are_reported_as_in_processes(in_processes, scripts, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: .[cluster]")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    scripts["good"], scripts["bug"] = "print('good')", "raise ValueError('a bug')"
    scripts["once"], scripts["always"] = (KILLED.format(times=times, victim="getpid") for times in (1, 9))
    scripts["host"] = KILLED.format(times=1, victim="getppid")
    config = in_processes(good=TRUE, bug=TRUE, once=TRUE, always=TRUE, host=TRUE, executor="ray")
    tasks = [Task(run.folder, run.config, tmp_path / run.folder) for run in grid.expand_grid(config)]
    failures, exit_code = run_tasks(tasks, "ray", 2, RUN_FUNCTIONS)
    reasons = {line.partition(":")[0]: line for line in failures}
    assert exit_code == 0 and sorted(reasons) == ["always-seed5", "bug-seed5"]
    assert "ValueError: a bug (exit code 1; see " in reasons["bug-seed5"]
    assert "its process was killed 3 times (by SIGKILL" in reasons["always-seed5"]
    launches = {cell: len(list((tmp_path / f"{cell}-seed5").iterdir())) for cell in ("once", "always", "host")}
    assert launches == {"once": 2, "always": 3, "host": 2}
