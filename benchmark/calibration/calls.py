"""A worker that calls one runner on given inputs: the smallest thing whose time can be compared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmark.measure.steady import is_steady
from runners.base import Array, ModuleSource, Options, Runner
from runners.device import Device
from runners.registry import make_runner

WARM_UPS = 30
"""Calls at most until times are steady."""


@dataclass(frozen=True)
class CallRecipe:
    """What a process needs to call a runner; it can be sent to one.

    Attributes:
        backend: of the registry.
        source: the module.
        inputs: of every call.
        device: where it runs.
        threads: inside an operator.
        options: of the backend; `extra` plants a slowdown.
    """

    backend: str
    source: ModuleSource
    inputs: Mapping[str, Array]
    device: str = "cpu"
    threads: int | None = None
    options: Options = field(default_factory=dict)

    def __call__(self) -> CallServer:
        """The server, its runner not loaded yet."""
        return CallServer(self)


class CallServer:
    """Loads a runner, and calls it when told to."""

    def __init__(self, recipe: CallRecipe) -> None:
        self._recipe = recipe
        self._stack = ExitStack()
        self._runner: Runner | None = None

    def load(self) -> int:
        """Loads the runner and warms it up.

        Returns:
            The calls that it took until times were steady, or the most there are.
        """
        recipe = self._recipe
        made = make_runner(recipe.backend, recipe.source, Device.parse(recipe.device), recipe.threads, recipe.options)
        self._runner = self._stack.enter_context(made)
        times: list[float] = []
        while not is_steady(times[1:]) and len(times) < WARM_UPS:
            times += self.turn(1)
        return len(times)

    def turn(self, calls: int) -> list[float]:
        """Milliseconds of so many calls, from arrays in memory to arrays in memory."""
        if self._runner is None:
            raise ValueError("load the runner before calling it")
        times = []
        for _ in range(calls):
            started = time.perf_counter()
            for value in self._runner.run(self._recipe.inputs).values():
                value.numpy()
            times.append(1e3 * (time.perf_counter() - started))
        return times
