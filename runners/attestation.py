"""What a runner tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runners.clock import Clocks

NO_GRAPH_CAPTURE = "not applicable, because the device is a CPU"


@dataclass(frozen=True)
class Attestation:
    """What really runs, as the backend itself tells it.

    Attributes:
        operators_on_cpu: operator type → nodes that ran on the CPU beside another device; None on a CPU, or where the
            backend does not tell.
        execution: in what way the backend walks the graph: `eager`, `sequential`, `parallel`.
        tf32: whether products may round to TF32; None on a device that cannot.
        tf32_asked: whether the user asked for TF32.
        graph_capture: CUDA graphs: `on`, `off`, or `not applicable, because …`.
        driver: of the device; None on a CPU.
        settings: what a GPU's provider says of its options, those that decide its speed; None where there is none.
        clocks: the calls so far by the host's clock and by device events; None where there are no events.
    """

    backend: str
    version: str
    device: str
    precision: str
    providers: tuple[str, ...]
    nodes_per_provider: Mapping[str, int] | None = None
    operators_on_cpu: Mapping[str, int] | None = None
    threads: int | None = None
    execution: str | None = None
    tf32: bool | None = None
    graph_capture: str | None = None
    driver: str | None = None
    tf32_asked: bool = False
    settings: Mapping[str, str] | None = None
    clocks: Clocks | None = None
    notes: tuple[str, ...] = field(default=())
