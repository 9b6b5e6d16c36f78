"""The run specification: what to run on what. Everything but `name` and `data` has a default."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from benchmark.errors import InputError
from benchmark.sections import (
    DataSpec,
    LaneSpec,
    MeasureSpec,
    SamSpec,
    Section,
    TrainSpec,
    UnetSpec,
    distinct,
    known,
)
from runners.registry import BACKENDS, PRECISIONS, REAL_BACKENDS

REFERENCE_BACKEND = "pytorch"
"""Its fp32 lane is what every other lane is compared with."""

REFERENCE_PRECISION = "fp32"

REFERENCE_LABELS = "reference"
"""Where a prompt strategy names the labels a UNet learned from, this names the reference labels."""


class Spec(Section):
    """A whole run."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the run's default folder, runs/<name>"
    )
    data: DataSpec = Field(description="which scans")
    sam: SamSpec | None = Field(default=SamSpec(), description="the pseudo-label stage; null: none")
    unet: UnetSpec | None = Field(default=None, description="the segmentation stage; null: none")
    backends: tuple[str, ...] = Field(
        default=("pytorch", "onnxruntime"),
        min_length=1,
        description="what runs the models; pytorch is the reference that the others are compared with",
        json_schema_extra={"items": {"enum": [*sorted(REAL_BACKENDS)]}},
    )
    devices: tuple[str, ...] = Field(
        default=("cpu",), min_length=1, description="cpu, cuda or cuda:N; an absent one is an error"
    )
    precisions: tuple[str, ...] = Field(
        default=("fp32",),
        min_length=1,
        description="of weights and arithmetic; int8 finds its ranges at run time, int8-static beforehand",
        json_schema_extra={"items": {"enum": [*dict.fromkeys(one for able in PRECISIONS.values() for one in able)]}},
    )
    options: dict[str, dict[str, Any]] = Field(default={}, description="backend → what else it knows, by name")
    lanes: dict[str, LaneSpec] = Field(
        default={}, description="lane (a backend, or `backend precision`) → what it gets instead of what all get"
    )
    measure: MeasureSpec = Field(default=MeasureSpec(), description="how long and how often")

    @field_validator("backends")
    @classmethod
    def _known_backends(cls, backends: tuple[str, ...]) -> tuple[str, ...]:
        return known(backends, BACKENDS, "backend")

    @field_validator("devices")
    @classmethod
    def _known_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        from runners.device import Device

        return distinct(tuple(str(Device.parse(device)) for device in devices))

    @field_validator("precisions")
    @classmethod
    def _supported_precisions(cls, precisions: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known(precisions, dict.fromkeys(p for supported in PRECISIONS.values() for p in supported), "precision")
        # Backends are not there if they were refused, which is told already.
        backends: tuple[str, ...] = info.data.get("backends", tuple(BACKENDS))
        for precision in precisions:
            if not any(precision in PRECISIONS[backend] for backend in backends):
                able = " or ".join(backend for backend in BACKENDS if precision in PRECISIONS[backend])
                raise ValueError(f"{', '.join(backends)} cannot run {precision}; add {able} to backends")
        return precisions

    @model_validator(mode="after")
    def _settings_of_known_backends(self) -> Spec:
        for field, given in (("options", self.options), ("measure.variables", self.measure.variables)):
            for backend in given:
                if backend not in self.backends:
                    raise ValueError(f"{field} name {backend}, which is not among backends")
        return self

    @model_validator(mode="after")
    def _settings_of_known_lanes(self) -> Spec:
        for lane in self.lanes:
            backend, _, precision = lane.partition(" ")
            run = {REFERENCE_PRECISION} if backend == REFERENCE_BACKEND else set()
            if backend not in self.backends or (precision or REFERENCE_PRECISION) not in run.union(
                set(self.precisions).intersection(PRECISIONS[backend])
            ):
                raise ValueError(
                    f"lanes name {lane!r}, which does not run; write it as a backend, or with a precision other than "
                    "fp32 as `onnxruntime int8`, both of this run"
                )
        return self

    @model_validator(mode="after")
    def _something_to_do(self) -> Spec:
        if self.sam is None and self.unet is None:
            raise ValueError("sam and unet are both null, so there is nothing to run; give one of them")
        if self.unet is not None and self.unet.weak_vs_full:
            self._check_weak_vs_full(self.unet)
        if self.unet is not None and not self.unet.checkpoints:
            self._check_training_labels(self.unet)
            if self.data.slices is not None and len(self.unet.patch) == 3:
                raise ValueError("data.slices: a 3-D UNet learns from whole volumes; leave it out, or take a 2-D patch")
        return self

    def _check_weak_vs_full(self, unet: UnetSpec) -> None:
        if unet.checkpoints:
            raise ValueError("unet.weak_vs_full: with unet.checkpoints nothing is trained; leave one of them out")
        if self.sam is None:
            raise ValueError(
                "unet.weak_vs_full: weak supervision learns from pseudo labels, and sam is null; give sam.prompts"
            )
        labels = self.training_labels
        if REFERENCE_LABELS not in labels or len(labels) == 1:
            raise ValueError(
                f"unet.weak_vs_full: unet.labels is [{', '.join(labels)}]; name {REFERENCE_LABELS!r} and one of "
                f"sam.prompts ({', '.join(self.sam.prompts)}), or leave it out"
            )

    def _check_training_labels(self, unet: UnetSpec) -> None:
        strategies = self.sam.prompts if self.sam else ()
        for labels in unet.labels or ():
            if labels not in (*strategies, REFERENCE_LABELS):
                raise ValueError(
                    f"unet.labels names {labels!r}; choose from sam.prompts ({', '.join(strategies) or 'none'}) "
                    f"and {REFERENCE_LABELS!r}"
                )
        # The first model's pseudo labels are the ones that are learned from.
        learned = [labels for labels in self.training_labels if labels != REFERENCE_LABELS]
        if learned and self.sam and self.sam.seed(self.sam.models[0]) is not None:
            raise ValueError(
                f"unet.labels: {', '.join(learned)} would be pseudo labels of random weights, and a UNet learns "
                f"nothing from them; set unet.labels: [{REFERENCE_LABELS}]"
            )

    @property
    def training_labels(self) -> tuple[str, ...]:
        """The kinds of label a UNet is trained on."""
        if self.unet is None or self.unet.checkpoints:
            return ()
        if self.unet.labels is not None:
            return self.unet.labels
        return (*(self.sam.prompts[:1] if self.sam else ()), REFERENCE_LABELS)


def load_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """Reads a YAML specification; relative paths in it start at its own folder.

    Args:
        path: the YAML file.
        overrides: `key=value` pairs with dotted keys, the values in YAML: `measure.repeats=3`.

    Raises:
        InputError: the file, a field or an override is wrong; the message names it.
    """
    content = _read(path, "run specification")
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no specification; it needs at least `name` and `data` (see README.md)")
    for override in overrides:
        set_field(content, override)
    return parse_spec(content, str(path), path.parent)


def spec_schema() -> str:
    """The JSON schema of a run specification, as text, for editors that complete and check YAML."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}
    return json.dumps({**schema, "title": "sambench run specification"}, indent=1, ensure_ascii=False) + "\n"


def load_train_spec(path: Path | None, overrides: Sequence[str] = ()) -> TrainSpec:
    """Reads how a UNet is trained: what a run specification has in `unet`, but for what concerns measuring.

    Args:
        path: a YAML file; None for the defaults.
        overrides: `key=value` pairs, the values in YAML.

    Raises:
        InputError: the file, a field or an override is wrong; the message names it.
    """
    content = {} if path is None else _read(path, "file of training settings")
    if content is None:
        content = {}  # an empty file: all defaults
    if not isinstance(content, dict):
        raise InputError(f"--config {path}: holds no settings; write them as `epochs: 60` (see docs/train.md)")
    for override in overrides:
        set_field(content, override, "epochs=60")
    try:
        return TrainSpec.model_validate(content)
    except ValidationError as error:
        source = "training settings" if path is None else f"--config {path}"
        raise InputError(f"{source}: {_explain(error, 'docs/train.md')}") from None


def _read(path: Path, what: str) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a YAML {what}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date or number that cannot be
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())[:200]}") from None


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
    if spec.sam is not None and spec.sam.checkpoints:
        files = {m: _resolved(base, p, f"{source}: sam.checkpoints.{m}") for m, p in spec.sam.checkpoints.items()}
        spec = spec.model_copy(update={"sam": spec.sam.model_copy(update={"checkpoints": files})})
    if spec.unet is not None and spec.unet.checkpoints:
        found = tuple(_resolved(base, path, f"{source}: unet.checkpoints") for path in spec.unet.checkpoints)
        spec = spec.model_copy(update={"unet": spec.unet.model_copy(update={"checkpoints": found})})
    return spec


def _resolved(base: Path, path: Path, field: str) -> Path:
    try:
        return (base / path.expanduser()).resolve()
    except RuntimeError:  # `~name`, and there is no such user
        raise InputError(f"{field}: {path} names a home folder that is not there; write the whole path") from None


def set_field(content: dict[str, Any], override: str, example: str = "measure.repeats=3") -> None:
    """Sets a field in place by a `key=value` with a dotted key, the value in YAML.

    Raises:
        InputError: it is not of this form, or leads through what is no section; the message shows `example`.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write it as key=value, for example {example}")
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


WORDS = {
    "tuple_type": "is not a list; write it as [a, b]",
    "list_type": "is not a list; write it as [a, b]",
}
"""Of pydantic's own messages those that speak of Python."""


def _explain(error: ValidationError, page: str = "docs/spec.md") -> str:
    """The first mistakes, as `field: what is wrong`, in one line."""
    parts = []
    for item in error.errors()[:3]:
        field = ".".join(str(part) for part in item["loc"]) or "specification"
        message = WORDS.get(item["type"], item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"is not a field here; see {page} for the fields"
        parts.append(f"{field}: {message}")
    more = error.error_count() - len(parts)
    text = "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
    return " ".join(text.split())  # names from the file may hold line ends
