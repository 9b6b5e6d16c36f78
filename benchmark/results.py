"""The schema of results.json and its store. Reports read nothing else.

A value that could not be had is null and a reason stands beside it; it is never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from benchmark.errors import InputError
from benchmark.files import write_text_atomically
from benchmark.measured import (
    Attested,
    Energy,
    Environment,
    Latency,
    Memory,
    ModuleCost,
    Part,
    Peak,
    Seconds,
    Server,
    Throughput,
    WarmUp,
    WorkerFacts,
)

SCHEMA_VERSION = 1
RESULTS_FILE = "results.json"

Stage = Literal["pseudolabel", "train", "segment"]
Status = Literal["ok", "failed", "invalid", "skipped"]
Verdict = Literal["faster", "slower", "equivalent", "inconclusive"]
Gate = Literal["pass", "fail"]


@dataclass(frozen=True)
class LaneKey:
    """What takes turns: a backend in one precision.

    Its string form is the key in records and pictures. The fp32 lane has its backend's plain name.
    """

    backend: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return self.backend if self.precision == "fp32" else f"{self.backend} {self.precision}"

    @classmethod
    def parse(cls, text: str) -> LaneKey:
        """The key of a string form."""
        backend, _, precision = text.partition(" ")
        return cls(backend, precision or "fp32")

    @property
    def file_name(self) -> str:
        """Its part of a file's name."""
        return str(self).replace(" ", "-")


class Parity(Part):
    """A backend's masks against the reference backend's."""

    mask_dice: float | None = Field(description="mean Dice between the two backends' masks over cases and labels")
    dice_delta: float | None = Field(description="Dice against the reference labels minus the reference backend's")
    reason: str | None = None


class Effort(Part):
    """What a person does to prompt for objects: clicks set and boxes drawn.

    Fractions arise where one box serves several slices (`box-every<k>`).
    """

    clicks: float
    boxes: float
    objects: int = Field(description="pairs of slice and label that were prompted for")

    @property
    def per_object(self) -> float:
        """Clicks an object of a slice costs; a box is two, one a corner."""
        return (self.clicks + 2 * self.boxes) / self.objects if self.objects else 0.0


class CaseDice(Part):
    """Dice of one label in one case against the reference label, over the whole volume."""

    case: str
    label: str
    dice: float | None = Field(ge=0, le=1)
    reason: str | None = None


class CaseSurface(Part):
    """How one label's surface in one case lies to the reference's, over the whole volume."""

    case: str
    label: str
    nsd: float | None = Field(description="share of both surfaces within the task's tolerance of the other")
    hd95_mm: float | None
    reason: str | None = Field(default=None, description="why one or both are null")


