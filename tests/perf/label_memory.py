"""Peak memory of `sambench label` for one copy of a case and for many.

    python -m tests.perf.label_memory ../shared/msd-real/Task101_AbdomenCT --copies 1 20

Further options go to `sambench label`. The peak is the kernel's own account of the process (`ru_maxrss`). The model is
exported before, with one copy that does not count. The case should have ten slices with objects or more: ONNX Runtime's
arena grows with the first few, whichever case they belong to.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.perf.copies import command, copies

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of `ru_maxrss`."""


def peak_mib(data: Path, out: Path, options: list[str]) -> float:
    """Labels a task and returns the process's peak of resident memory."""
    process = subprocess.Popen(command(data, out, options), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"sambench label ended with {process.returncode}")
    return usage.ru_maxrss * UNIT / 2**20


def main() -> None:
    """Parses, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 20])
    given, options = parser.parse_known_args()
    table = Table("copies", "peak MiB", "ratio to the first", box=box.SIMPLE)
    with tempfile.TemporaryDirectory() as name:
        root, first = Path(name), 0.0
        for run, count in enumerate([1, *given.copies]):
            peak = peak_mib(copies(given.task, root / f"Task9{run}_Copies", count), root / f"out{run}", options)
            if run > 0:
                first = first or peak
                table.add_row(str(count), f"{peak:.0f}", f"{peak / first:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
