"""The run specification: what to run on what. Everything but `name` and `data` has a default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from benchmark.errors import InputError
from runners.registry import BACKENDS

REFERENCE_BACKEND = "pytorch"
REFERENCE_LABELS = "reference"
"""Where a prompt strategy names the labels a UNet learned from, this names the reference labels."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSettings(_Model):
    """What to use of one task instead of its defaults."""

    channel: int | None = Field(default=None, ge=0, description="of a multi-channel image")
    window: tuple[float, float] | None = Field(default=None, description="CT level and width, HU")
    labels: tuple[str, ...] | None = Field(default=None, description="names; others count as background")


class DataSpec(_Model):
    """A folder of MSD task folders, and what of it to use."""

    root: Path
    tasks: tuple[str, ...] = Field(min_length=1)
    cases: int | None = Field(default=None, ge=1, description="at most so many cases of each task, drawn by seed")
    slices: int | None = Field(default=None, ge=1, description="at most so many slices of each case, evenly spread")
    seed: int = Field(default=0, ge=0)
    settings: dict[str, TaskSettings] = {}

    @field_validator("tasks")
    @classmethod
    def _plain_names(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task in {"", ".", ".."} or "/" in task or "\\" in task:
                raise ValueError(f"{task!r} is not the name of a folder in data.root")
        return _distinct(tasks)

    @model_validator(mode="after")
    def _settings_of_known_tasks(self) -> DataSpec:
        for task in self.settings:
            if task not in self.tasks:
                raise ValueError(f"settings name {task}, which is not among data.tasks")
        return self


class SamSpec(_Model):
    """The pseudo-label stage."""

    models: tuple[str, ...] = Field(default=("litemedsam",), min_length=1)
    prompts: tuple[str, ...] = Field(default=("box",), min_length=1)
    min_pixels: int = Field(default=1, ge=1, description="a label with fewer pixels in a slice gets no prompt there")

    @field_validator("models")
    @classmethod
    def _distinct_models(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(models)

    @field_validator("prompts")
    @classmethod
    def _known_prompts(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        from benchmark.prompts import STRATEGIES

        return _known(prompts, STRATEGIES, "prompt strategy")


class UnetSpec(_Model):
    """The segmentation stage: a 2-D UNet trained here on each kind of label, or brought as checkpoints."""

    labels: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="prompt strategies and `reference`; by default the first strategy and `reference`",
    )
    checkpoints: tuple[Path, ...] = Field(default=(), description="trained by sambench; then nothing is trained")
    epochs: int = Field(default=120, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    patch: tuple[PositiveInt, PositiveInt] = (128, 128)
    channels: tuple[PositiveInt, ...] = (16, 32, 64, 128)
    strides: tuple[PositiveInt, ...] = (2, 2, 2)
    res_units: int = Field(default=2, ge=0)
    test_share: float = Field(default=0.34, gt=0, lt=1, description="share of the cases that is only tested on")
    same_case: bool = Field(
        default=False, description="let a task of one case train and test on it: speed and parity, no accuracy"
    )
    slices_per_batch: int = Field(default=8, ge=1, description="slices that go through the UNet at once")
    overlap: float = Field(
        default=0.25, ge=0, lt=1, description="of the sliding windows, where a slice exceeds a patch"
    )

    @field_validator("labels")
    @classmethod
    def _distinct_labels(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return labels and _distinct(labels)

    @field_validator("checkpoints")
    @classmethod
    def _distinct_checkpoints(cls, checkpoints: tuple[Path, ...]) -> tuple[Path, ...]:
        _distinct(tuple(path.stem for path in checkpoints))  # the results tell them apart by it
        return checkpoints

    @model_validator(mode="after")
    def _network_can_be_built(self) -> UnetSpec:
        from exporters.unet import UNetConfig

        try:
            UNetConfig(labels={}, patch=self.patch, channels=self.channels, strides=self.strides)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self


class MeasureSpec(_Model):
    """How long and how often."""

    repeats: int = Field(default=1, ge=1, description="timed passes over each case, at least")
    samples: int = Field(default=64, ge=1, description="further passes until each backend has so many; 64 allow a p90")
    budget_s: float = Field(default=60, ge=0, description="no further pass begins after so long, over all cases")
    warmup: int = Field(default=2, ge=0, description="untimed units for each backend at each case's start")
    threads: int | None = Field(default=None, ge=1, description="per operator; by default the cores of this process")
    pause_ms: float = Field(
        default=5.0,
        ge=0,
        le=10_000,
        description="between turns, so that one backend's spinning threads do not slow the other",
    )


class Spec(_Model):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: DataSpec
    sam: SamSpec | None = SamSpec()
    unet: UnetSpec | None = None
    backends: tuple[str, ...] = Field(default=("pytorch", "onnxruntime"), min_length=1)
    devices: tuple[str, ...] = Field(default=("cpu",), min_length=1)
    precisions: tuple[Literal["fp32"], ...] = Field(default=("fp32",), min_length=1)
    measure: MeasureSpec = MeasureSpec()

    @field_validator("backends")
    @classmethod
    def _known_backends(cls, backends: tuple[str, ...]) -> tuple[str, ...]:
        return _known(backends, BACKENDS, "backend")

    @field_validator("devices")
    @classmethod
    def _known_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        from runners.device import Device

        return _distinct(tuple(str(Device.parse(device)) for device in devices))

    @model_validator(mode="after")
    def _something_to_do(self) -> Spec:
        if self.sam is None and self.unet is None:
            raise ValueError("sam and unet are both null, so there is nothing to run; give one of them")
        if self.unet is not None and not self.unet.checkpoints:
            self._check_training_labels(self.unet)
        return self

    def _check_training_labels(self, unet: UnetSpec) -> None:
        strategies = self.sam.prompts if self.sam else ()
        for labels in unet.labels or ():
            if labels not in (*strategies, REFERENCE_LABELS):
                raise ValueError(
                    f"unet.labels names {labels!r}; choose from sam.prompts ({', '.join(strategies) or 'none'}) "
                    f"and {REFERENCE_LABELS!r}"
                )

    @property
    def training_labels(self) -> tuple[str, ...]:
        """The kinds of label a UNet is trained on."""
        if self.unet is None or self.unet.checkpoints:
            return ()
        if self.unet.labels is not None:
            return self.unet.labels
        return (*(self.sam.prompts[:1] if self.sam else ()), REFERENCE_LABELS)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError(f"{', '.join(values)}: each may stand once")
    return values


def _known(values: tuple[str, ...], known: object, kind: str) -> tuple[str, ...]:
    names = sorted(known)  # type: ignore[call-overload]
    for value in values:
        if value not in names:
            raise ValueError(f"{value!r} is no {kind}; choose from {', '.join(names)}")
    return _distinct(values)


def load_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """Reads a YAML specification; relative paths in it start at its own folder.

    Args:
        path: the YAML file.
        overrides: `key=value` pairs with dotted keys, the values in YAML: `measure.repeats=3`.

    Raises:
        InputError: the file, a field or an override is wrong; the message names it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a YAML run specification") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date or number that cannot be
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no specification; it needs at least `name` and `data` (see README.md)")
    for override in overrides:
        _set(content, override)
    return parse_spec(content, str(path), path.parent)


def parse_spec(content: dict[str, Any], source: str, base: Path) -> Spec:
    """Validates a specification; `source` names it in errors, `base` is where its relative paths start.

    Raises:
        InputError: a field is wrong, with its dotted name.
    """
    try:
        spec = Spec.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {_explain(error)}") from None
    root = _resolved(base, spec.data.root, f"{source}: data.root")
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"root": root})})
    if spec.unet is not None and spec.unet.checkpoints:
        found = tuple(_resolved(base, path, f"{source}: unet.checkpoints") for path in spec.unet.checkpoints)
        spec = spec.model_copy(update={"unet": spec.unet.model_copy(update={"checkpoints": found})})
    return spec


def _resolved(base: Path, path: Path, field: str) -> Path:
    try:
        return (base / path.expanduser()).resolve()
    except RuntimeError:  # `~name`, and there is no such user
        raise InputError(f"{field}: {path} names a home folder that is not there; write the whole path") from None


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write it as key=value, for example measure.repeats=3")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"--set {override}: {text!r} is not YAML") from None
    *parents, last = key.split(".")
    for name in parents:
        child = content.setdefault(name, {})
        if child is None:
            child = content[name] = {}
        if not isinstance(child, dict):
            raise InputError(f"--set {override}: {name} is not a section of the specification")
        content = child
    content[last] = value


def _explain(error: ValidationError) -> str:
    """The first mistakes, as `field: what is wrong`, in one line."""
    parts = []
    for item in error.errors()[:3]:
        field = ".".join(str(part) for part in item["loc"]) or "specification"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "is not a field here; see docs/spec.md for the fields"
        parts.append(f"{field}: {message}")
    more = error.error_count() - len(parts)
    text = "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
    return " ".join(text.split())  # names from the file may hold line ends
