"""How an ONNX Runtime session is set up on any device: optimisation, order, threads; and all option values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime as ort

from runners.base import NO_OPTIONS, Options
from runners.onnx_nodes import RECORD_ENTRY
from runners.onnx_providers import CUDA_OPTIONS

GRAPH_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
}
"""Values of the option `graph`: `extended` leaves out changes of layout around convolutions, `basic` also fusions."""

EXECUTION = {"sequential": ort.ExecutionMode.ORT_SEQUENTIAL, "parallel": ort.ExecutionMode.ORT_PARALLEL}
"""Values of the option `execution`: one operator at a time, or branches of the graph beside each other."""


VALUES: Mapping[str, tuple[Any, ...]] = {
    "graph": tuple(GRAPH_LEVELS),
    "execution": tuple(EXECUTION),
    "spinning": (True, False),
    **CUDA_OPTIONS,
}
"""Option → its values, the default first."""

NO_WAIT = "disable_synchronize_execution_providers"
"""The run option under which a session does not wait for its stream at the end of a run: we do, after device events are
recorded. It does not go together with graph capture."""


def session_options(threads: int | None, options: Options = NO_OPTIONS) -> ort.SessionOptions:
    """Full graph optimisation, one operator at a time, and a record of which provider got which node.

    Args:
        threads: inside an operator; None leaves ONNX Runtime's own choice.
        options: those of `OnnxRuntimeRunner`, checked.
    """
    chosen = ort.SessionOptions()
    chosen.graph_optimization_level = GRAPH_LEVELS[options.get("graph", "all")]
    chosen.execution_mode = EXECUTION[options.get("execution", "sequential")]
    chosen.log_severity_level = 3
    # Its workers may spin within a run; after it they would take the cores from whatever comes next.
    chosen.add_session_config_entry("session.force_spinning_stop", "1")
    if not options.get("spinning", True):
        chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry(RECORD_ENTRY, "1")
    if threads is not None:
        chosen.intra_op_num_threads = threads
    return chosen
