"""What could be deployed: backend × precision × threads × batch × options, and in which order to try it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.results import LaneKey
from benchmark.sections import LaneSpec
from runners.registry import PRECISIONS, precisions_on

BatchKind = Literal["prompts_per_call", "windows_per_batch"]

OPTIONS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "pytorch": {"channels_last": (True,)},
    "pytorch-compile": {"channels_last": (True,), "dynamic": (True,), "mode": ("max-autotune-no-cudagraphs",)},
    "onnxruntime": {"graph": ("extended", "basic"), "spinning": (False,), "execution": ("parallel",)},
}
"""Backend → option → its values besides the default. docs/spec.md says what they do."""

GPU_OPTIONS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "pytorch": {"channels_last": (True,)},
    "pytorch-compile": {
        "channels_last": (True,),
        "dynamic": (True,),
        "mode": ("reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    },
    "onnxruntime": {"graph": ("extended",), "conv_algo_search": ("HEURISTIC", "DEFAULT"), "cuda_graph": (True,)},
}
"""The same on a GPU. Not `tf32`: what is tuned must be fair, and TF32 on one side alone is not."""

BATCHES = (1, 2, 4, 8, 16, 32)
"""Powers of two: what fits a cache or fills vectors changes by factors, not by ones."""

UNTRIED = float("inf")


class Candidate(BaseModel):
    """One configuration. What is None or empty is as it is by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    precision: str = "fp32"
    threads: int | None = Field(default=None, description="per operator; null: the cores of the process")
    batch: int | None = Field(default=None, description="prompts in a call or windows at once; null: as by default")
    options: dict[str, Any] = Field(default={}, description="of the backend")

    @property
    def lane(self) -> LaneKey:
        """What it is to a run."""
        return LaneKey(self.backend, self.precision)

    @property
    def changes(self) -> tuple[tuple[str, Any], ...]:
        """In what it differs from its lane's defaults."""
        own = (("threads", self.threads), ("batch", self.batch))
        return (*((name, value) for name, value in own if value is not None), *self.options.items())

    @property
    def plain(self) -> bool:
        """Whether it is what its backend does by default, in fp32."""
        return self.precision == "fp32" and not self.changes

    @property
    def name(self) -> str:
        """Unique among the candidates: `onnxruntime int8, threads 1, graph extended`."""
        return ", ".join([str(self.lane), *(f"{name} {_told(value)}" for name, value in self.changes)])

    def own(self, kind: BatchKind) -> LaneSpec:
        """What its lane gets in a specification.

        Args:
            kind: what the batch is of.
        """
        return LaneSpec(threads=self.threads, options=self.options, **{kind: self.batch})

    def alone(self, change: tuple[str, Any]) -> Candidate:
        """Its lane's default with only one of the changes."""
        name, value = change
        base = Candidate(backend=self.backend, precision=self.precision)
        update = {name: value} if name in ("threads", "batch") else {"options": {name: value}}
        return base.model_copy(update=update)


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


REFERENCE = Candidate(backend="pytorch")
"""PyTorch in fp32 as it is by default: what every answer and every time is held against."""


@dataclass(frozen=True)
class Menu:
    """What is varied.

    Attributes:
        lanes: backends in precisions, in the order to try them.
        threads: numbers of threads.
        batches: sizes of a batch.
        default_threads: what a candidate gets that says nothing of threads.
        default_batch: the size of a batch by backend, where nothing is said of it.
        most: the largest batch that there is work for; a larger one computes the same.
        options: see `OPTIONS`.
    """

    lanes: tuple[LaneKey, ...]
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    default_threads: int
    default_batch: Callable[[str], int]
    most: int
    options: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=lambda: OPTIONS)

    def candidates(self) -> list[Candidate]:
        """All of them, the reference first, then every lane's default, then the others; none twice."""
        every = {REFERENCE.name: REFERENCE}
        for lane in self.lanes:
            every.setdefault(str(lane), Candidate(backend=lane.backend, precision=lane.precision))
        for lane in self.lanes:
            for candidate in self._of(lane):
                every.setdefault(candidate.name, candidate)
        return list(every.values())

    def _of(self, lane: LaneKey) -> Iterator[Candidate]:
        threads = [None, *(n for n in dict.fromkeys(self.threads) if n != self.default_threads)]
        axes = self.options.get(lane.backend, {})
        for count, batch, *chosen in product(
            threads, self._batches(lane.backend), *((None, *values) for values in axes.values())
        ):
            options = {name: value for name, value in zip(axes, chosen, strict=True) if value is not None}
            yield Candidate(backend=lane.backend, precision=lane.precision, threads=count, batch=batch, options=options)

    def _batches(self, backend: str) -> list[int | None]:
        """The default as None, and every size that computes something else."""
        sizes = dict.fromkeys(min(size, self.most) for size in self.batches)
        return [None, *(size for size in sizes if size != min(self.default_batch(backend), self.most))]


