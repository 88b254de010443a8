"""Owns the ways in which the runs of a table are run: here in turn or together, in processes, in tasks of Ray.

Refuses to know what a run computes. Each way leaves the same run directories.
"""

from rethink.sweeps.executors import processes, ray, sequential, vmapped
from rethink.sweeps.executors.tasks import Executor

EXECUTORS: dict[str, Executor] = {
    "sequential": sequential.run_sequentially,
    "vmapped": vmapped.run_vmapped,
    "processes": processes.run_in_processes,
    "ray": ray.run_on_ray,
}
IN_THIS_PROCESS = ("sequential", "vmapped")  # in this process, which takes part with others in each run
