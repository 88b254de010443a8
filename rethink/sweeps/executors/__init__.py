"""The ways to run the runs of a sweep: here in turn or together, in processes of this machine, in tasks of Ray.

Each leaves the same run directories. What a run computes is not known here.
"""

from rethink.sweeps.executors import processes, ray, sequential, vmapped
from rethink.sweeps.executors.tasks import Executor

EXECUTORS: dict[str, Executor] = {
    "sequential": sequential.run_sequentially,
    "vmapped": vmapped.run_vmapped,
    "processes": processes.run_in_processes,
    "ray": ray.run_on_ray,
}
IN_THIS_PROCESS = ("sequential", "vmapped")  # no process of its own for a run; several launched ones share each run
