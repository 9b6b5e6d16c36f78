"""The sections of a run specification: data, sam, unet, measure. Everything but `data` has a default."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

AUTO_DEVICE = "auto"
"""A training's device that is chosen where it runs."""


LARGEST_SEED = 2**32 - 1
"""What NumPy and PyTorch both take."""

LARGEST_PATCH = 2**24
"""A window of 256 voxels along three sides; its activations alone take gigabytes."""


class Section(BaseModel):
    """A part of a specification: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSettings(Section):
    """What to use of one task instead of its defaults."""

    channel: int | None = Field(default=None, ge=0, description="of a multi-channel image")
    window: tuple[float, float] | None = Field(default=None, description="CT level and width, HU")
    labels: tuple[str, ...] | None = Field(default=None, description="names; others count as background")
    nsd_tolerance_mm: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="how far apart two surfaces may lie, for NSD"
    )


class DataSpec(Section):
    """A folder of MSD task folders, and what of it to use."""

    root: Path = Field(description="the folder that holds MSD task folders; relative to the specification's own")
    tasks: tuple[str, ...] = Field(min_length=1, description="which of its folders, as Task09_Spleen")
    cases: int | None = Field(default=None, ge=1, description="at most so many cases of each task, drawn by seed")
    slices: int | None = Field(default=None, ge=1, description="at most so many slices of each case, evenly spread")
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        description="draws and splits the cases, and moves jittered boxes and random clicks",
    )
    settings: dict[str, TaskSettings] = Field(default={}, description="task → what to use instead of its defaults")

    @field_validator("tasks")
    @classmethod
    def _plain_names(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task in {"", ".", ".."} or "/" in task or "\\" in task:
                raise ValueError(f"{task!r} is not the name of a folder in data.root")
        return distinct(tasks)

    @model_validator(mode="after")
    def _settings_of_known_tasks(self) -> DataSpec:
        for task in self.settings:
            if task not in self.tasks:
                raise ValueError(f"settings name {task}, which is not among data.tasks")
        return self


class SamSpec(Section):
    """The pseudo-label stage."""

    models: tuple[str, ...] = Field(
        default=("litemedsam",),
        min_length=1,
        description="vit_b, vit_l, vit_h, medsam, mobilesam or litemedsam",
    )
    prompts: tuple[str, ...] = Field(
        default=("box",), min_length=1, description="prompt strategies: box, point, iterative5, …; see docs/prompts.md"
    )
    per: Literal["object", "component"] = Field(
        default="object", description="one prompt for all of a label in a slice, or one for each connected component"
    )
    masks: Literal["one", "three"] = Field(
        default="one", description="the mask for clear prompts, or of three the one with the highest predicted IoU"
    )
    min_pixels: int = Field(default=1, ge=1, description="an object with fewer pixels in a slice gets no prompt there")
    prompts_per_call: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="prompts that go through the decoder at once; by default each backend's fastest",
    )
    checkpoints: dict[str, Path] = Field(default={}, description="model → a file of weights instead of its own")
    random_weights: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_SEED,
        strict=True,
        description="a seed: models without a checkpoint get random weights",
    )

    def seed(self, model: str) -> int | None:
        """The seed of a model's random weights; None if it has trained ones."""
        return None if model in self.checkpoints else self.random_weights

    @field_validator("models")
    @classmethod
    def _distinct_models(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(models)

    @field_validator("prompts")
    @classmethod
    def _known_prompts(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        from benchmark.prompts import find_strategy

        for name in prompts:
            find_strategy(name)
        return distinct(prompts)

    @model_validator(mode="after")
    def _checkpoints_of_known_models(self) -> SamSpec:
        for model in self.checkpoints:
            if model not in self.models:
                raise ValueError(f"checkpoints name {model}, which is not among sam.models")
        return self


class TrainSpec(Section):
    """How a UNet is trained: the whole of `sambench train --config`, and a part of a run's `unet`."""

    epochs: int = Field(default=30, ge=1, description="passes over the training cases")
    batch_size: int = Field(default=4, ge=1, description="windows of one training step")
    learning_rate: float = Field(default=4e-3, gt=0, le=10, description="of the first epoch; it falls towards 0")
    patch: tuple[PositiveInt, ...] = Field(
        default=(128, 128),
        min_length=2,
        max_length=3,
        description="voxels of a window: rows and columns of a slice for a 2-D UNet, X, Y and Z for a 3-D one",
    )
    spacing: tuple[float, float, float] | None = Field(
        default=None, description="mm along X, Y and Z that a 3-D UNet's volumes are resampled to; null keeps their own"
    )
    channels: tuple[PositiveInt, ...] = Field(default=(16, 32, 64, 128), description="of the UNet's levels")
    strides: tuple[PositiveInt, ...] = Field(default=(2, 2, 2), description="from each of its levels to the next")
    res_units: int = Field(default=2, ge=0, description="residual units of each level")
    validate_every: int = Field(default=5, ge=1, description="epochs between validations; the last is always validated")
    windows_per_case: int = Field(
        default=8,
        ge=1,
        description="windows drawn from each volume in an epoch of a 3-D UNet; a 2-D one sees every slice",
    )
    device: str = Field(default=AUTO_DEVICE, description="cpu, cuda or cuda:N; auto is a GPU where there is one")
    amp: bool = Field(default=True, description="mixed precision on a GPU; the CPU trains in fp32")
    test_share: float = Field(default=0.34, gt=0, lt=1, description="share of the cases that is only tested on")
    validation_share: float = Field(
        default=0.2, ge=0, lt=1, description="share of the other cases that choose the best epoch and teach nothing"
    )
    same_case: bool = Field(
        default=False, description="let a task of one case train and test on it: speed and parity, no accuracy"
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        from runners.device import Device

        return device if device == AUTO_DEVICE else str(Device.parse(device))

    @model_validator(mode="after")
    def _network_can_be_built(self) -> TrainSpec:
        from exporters.unet_config import SlidingWindow, monai_unet

        if self.spacing is not None and (len(self.patch) == 2 or not all(0.1 <= size <= 100 for size in self.spacing)):
            raise ValueError(
                "spacing is three sizes of 0.1 to 100 mm, for a patch of three sides; leave it out otherwise"
            )
        if math.prod(self.patch) > LARGEST_PATCH:
            raise ValueError(f"patch {self.patch} has more than {LARGEST_PATCH:,} voxels; take a smaller one")
        try:
            monai_unet({}, SlidingWindow(patch=self.patch), self.channels, self.strides)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        if all(side == math.prod(self.strides) for side in self.patch):
            # Its instance normalisation would be over a single voxel, which PyTorch refuses in training.
            raise ValueError(f"patch {self.patch} shrinks to one voxel under strides {self.strides}; take a larger one")
        return self

    @property
    def learning(self) -> dict[str, Any]:
        """The settings that could change the trained weights, besides the cases and the device."""
        return self.model_dump(mode="json", include=set(TrainSpec.model_fields) - ELSEWHERE)


ELSEWHERE = {"device", "test_share", "validation_share", "same_case"}
"""Fields of `TrainSpec` that act through the cases or the device that are chosen."""


class UnetSpec(TrainSpec):
    """The segmentation stage: a UNet trained here on each kind of label, or brought as checkpoints."""

    labels: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="prompt strategies and `reference`; by default the first strategy and `reference`",
    )
    weak_vs_full: bool = Field(
        default=False, description="train on pseudo labels and on reference labels, and insist on comparing the two"
    )
    checkpoints: tuple[Path, ...] = Field(default=(), description="networks to bring; then nothing is trained")
    windows_per_batch: int = Field(default=8, ge=1, description="windows that go through the UNet at once")
    overlap: float | None = Field(
        default=None, ge=0, lt=1, description="of the sliding windows; by default as the network has it"
    )
    blending: Literal["constant", "gaussian"] | None = Field(
        default=None, description="of the sliding windows; by default as the network has it"
    )

    @field_validator("labels")
    @classmethod
    def _distinct_labels(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return labels and distinct(labels)

    @field_validator("checkpoints")
    @classmethod
    def _distinct_checkpoints(cls, checkpoints: tuple[Path, ...]) -> tuple[Path, ...]:
        distinct(tuple(path.stem for path in checkpoints))  # the results tell them apart by it
        return checkpoints


class LaneSpec(Section):
    """What one lane gets instead of what all get; `sambench tune` writes it."""

    threads: int | None = Field(default=None, ge=1, strict=True, description="per operator")
    prompts_per_call: int | None = Field(
        default=None, ge=1, strict=True, description="prompts that go through the decoder at once"
    )
    windows_per_batch: int | None = Field(
        default=None, ge=1, strict=True, description="windows that go through the UNet at once"
    )
    options: dict[str, Any] = Field(default={}, description="of its backend, on top of those for the whole backend")


Scenario = Literal["single-stream", "offline", "server"]

OnOutOfMemory = Literal["fail", "halve"]
"""What follows when the device's memory does not hold the prompts or windows of a call."""


class ServerSpec(Section):
    """The server scenario: Poisson arrivals, and the highest rate at which a percentile keeps a bound."""

    bound_ms: float = Field(gt=0, description="latency, from arrival to answer, queueing included")
    percentile: Literal[90, 99] = Field(default=99, description="of the latencies; it has to keep the bound")
    budget_s: float = Field(default=120, gt=0, description="for the search of one backend's rate")


class MeasureSpec(Section):
    """How long and how often, and what each worker process gets."""

    repeats: int = Field(default=1, ge=1, description="timed passes over each case, at least")
    samples: int = Field(default=64, ge=1, description="further passes until each backend has so many; 64 allow a p90")
    budget_s: float = Field(
        default=60, ge=0, allow_inf_nan=False, description="no further turn begins after so long, over all cases"
    )
    margin: float = Field(
        default=0.02, gt=0, le=0.5, description="speedups within it are equivalent; the calibration may widen it"
    )
    block_ms: float = Field(
        default=50, ge=0, le=10_000, description="a turn repeats a short unit until it lasts about so long"
    )
    warmup: int = Field(default=1, ge=0, description="untimed units at each further case's start; 0: no warm-up at all")
    warmup_limit_s: float = Field(
        default=10, ge=0, le=3600, description="a worker's first warm-up ends here if its times are not steady before"
    )
    threads: int | None = Field(default=None, ge=1, description="per operator; by default the cores of this process")
    affinity: tuple[int, ...] | None = Field(
        default=None, min_length=1, description="processors that the workers stay on; by default all"
    )
    variables: dict[str, dict[str, str]] = Field(
        default={}, description="backend → environment variables of its worker processes"
    )
    limit_s: float = Field(default=600, gt=0, le=86_400, description="a worker silent for so long is killed")
    pause_ms: float = Field(
        default=5.0,
        ge=0,
        le=10_000,
        description="between turns, so that one backend's spinning threads do not slow the other",
    )
    scenarios: tuple[Scenario, ...] = Field(
        default=("single-stream", "offline"), min_length=1, description="as in MLPerf; see docs/scenarios.md"
    )
    on_out_of_memory: OnOutOfMemory = Field(
        default="fail",
        description="where device memory runs out: fail, or halve the prompts or windows at once, which is told",
    )
    offline_s: float = Field(default=10, gt=0, le=3600, description="of each backend's offline pass, over all cases")
    server: ServerSpec | None = Field(default=None, description="settings of the scenario `server`")

    @field_validator("scenarios")
    @classmethod
    def _single_stream_is_always_there(cls, scenarios: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
        if "single-stream" not in scenarios:
            raise ValueError("single-stream is what verdicts come from; keep it")
        return distinct(scenarios)

    @model_validator(mode="after")
    def _server_has_a_bound(self) -> MeasureSpec:
        if ("server" in self.scenarios) != (self.server is not None):
            raise ValueError("the scenario server and the section server {bound_ms: …} go together; give both or none")
        return self


T = TypeVar("T", bound=str)


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values, if each stands once; raises ValueError."""
    if len(set(values)) != len(values):
        raise ValueError(f"{', '.join(values)}: each may stand once")
    return values


def known(values: tuple[str, ...], known: object, kind: str) -> tuple[str, ...]:
    """The values, if all are known and each stands once; raises ValueError."""
    names = sorted(known)  # type: ignore[call-overload]
    for value in values:
        if value not in names:
            raise ValueError(f"{value!r} is no {kind}; choose from {', '.join(names)}")
    return distinct(values)
