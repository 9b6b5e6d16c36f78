"""Checks that end their process, or never end; sent to real worker processes, so outside of any test file."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from benchmark.doctor.probe import Tried


class BrokenChecks:
    """fp32 crashes, bf16 hangs, everything else works."""

    def __init__(self, backend: str, device: str, folder: Path) -> None: ...

    def check(self, precision: str) -> Tried:
        if precision == "fp32":
            os.kill(os.getpid(), signal.SIGSEGV)
        if precision == "bf16":
            time.sleep(600)
        return Tried("works", None, 0.5, 1.0)


class CrashingDriver:
    """Facts of a machine whose driver takes the process with it."""

    def packages(self) -> dict[str, str]:
        return {"torch": "2"}

    def driver(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)
