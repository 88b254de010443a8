"""Owns the ways in which the runs of a table are run: here in turn or together, in processes, in tasks of Ray.

Refuses to know what a run computes. Each way leaves the same run directories.
"""

from rethink.executors import cluster, in_turn, processes, vmapped
from rethink.executors.tasks import Executor

EXECUTORS: dict[str, Executor] = {
    "in_turn": in_turn.run_in_turn,
    "vmapped": vmapped.run_vmapped,
    "processes": processes.run_in_processes,
    "ray": cluster.run_on_ray,
}
HERE = ("in_turn", "vmapped")  # in this process, which takes part with others in each run
