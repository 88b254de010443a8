"""Analyses: what the paper proves and solves, each computed on one data set and recorded as a run is.

How a network is trained does not stand here: an analysis that needs some is handed what trains them.
"""

from collections.abc import Callable
from typing import Any

from rethink.analyses import capacity, influence, kernel, label_issues, linear, theorem1
from rethink.analyses.analysis import Analysis

# kind -> function that computes and records the analysis, and returns the summary of the run.
ANALYSES: dict[str, Callable[[Analysis], dict[str, Any]]] = {
    "theorem1": theorem1.analyze_theorem1,
    "linear": linear.analyze_linear_models,
    "capacity": capacity.analyze_capacity,
    "kernel": kernel.analyze_kernel_model,
    "influence": influence.analyze_influence,
    "label_issues": label_issues.analyze_label_issues,
}
