"""What decides the pseudo labels of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from benchmark.errors import InputError
from benchmark.prompts import find_strategy
from benchmark.sections import OnOutOfMemory, Section, known
from exporters.sam import SAM_MODELS
from runners.device import Device
from runners.registry import FILE_PRECISION, PRECISIONS, REAL_BACKENDS, has_own_file

ALL_GPUS = "cuda:all"
"""The device that means every GPU that the driver shows."""


class LabelSettings(Section):
    """One labelling of one task.

    What a prompt, a mask or the rounding of a logit depends on stands here, and nothing else does.
    """

    @property
    def decides(self) -> dict[str, Any]:
        """What tells these labels from others; with the same, an interrupted labelling goes on.

        Which GPU it is and how many share the work does not tell, and no more does what follows when memory runs out:
        who was told of it may go on with the cases that are left, and each case's record says whether its batch was
        lowered.
        """
        told = self.model_dump(mode="json", exclude={"checkpoint", "on_out_of_memory"})
        return {**told, "device": self.device.partition(":")[0]}

    model: str = "litemedsam"
    checkpoint: Path | None = None
    prompt: str = "box"
    per: Literal["object", "component"] = "object"
    masks: Literal["one", "three"] = "one"
    min_pixels: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    backend: str = "onnxruntime"
    device: str = "cpu"
    precision: str = "fp32"
    prompts_per_call: int | None = Field(default=None, ge=1)
    on_out_of_memory: OnOutOfMemory = "fail"
    threads: int = Field(default=1, ge=1)
    channel: int | None = Field(default=None, ge=0)
    window: tuple[float, float] | None = None
    labels: tuple[str, ...] | None = None

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        return known((model,), SAM_MODELS, "model")[0]

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, prompt: str) -> str:
        return find_strategy(prompt).name

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, backend: str) -> str:
        return known((backend,), REAL_BACKENDS, "backend")[0]

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if device == ALL_GPUS:
            return device
        try:
            return str(Device.parse(device))
        except ValueError as error:
            raise ValueError(f"{error}, or {ALL_GPUS}") from None

    @field_validator("labels")
    @classmethod
    def _in_one_order(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return labels and tuple(sorted(set(labels)))  # the same labels in another order are the same labelling

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, precision: str, info: ValidationInfo) -> str:
        # The backend is not there if it was refused, which is told already.
        backend = info.data.get("backend", "onnxruntime")
        able = PRECISIONS[backend]
        if precision in able and precision in FILE_PRECISION:
            raise ValueError(f"{precision} has no export that a gate was held to, so only runs use it; take {able[0]}")
        return known((precision,), [one for one in able if has_own_file(backend, one)], "precision of this backend")[0]


def parse_settings(**given: Any) -> LabelSettings:
    """Settings from the command line's options.

    Raises:
        InputError: an option is wrong, by its name.
    """
    try:
        return LabelSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]) if first["loc"] else "prompt"
        name = "label" if option == "labels" else option.replace("_", "-")
        raise InputError(f"--{name}: {_told(first)}") from None


def _told(error: ErrorDetails) -> str:
    """Pydantic's message, in our words where the command line can meet it."""
    if error["type"] == "greater_than_equal":
        return f"must be {error['ctx']['ge']} or more, not {error['input']}"
    if error["type"] == "literal_error":
        return f"must be {error['ctx']['expected']}, not {error['input']!r}"
    return error["msg"].removeprefix("Value error, ")
