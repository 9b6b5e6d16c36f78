"""What is kept of each finished case, so that it is not labelled again."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmark.files import write_text_atomically
from benchmark.results import Effort


class LabelledCase(BaseModel):
    """One finished case.

    Attributes:
        key: of what its labels depend on.
        case: its id.
        image: file name in imagesTr; several of a nnU-Net case, one a channel.
        label: file name in labelsTr.
        label_sha256: of that file.
        slices: with at least one object.
        effort: clicks and boxes.
        dice: label → Dice against the reference; None where the reference lacks the label.
        notes: how it ran, as that the batch was lowered.
    """

    model_config = ConfigDict(extra="forbid")

    key: str
    case: str
    images: tuple[str, ...]
    label: str
    label_sha256: str
    slices: int
    effort: Effort
    dice: dict[str, float | None]
    notes: tuple[str, ...] = ()


def load_case(path: Path) -> LabelledCase | None:
    """The record in a file; None if there is none that can be read."""
    try:
        return LabelledCase.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, not UTF-8, or not a record
        return None


def save_case(record: LabelledCase, path: Path) -> None:
    """Writes the record whole or not at all."""
    write_text_atomically(path, record.model_dump_json(indent=1))
