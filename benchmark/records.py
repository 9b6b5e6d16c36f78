"""Case records: the raw measurements, one file a group and case, written as soon as the case is done.

They are what makes a run resumable: a case with a record is not measured again.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmark.files import write_text_atomically
from benchmark.measured import Attested
from benchmark.results import Effort, Picture


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LaneRecord(_Model):
    """One lane on one case. The keys of the dictionaries are variants, then phases or labels.

    Attributes:
        unit_ms: of each timed unit, in the order of turns.
        volume_ms: of each timed pass over the case.
        phase_ms: total over all timed passes.
        dice: against the reference labels; of the first pass, since every pass computes the same.
        nsd: as `dice`; empty where surfaces were not measured.
        hd95_mm: as `nsd`; also null where the prediction lacks the label, which has an NSD of 0 then.
        parity: Dice between this lane's masks and the reference lane's.
        effort: of the first pass; corrections depend on the masks that a backend gave.
        attestation: one entry a runner.
        window_ms: of one window through the network, the mean over each timed unit's windows; empty without windows.
        first_shape_ms: shape → its first unit ever in this process, which is in no other time.
        load_ms: loading all runners.
        first_call_ms: the first unit after loading, before the warm-up.
        kernel_share: of the CPU time so far, what the kernel took.
        failed: why the lane gave nothing; then everything else is empty.
    """

    unit_ms: dict[str, list[float]] = {}
    volume_ms: dict[str, list[float]] = {}
    phase_ms: dict[str, dict[str, float]] = {}
    dice: dict[str, dict[str, float | None]] = {}
    nsd: dict[str, dict[str, float | None]] = {}
    hd95_mm: dict[str, dict[str, float | None]] = {}
    parity: dict[str, dict[str, float | None]] = {}
    effort: dict[str, Effort] = {}
    attestation: dict[str, Attested] = {}
    window_ms: dict[str, list[float]] = {}
    first_shape_ms: dict[str, float] = {}
    load_ms: float | None = None
    first_call_ms: float | None = None
    kernel_share: float | None = None
    failed: str | None = None


class CaseRecord(_Model):
    """All lanes on one case, by the string form of their keys."""

    case: str
    slices: int
    repeats: int
    lanes: dict[str, LaneRecord]
    pictures: list[Picture] = []


class RecordStore:
    """The records of one group in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, case: str) -> CaseRecord | None:
        """The case's record; None if there is none that can be read, or if a lane failed in it: it is redone."""
        try:
            record = CaseRecord.model_validate_json(self._path(case).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, not UTF-8, or not a record
            return None
        return None if any(lane.failed for lane in record.lanes.values()) else record

    def save(self, record: CaseRecord) -> None:
        """Writes the record whole or not at all."""
        write_text_atomically(self._path(record.case), record.model_dump_json(indent=1))

    def _path(self, case: str) -> Path:
        return self.folder / f"{case}.json"