def options_on(kind: str) -> Mapping[str, Mapping[str, tuple[Any, ...]]]:
    """Which options are varied on a kind of device.

    Args:
        kind: `cpu` or `cuda`.
    """
    return OPTIONS if kind == "cpu" else GPU_OPTIONS


def lanes_of(backends: Sequence[str], precisions: Sequence[str] | None, kind: str = "cpu") -> list[LaneKey]:
    """Backends in the precisions that they run on a kind of device, fp32 first.

    Args:
        backends: names of the registry.
        precisions: those wanted; None for all.
        kind: `cpu` or `cuda`.
    """
    able = {backend: precisions_on(backend, kind) for backend in backends}
    return [
        LaneKey(backend, precision)
        for precision in dict.fromkeys(p for backend in backends for p in able[backend])
        if precisions is None or precision in precisions
        for backend in backends
        if precision in able[backend]
    ]


def asked_in_vain(
    backends: Sequence[str] | None, precisions: Sequence[str] | None, tried: Sequence[str], kind: str = "cpu"
) -> list[LaneKey]:
    """Lanes that were asked for by name and that make no sense on a kind of device, or at all.

    A backend asked for by name that runs nothing there, in every precision; a precision asked for by name, of every
    backend that runs others there, or that was asked for by name itself. What is only among the defaults is no loss.

    Args:
        backends: those asked for by name; None for the defaults.
        precisions: likewise.
        tried: the backends asked for, or the default ones.
        kind: `cpu` or `cuda`.
    """
    found = []
    for backend in tried:
        able = precisions_on(backend, kind)
        if backends is None and not able:
            continue
        if precisions is None:
            wanted: Sequence[str] = PRECISIONS[backend] if not able else ()
        else:
            # Of the default backends, one that knows no such precision was not meant.
            wanted = [one for one in precisions if backends is not None or one in PRECISIONS[backend]]
        found += [LaneKey(backend, precision) for precision in wanted if precision not in able]
    return found


def next_up(waiting: Sequence[Candidate], tried: Mapping[str, float | None]) -> Candidate:
    """Which candidate to try next.

    First the defaults of every lane. Then whatever promises to be fastest: its lane's default, times what each of its
    changes alone was seen to change there. A change that was not tried yet counts as none and is tried alone first, the
    fastest lane's before the others'; so what goes together is found without trying every combination.

    Args:
        waiting: not empty.
        tried: name → milliseconds of a unit; None where it failed.
    """
    return min(waiting, key=lambda one: (bool(one.changes), expected_ms(one, tried), len(one.changes)))


def expected_ms(candidate: Candidate, tried: Mapping[str, float | None]) -> float:
    """What a unit should take, from its lane's default and from its changes alone; `UNTRIED` without the default.

    Args:
        candidate: not tried itself.
        tried: name → milliseconds of a unit; None where it failed.
    """
    base = tried.get(str(candidate.lane))
    if not candidate.changes:
        return 0.0
    if base is None:
        return UNTRIED
    alone = [candidate.alone(change).name for change in candidate.changes]
    expected = base
    for name in alone:
        if name in tried:
            known = tried[name]
            expected *= UNTRIED if known is None else known / base
    # A change that nobody tried is tried alone before it is tried with others.
    return expected if all(name in tried for name in alone) else max(expected, base)
