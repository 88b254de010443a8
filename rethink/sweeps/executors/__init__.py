"""The ways to run the runs of a sweep: here in turn, in processes of this machine, in tasks of Ray.

Each leaves the same run directories. What a run computes is not known here.
"""

from rethink.sweeps.executors import processes, ray, sequential
from rethink.sweeps.executors.tasks import Executor

EXECUTORS: dict[str, Executor] = {
    "sequential": sequential.run_sequentially,
    "processes": processes.run_in_processes,
    "ray": ray.run_on_ray,
}
