"""Where ONNX Runtime's time goes: the milliseconds of each operator type, as its own profiler tells them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort

from runners.base import ModuleSource
from runners.onnx_nodes import KERNEL
from runners.onnxruntime import session_options

RUNS = 6
FIRST = 2
"""Runs that warm up and do not count."""


@dataclass(frozen=True)
class Share:
    """One operator type.

    Attributes:
        operator: its name; `Conv` in channels-blocked layout bears the same one.
        ms: a run.
        share: of all operators' time.
        count: nodes.
    """

    operator: str
    ms: float
    share: float
    count: int


def shares(source: ModuleSource, inputs: Mapping[str, np.ndarray], threads: int) -> list[Share]:
    """The operators of a module's ONNX file, largest first.

    Args:
        source: with an ONNX file.
        inputs: one array per input.
        threads: inside an operator.
    """
    with TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(source.onnx_path), options, providers=["CPUExecutionProvider"])
        for _ in range(FIRST + RUNS):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _by_operator([event for event in events if event.get("cat") == "Node" and event["name"].endswith(KERNEL)])


def _by_operator(events: list[dict]) -> list[Share]:
    """Sums over nodes of the median over runs."""
    durations: dict[str, list[float]] = defaultdict(list)
    operator: dict[str, str] = {}
    for event in events:
        durations[event["name"]].append(event["dur"] / 1e3)
        operator[event["name"]] = event["args"]["op_name"]
    ms: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for name, found in durations.items():
        ms[operator[name]] += float(np.median(found[FIRST:]))
        count[operator[name]] += 1
    total = sum(ms.values())
    return [Share(name, ms[name], ms[name] / total, count[name]) for name in sorted(ms, key=lambda one: -ms[one])]
