"""What the two measured stages have in common: units of work, and what a pass over one yields."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.data.slices import Slice
from benchmark.data.volume import Volume
from benchmark.prompts import Effort, ObjectPrompt

if TYPE_CHECKING:
    import torch

Labels = NDArray[np.uint8]


class NotFiniteError(Exception):
    """A backend answered with NaN or infinity."""


@dataclass(frozen=True)
class Unit:
    """What the backends take turns on; each gets the very same one.

    Attributes:
        slices: one in `pseudolabel`; in `segment` a batch, or all that count of a volume.
        prompts: strategy → the prompts for the slice's objects; empty in `segment`.
        corrections: strategy → further clicks for each object, where it has any.
        volume: what a network sees that is shown whole volumes; None where it is shown slices.
    """

    slices: tuple[Slice, ...]
    prompts: Mapping[str, tuple[ObjectPrompt, ...]]
    corrections: Mapping[str, int] = field(default_factory=dict)
    volume: Volume | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of the images in it; a backend may have to set itself up for each new one."""
        if self.volume is not None:
            return self.volume.image.shape
        return (len(self.slices), *self.slices[0].image.shape)


@dataclass(frozen=True)
class Outcome:
    """What one pass over a unit gave and took.

    Attributes:
        labels: variant → label map [n, H, W] of the unit's slices. A variant is a prompt strategy, or in `segment` the
            labels the UNet was trained on.
        shared_ms: phase → milliseconds spent once for all variants.
        own_ms: variant → phase → milliseconds spent for it alone.
        effort: strategy → what a person did for its prompts; empty in `segment`.
        windows: that went through the network in `segment`.
        shared_device_ms: of `shared_ms`, what the modules took with inputs and outputs on the device.
        own_device_ms: variant → the same of `own_ms`.
    """

    labels: Mapping[str, Labels]
    shared_ms: Mapping[str, float]
    own_ms: Mapping[str, Mapping[str, float]]
    effort: Mapping[str, Effort] = field(default_factory=dict)
    windows: int = 0
    shared_device_ms: float = 0.0
    own_device_ms: Mapping[str, float] = field(default_factory=dict)

    def device_ms(self, variant: str) -> float:
        """Device-resident milliseconds that a run of this variant alone would have taken."""
        return self.shared_device_ms + self.own_device_ms.get(variant, 0.0)

    def phases(self, variant: str) -> dict[str, float]:
        """Milliseconds by phase that a run of this variant alone would have taken."""
        merged = {**self.shared_ms, **self.own_ms.get(variant, {})}
        return {name: merged[name] for name in PHASES if name in merged}


PHASES = ("preprocess", "encode", "decode", "infer", "postprocess")


class Pipeline(Protocol):
    """A stage over one backend's runners."""

    def process(self, unit: Unit) -> Outcome:
        """Runs one unit from the slice in memory to the label map in memory, timing each phase on the host's clock."""
        ...


class Clocked(Protocol):
    """A runner with a device-resident clock, see `runners.base.Runner`."""

    device_ms: float


class PhaseClock:
    """Adds up host time by phase.

    Runners wait for their device, and so does the end of a phase: what was begun in it is charged to it.

    Args:
        runners: whose device-resident time is added up beside it.
        wait: returns when the device has done what the phase gave it; by default there is nothing to wait for.
    """

    def __init__(self, *runners: Clocked, wait: Callable[[], None] = lambda: None) -> None:
        self.ms: dict[str, float] = {}
        self.device_ms = 0.0
        self._runners = runners
        self._wait = wait

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Times the block into `phase`."""
        on_device, started = self._on_device(), time.perf_counter()
        yield
        self._wait()
        self.ms[phase] = self.ms.get(phase, 0.0) + 1e3 * (time.perf_counter() - started)
        self.device_ms += self._on_device() - on_device

    def _on_device(self) -> float:
        return sum(runner.device_ms for runner in self._runners)


def require_finite(logits: torch.Tensor | NDArray[Any]) -> None:
    """Refuses an answer that holds NaN or infinity; on its device, of which only the verdict comes.

    Raises:
        NotFiniteError: it does.
    """
    import torch

    tensor = torch.as_tensor(logits)
    if not tensor.numel():
        return
    # The extremes are NaN or infinite if anything is; they are found in one pass without a temporary array.
    if not bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()):
        raise NotFiniteError("its output holds NaN or infinity")
