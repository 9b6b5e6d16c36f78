"""Objects that test workers hold. Light: a worker that imports this is there in a fraction of a second."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


class Echo:
    """Does what a test asks for, in the worker's process."""

    def same(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def affinity(self) -> list[int]:
        return sorted(os.sched_getaffinity(0))

    def modules(self) -> list[str]:
        return list(sys.modules)

    def ignores_interrupts(self) -> bool:
        return signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def say(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201

    def fail(self, text: str) -> None:
        raise ValueError(text)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def die(self, number: int) -> None:
        print("about to go", flush=True)  # noqa: T201
        os.kill(os.getpid(), number)
        time.sleep(600)

    def leave(self, code: int) -> None:
        os._exit(code)

    def forget(self) -> None:
        raise MemoryError


def broken() -> Echo:
    raise RuntimeError("cannot be made")