class Cell(Part):
    """What one (stage, task, model, prompt, backend, device, precision) measured."""

    stage: Stage
    task: str
    model: str
    prompt: str | None = Field(description="prompt strategy; in `segment`, the labels the UNet was trained on")
    backend: str
    device: str
    precision: str
    status: Status
    reason: str | None = None
    dice: float | None = Field(default=None, ge=0, le=1, description="mean of dice_per_case, nulls left out")
    dice_per_case: list[CaseDice] = Field(default=[])
    nsd: float | None = Field(default=None, description="mean of surface_per_case, nulls left out")
    nsd_tolerance_mm: float | None = Field(default=None, description="the task's")
    hd95_mm: float | None = Field(default=None, description="mean of surface_per_case, nulls left out")
    hd95_missing: int = Field(
        default=0, description="labels of cases that the prediction lacks: their HD95 is infinite and in no mean"
    )
    surface_per_case: list[CaseSurface] = Field(default=[])
    effort: Effort | None = Field(default=None, description="of all cases together; null outside `pseudolabel`")
    latency_unit: str = "slice"
    latency_ms: Latency | None = None
    window_latency_ms: Latency | None = Field(
        default=None, description="`segment`: of one window through the network, the mean of each unit's windows"
    )
    volume_latency_ms: Latency | None = None
    phases_ms: dict[str, float] = Field(default={}, description="mean milliseconds per slice of each phase, in order")
    device_latency_ms: Latency | None = Field(
        default=None, description="device-resident: of one unit, its modules alone, inputs and outputs on the device"
    )
    modules: dict[str, ModuleCost] = Field(default={}, description="one entry per runner: encoder, decoder, unet")
    throughput: Throughput | None = None
    server: Server | None = Field(default=None, description="null unless the scenario was asked for")
    parity: Parity | None = None
    memory_mib: float | None = Field(default=None, description="`memory.peak_mib`")
    memory_reason: str | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    warmup: WarmUp | None = None
    worker: WorkerFacts | None = None
    attestation: dict[str, Attested] = Field(default={}, description="one entry per runner: encoder, decoder, unet")
    load_ms: float | None = Field(default=None, description="loading all runners of the stage, in this process")
    first_call_ms: float | None = Field(default=None, description="the first unit after loading, before the warm-up")
    first_shape_ms: dict[str, float] = Field(
        default={}, description="the first unit of each new shape, kept out of the warm samples; longest over cases"
    )
    sliding_window: dict[str, object] | None = Field(
        default=None, description="`segment`: patch, overlap, blending, padding, mirroring and windows at once"
    )
    preprocessing: str | None = Field(default=None, description="`segment`: what the network was shown, in words")
    empty_classes: str | None = Field(default=None, description="what counts where a label is absent, in words")
    kernel_share: float | None = Field(default=None, description="share of CPU time that the kernel took, 0 to 1")
    notes: list[str] = Field(default=[])


class Comparison(Part):
    """A candidate backend against a baseline backend in the same run; the baseline runs in fp32."""

    stage: Stage
    task: str
    model: str
    prompt: str | None
    device: str
    precision: str = Field(description="the candidate's")
    candidate: str
    baseline: str
    speedup: float | None = Field(description="baseline time / candidate time, median over pairs; above 1 is faster")
    ci95: tuple[float, float] | None
    pairs: int
    margin: float | None = Field(default=None, description="half-width of what counts as equivalent, here")
    verdict: Verdict
    gate: Gate
    reason: str | None = None


class SupervisionEffect(Part):
    """What learning from pseudo labels cost: a UNet trained on them (weak) against one on the reference labels (full).

    Both are scored against the reference labels of the same test cases.
    """

    task: str
    model: str
    labels: str = Field(description="the pseudo labels: their prompt strategy")
    label: str | None = Field(description="a label of the task; null for the mean of each case's labels")
    backend: str
    device: str
    precision: str
    dice_weak: float | None = Field(description="mean over cases")
    dice_full: float | None = Field(description="mean over cases")
    difference: float | None = Field(description="weak minus full, the mean over cases")
    ci95: tuple[float, float] | None = Field(description="Student's interval of the difference, for paired samples")
    cases: int = Field(description="test cases that hold the label")
    reason: str | None = Field(default=None, description="why a value is null, or what limits it")


class Picture(Part):
    """One axial slice to look at. Paths are PNG files relative to the results file, all of one size."""

    stage: Stage
    task: str
    model: str
    prompt: str | None
    case: str
    slice: int
    spacing_mm: tuple[float, float] = Field(description="row spacing, column spacing")
    image: str = Field(description="8-bit grey, windowed as the model saw it")
    reference: str = Field(description="8-bit label values")
    predictions: dict[str, str] = Field(
        description="lane → PNG of 8-bit label values; `onnxruntime`, and in another precision `onnxruntime int8`"
    )
    labels: dict[int, str]
    dice: dict[str, float | None] = Field(description="lane → mean Dice of this slice's labels")
    dice_reason: str | None = Field(default=None, description="why no Dice is given")
    differing: int | None = Field(
        default=None, description="pixels in which any lane's label differs from the first lane's; null in older runs"
    )


