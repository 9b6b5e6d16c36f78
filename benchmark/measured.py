"""What measuring yields, as records and results.json hold it: time, memory, energy, what ran, and on what.

A value that could not be had is null and a reason stands beside it; it is never 0.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LONGEST_MS = 1e9
"""Eleven days: no unit of work takes longer, and a file that says so is damaged."""


class Part(BaseModel):
    """A part of results.json or of a record."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Latency(Part):
    """Milliseconds of one unit of work."""

    p50: float | None
    p90: float | None
    p99: float | None
    mean: float | None
    samples: list[Annotated[float, Field(ge=0, le=LONGEST_MS)]] = Field(
        description="every timed sample in the order measured, ms"
    )
    reason: str | None = Field(default=None, description="why a percentile is null")


class Throughput(Part):
    """Offline: units one after another, over the wall time of the whole."""

    value: float
    unit: str
    units: int | None = Field(default=None, description="slices or volumes processed")
    seconds: float | None = Field(default=None, description="wall time they took")


class WarmUp(Part):
    """The untimed passes at a worker's start, until its times are steady."""

    samples_ms: list[float] = Field(description="of each pass, without the first call, see `first_call_ms`")
    steady: bool = Field(description="whether a slope test found the last of them steady")
    reason: str | None = Field(default=None, description="why it ended before they were")


class Memory(Part):
    """Of one worker process. MiB."""

    peak_mib: float | None = Field(description="most resident memory it ever had")
    before_mib: float | None = Field(description="resident before the model was loaded, libraries included")
    model_mib: float | None = Field(description="what loading the model added")
    device_peak_mib: float | None = Field(default=None, description="most device memory, by the backend's allocator")
    device_used_mib: float | None = Field(default=None, description="device memory of the process, by NVML")
    reason: str | None = Field(default=None, description="why a value is null")


class Energy(Part):
    """What one unit of work cost, the machine's idle draw included."""

    joules_per_unit: float | None
    source: str | None = Field(default=None, description="RAPL package, NVML")
    reason: str | None = None


class ModuleCost(Part):
    """One module of a stage: what a call takes on the device, and how near that is to what the machine can do."""

    calls: int
    p50_ms: float | None = Field(description="of a call with inputs and outputs on the device")
    mean_ms: float | None
    gflops_per_call: float | None = Field(description="mean over the calls; a multiply-add counts as two")
    share_of_peak: float | None = Field(description="of the machine's measured matrix-multiply rate, 0 to 1")
    reason: str | None = Field(default=None, description="why one is null")


class ServerTrial(Part):
    """Poisson arrivals at one rate."""

    rate: float = Field(description="units a second that arrived")
    queries: int
    percentile_ms: float | None = Field(description="latency at the percentile, from arrival to answer")
    kept: bool | None = Field(description="whether the bound was kept; null where the queries do not tell")


class Server(Part):
    """The server scenario: the highest rate of Poisson arrivals at which a percentile keeps a bound."""

    bound_ms: float
    percentile: int
    rate: float | None = Field(description="the highest that was found to keep the bound, units a second")
    trials: list[ServerTrial] = []
    reason: str | None = Field(default=None, description="why there is no rate, or what limits it")


class CallClocks(Part):
    """All calls of a module so far, by two clocks around the same work."""

    calls: int
    host_ms: float = Field(ge=0, description="sum by the host's clock, inputs and outputs on the device")
    event_ms: float = Field(ge=0, description="sum by events on the device's stream")


class Attested(Part):
    """What really ran, as the backend itself tells it."""

    backend: str
    version: str
    device: str
    precision: str
    requested_precision: str = Field(
        default="fp32", description="asked of this part; an int8 artifact may keep its decoder in fp32"
    )
    providers: list[str]
    nodes_per_provider: dict[str, int] | None
    operators_on_cpu: dict[str, int] | None = Field(
        default=None, description="operator type → nodes on the CPU beside another device; null on a CPU"
    )
    threads: int | None
    requested_threads: int | None = None
    execution: str | None = Field(default=None, description="eager, or the graph's nodes sequential or parallel")
    tf32: bool | None = Field(default=None, description="whether products may round to TF32; null where it has no say")
    graph_capture: str | None = Field(default=None, description="CUDA graphs: on, off, or not applicable, because …")
    driver: str | None = Field(default=None, description="of the device; null on a CPU")
    tf32_asked: bool = Field(default=False, description="whether the user allowed TF32, on a GPU")
    settings: dict[str, str] | None = Field(
        default=None, description="what a GPU's provider says of its own options; null where there is none"
    )
    clocks: CallClocks | None = Field(default=None, description="null where there are no device events, as on a CPU")
    notes: list[str] = []


class WorkerFacts(Part):
    """The process that a lane lived in, as it told itself."""

    affinity: list[int] | None = Field(default=None, description="processors it may use; null where not known")
    variables: dict[str, str] = Field(default={}, description="environment variables that steer its libraries")


class Peak(Part):
    """The machine's measured matrix-multiply rate with the run's threads: the best of several large products."""

    fp32_gflops: float | None
    bf16_gflops: float | None = None
    device: str = "cpu"
    threads: int | None = None
    reason: str | None = Field(default=None, description="why one is null")


class Environment(Part):
    """The machine and the libraries."""

    machine: str
    cpu: str
    cores: int
    memory_gib: float
    gpu: str | None
    os: str
    python: str
    libraries: dict[str, str]
    threads: int
    load_before: float | None = Field(description="one-minute load average before the run")
    busy: str | None = Field(default=None, description="what else kept the machine busy before the run, in words")
    governor: str | None = Field(default=None, description="the CPU's frequency governor; null where not readable")
    driver: str | None = Field(default=None, description="the GPU's driver and CUDA version")
    variables: dict[str, str] = Field(default={}, description="environment variables that steer the libraries")


class Seconds(Part):
    """Where a measurement's wall time went."""

    wall: float = Field(description="from the first turn to the last")
    busy: float = Field(description="in which a worker computed for it: warm-up, turns and offline passes")
    parent_cpu: float = Field(description="CPU seconds of the parent while it waited for workers")
    data: float = Field(default=0.0, description="reading volumes; deriving prompts is in `wall`")
    scoring: float = Field(default=0.0, description="Dice, surfaces, pictures, label files")
    starting: float = Field(default=0.0, description="starting workers and loading models")
