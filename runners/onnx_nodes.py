"""Which provider got which node of an ONNX Runtime session: as the session tells it, or as a trace of one run shows.

The two counts differ a little: nodes are handed out before the last fusions, and a trace sees what is left after them
(LiteMedSAM's decoder on the CPU: 338 handed out, 311 ran). Which providers have any is the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from runners.base import Array, Signature

Nodes = Counter[tuple[str, str]]
"""(provider, operator type) → nodes."""

RECORD_ENTRY = "session.record_ep_graph_assignment_info"
"""The session's configuration entry that keeps the assignment; its name is in ONNX Runtime's own
`onnxruntime_session_options_config_keys.h`."""

KERNEL = "_kernel_time"


def assigned_nodes(session: Any) -> Nodes | None:
    """The assignment that the session kept, after its own optimisations; None where its version keeps none."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    try:
        parts = session.get_provider_graph_assignment_info()
    except Exception:  # its own class, which shares no base but Exception: `RECORD_ENTRY` was not known or not set
        return None
    return Counter((part.ep_name, node.op_type) for part in parts for node in part.get_nodes())


def traced_nodes(open_session: Callable[[Any], Any], options: Any, inputs: Mapping[str, Array]) -> Nodes:
    """Profiles one run of a second session, and counts the nodes that ran.

    Args:
        open_session: opens the session with the given options.
        options: of the session that is asked about; profiling is switched on in them.
        inputs: one array per input.
    """
    with TemporaryDirectory(prefix="sambench-trace-", ignore_cleanup_errors=True) as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "trace")
        session = open_session(options)
        session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return count_trace(events)


def count_trace(events: Iterable[Mapping[str, Any]]) -> Nodes:
    """The nodes in a profile of ONNX Runtime's, each once however often it ran.

    Only kernels count: an event of a node's fence or of the session itself names no provider, or is no node's work.
    """
    seen = {
        (event["args"]["provider"], event["args"]["op_name"], event["args"].get("node_index"), event["name"])
        for event in events
        if event.get("cat") == "Node"
        and event.get("name", "").endswith(KERNEL)
        and {"provider", "op_name"} <= set(event.get("args") or {})
    }
    return Counter((provider, operator) for provider, operator, _, _ in seen)


def smallest_inputs(signature: Signature) -> dict[str, Array]:
    """Ones, with one along every dynamic dimension: which node runs where does not depend on the sizes."""
    return {
        spec.name: np.ones([dim if isinstance(dim, int) else 1 for dim in spec.dims], dtype=spec.dtype)
        for spec in signature.inputs
    }


def per_provider(nodes: Nodes) -> dict[str, int]:
    """Provider → nodes."""
    counted: Counter[str] = Counter()
    for (provider, _), count in nodes.items():
        counted[provider] += count
    return dict(counted)


def operators_of(nodes: Nodes, provider: str) -> dict[str, int]:
    """Operator type → nodes that this provider got, in alphabetical order."""
    return {operator: count for (name, operator), count in sorted(nodes.items()) if name == provider}