class TaskInfo(Part):
    """A task as it was used."""

    name: str
    modality: str
    labels: dict[int, str]
    cases: list[str]
    slices: int = Field(description="slices that hold at least one label, over all cases used")
    train_cases: list[str] = Field(default=[])
    validation_cases: list[str] = Field(default=[])
    test_cases: list[str] = Field(default=[])
    intensity: str = Field(description="the intensity window, in words")
    data_sha256: str | None = Field(default=None, description="of the files of the cases used; null in older runs")
    notes: list[str] = Field(default=[])


class Validation(Part):
    """Dice of an unfinished UNet on the validation cases, against the kind of labels that it is trained on."""

    epoch: int = Field(description="counted from 1")
    dice: float | None = Field(description="mean over cases and labels; null where no case has a label")
    labels: dict[str, float | None] = Field(description="label → mean over cases")


class Training(Part):
    """One UNet training; both backends run the very same weights afterwards."""

    task: str
    model: str
    labels: str = Field(description="prompt strategy of the pseudo labels, or `reference`")
    cases: list[str]
    validation_cases: list[str] = Field(default=[], description="they choose the best epoch and teach nothing")
    slices: int = Field(description="of all training cases; of a 3-D network the axial slices of its volumes")
    epochs: int
    seconds: float
    loss: list[float] = Field(description="mean training loss of each epoch")
    validation: list[Validation] = Field(default=[])
    best_epoch: int | None = Field(default=None, description="the epoch whose weights were taken, counted from 1")
    device: str = "cpu"
    amp: bool = Field(default=False, description="whether the forward pass ran in mixed precision")
    checkpoint_sha256: str
    notes: list[str] = Field(default=[])


class Artifact(Part):
    """An export that was run, and what it was made of."""

    model: str
    precision: str
    folder: str = Field(description="relative to the results file")
    weights_sha256: str | None = Field(description="of the checkpoint; null where the weights are random")
    files: dict[str, str] = Field(description="file → SHA-256")


class Results(Part):
    """The whole of a run."""

    schema_version: int = SCHEMA_VERSION
    sambench_version: str
    name: str
    created: str = Field(description="when the last of its measurements ended; UTC, ISO 8601")
    seconds: float = Field(description="wall time of the run, resumed parts included")
    command: str
    environment: Environment
    spec: dict[str, object]
    tasks: list[TaskInfo]
    trainings: list[Training] = Field(default=[])
    artifacts: list[Artifact] = Field(default=[])
    cells: list[Cell]
    comparisons: list[Comparison]
    supervision: list[SupervisionEffect] = Field(default=[])
    pictures: list[Picture] = Field(default=[])
    peak: dict[str, Peak] = Field(default={}, description="device → what it can do")
    measuring: Seconds | None = Field(default=None, description="where the time of all measurements together went")
    calibration: str | None = Field(default=None, description="what calibration of this machine was used, in words")
    notes: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _each_cell_once(self) -> Results:
        identities = [(c.stage, c.task, c.model, c.prompt, c.backend, c.device, c.precision) for c in self.cells]
        if len(set(identities)) < len(identities):
            twice = next(one for one in identities if identities.count(one) > 1)
            raise ValueError(f"the cell {', '.join(map(str, twice))} stands twice")
        return self


def save_results(results: Results, run_dir: Path) -> Path:
    """Writes results.json whole or not at all and returns its path."""
    path = run_dir / RESULTS_FILE
    write_text_atomically(path, results.model_dump_json(indent=1))
    return path


def load_results(run_dir: Path) -> Results:
    """Reads the results.json of a run folder.

    Raises:
        InputError: there is none, or it is not of this schema.
    """
    path = run_dir if run_dir.suffix == ".json" else run_dir / RESULTS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: no results there ({error.strerror}); name the folder that `sambench run` wrote"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; the file is damaged or no results.json") from None
    try:
        results = Results.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise InputError(
            f"{path}: {where}: {first['msg']}; the file is damaged or of another sambench version"
        ) from None
    if results.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {results.schema_version}, this sambench reads {SCHEMA_VERSION}; read it with the "
            "sambench that wrote it, or run again"
        )
    return results
