"""Every backend on the modules that count, side by side in one run: the tables of docs/performance.md.

    python -m tests.perf.performance --rounds 24
    python -m tests.perf.performance vit_b --backends pytorch,onnxruntime,openvino --rounds 8 --nodes 6

All backends take turns on the same input in one process, so that each round gives pairs. A ratio is the median over the
pairs, with a 95 % interval where there are 16. Each answer is held against PyTorch's fp32. `--nodes` shows which
operators ONNX Runtime's time goes to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmark.measure.environment import available_cores, business, environment
from benchmark.measure.statistics import Speedup, paired_speedup
from runners.base import Runner, RunnerError
from runners.device import Device
from runners.registry import REAL_BACKENDS, import_backend, make_runner
from tests.perf.in_turns import Times, times
from tests.perf.node_times import Share, shares
from tests.perf.workloads import WORKLOADS, Workload

REFERENCE = "pytorch"


@dataclass(frozen=True)
class Measured:
    """One workload on every backend.

    Attributes:
        ms: backend → milliseconds of each round.
        errors: backend → largest error of its outputs against PyTorch's, and the largest of PyTorch's values.
        nodes: where ONNX Runtime's time goes, largest first; empty if nobody asked.
    """

    workload: Workload
    ms: Times
    errors: dict[str, tuple[float, float]]
    nodes: Sequence[Share] = ()

    def ratio(self, baseline: str, candidate: str) -> Speedup:
        """How many times as fast the candidate is."""
        return paired_speedup(self.ms[baseline], self.ms[candidate])


def measure(
    workload: Workload, backends: Sequence[str], rounds: int, nodes: int = 0, artifact: Path | None = None
) -> Measured:
    """Exports, where there is no artifact yet, loads and warms everything up, then measures in turns."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        source = workload.source(Path(folder) / "artifact" if artifact is None else artifact)
        lanes: dict[str, Runner] = {
            name: stack.enter_context(make_runner(name, source, Device("cpu"), available_cores())) for name in backends
        }
        answers = {
            name: {key: value.numpy().copy() for key, value in runner.run(workload.feed).items()}
            for name, runner in lanes.items()
        }
        ms = times(lanes, workload.feed, rounds)
        found = shares(source, workload.feed, available_cores())[:nodes] if nodes else ()
    return Measured(
        workload, ms, {name: _error(answer, answers[backends[0]]) for name, answer in answers.items()}, found
    )


def _error(answer: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> tuple[float, float]:
    return (
        max(float(np.abs(answer[name] - values).max()) for name, values in reference.items()),
        max(float(np.abs(values).max()) for values in reference.values()),
    )


def told(speedup: Speedup) -> str:
    """`1.82× [1.79, 1.85]`."""
    interval = "" if speedup.ci95 is None else f" [{speedup.ci95[0]:.2f}, {speedup.ci95[1]:.2f}]"
    return "–" if speedup.ratio is None else f"{speedup.ratio:.2f}×{interval}"


def table(found: Sequence[Measured], backends: Sequence[str]) -> str:
    """Markdown: medians of each backend, then every ratio."""
    others = [name for name in backends if name != REFERENCE]
    lines = ["| ms | " + " | ".join(backends) + " | pairs |", "|---" * (len(backends) + 2) + "|"]
    for one in found:
        medians = [f"{np.median(one.ms[name]):.{0 if np.median(one.ms[name]) >= 100 else 1}f}" for name in backends]
        lines.append(f"| {one.workload.name} | " + " | ".join(medians) + f" | {len(one.ms[REFERENCE])} |")
    lines += ["", "| against PyTorch eager | " + " | ".join(others) + " |", "|---" * (len(others) + 1) + "|"]
    for one in found:
        ratios = [told(one.ratio(REFERENCE, name)) for name in others]
        lines.append(f"| {one.workload.name} | " + " | ".join(ratios) + " |")
    if {"onnxruntime", "openvino"} <= set(backends):
        lines += [
            "",
            "| | ONNX Runtime's time, of OpenVINO's | largest error of ONNX Runtime | of |",
            "|---|---|---|---|",
        ]
        for one in found:
            error, largest = one.errors["onnxruntime"]
            ratio = told(one.ratio("onnxruntime", "openvino"))
            lines.append(f"| {one.workload.name} | {ratio} | {error:.0e} | {largest:.3g} |")
    for one in found:
        if one.nodes:
            parts = ", ".join(f"{share.operator} {share.share:.0%} ({share.count})" for share in one.nodes)
            lines += ["", f"{one.workload.name}, ONNX Runtime by operator: {parts}"]
    return "\n".join(lines)


def present(backends: Sequence[str]) -> list[str]:
    """Those that can run here; what the others lack is printed."""
    there = []
    for name in backends:
        try:
            absence = import_backend(name).absence(Device("cpu"))
        except RunnerError as error:
            absence = str(error)
        if absence is None:
            there.append(name)
        else:
            print(f"without {name}: {absence}", flush=True)  # noqa: T201
    return there


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], help="default: all")
    parser.add_argument("--backends", default=",".join(REAL_BACKENDS))
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--nodes", type=int, default=0, metavar="N", help="ONNX Runtime's N largest operators")
    given = parser.parse_args()
    backends = present([REFERENCE, *(name for name in given.backends.split(",") if name != REFERENCE)])
    machine, busy = environment(available_cores()), business()
    print(f"{machine.cpu}, {available_cores()} cores, {machine.libraries}; {busy}", flush=True)  # noqa: T201
    found = []
    for name in given.workloads or WORKLOADS:
        found.append(measure(WORKLOADS[name](), backends, given.rounds, given.nodes))
        print(table(found[-1:], backends), flush=True)  # noqa: T201
    if len(found) > 1:
        print("\n" + table(found, backends))  # noqa: T201


if __name__ == "__main__":
    main()
