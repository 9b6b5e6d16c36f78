"""Case records: the raw measurements, one file a group and case, written as soon as the case is done.

They are what makes a run resumable: a case with a record is not measured again.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from pydantic import Field

from benchmark.files import write_text_atomically
from benchmark.measured import Attested, Energy, Memory, Part, Seconds, Server, WarmUp, WorkerFacts
from benchmark.results import Effort, Picture

RECORDS = "records"
"""The folder of records in a run's."""


class OfflineRecord(Part):
    """The offline scenario on one case: units one after another, over the wall time of the whole."""

    slices: int
    volumes: int
    seconds: float


class ShapeCalls(Part):
    """Calls of a module with inputs of these shapes, on the device-resident clock."""

    shapes: dict[str, tuple[int, ...]]
    ms: list[float]


class LaneRecord(Part):
    """One lane on one case. The keys of the dictionaries are variants, then phases or labels.

    Attributes:
        unit_ms: end to end, of each timed pass over a unit, in the order of turns.
        device_ms: of the same passes, the modules alone on the device-resident clock.
        pairs: of each turn beside the reference lane's on the same unit: the reference's milliseconds and this lane's,
            each the mean of the turn's passes.
        volume_ms: of each complete timed pass over the case.
        phase_ms: total over all timed passes.
        timed_slices: that those passes were over.
        dice: against the reference labels; of the first pass, since every pass computes the same.
        nsd: as `dice`; empty where surfaces were not measured.
        hd95_mm: as `nsd`; also null where the prediction lacks the label, which has an NSD of 0 then.
        parity: Dice between this lane's masks and the reference lane's.
        effort: of the first pass; corrections depend on the masks that a backend gave.
        attestation: one entry a runner.
        window_ms: of one window through the network, the mean over each timed unit's windows; empty without windows.
        modules: module → its calls.
        first_shape_ms: shape → its first unit ever in this process, which is in no other time.
        load_ms: loading all runners.
        first_call_ms: the first unit after loading, before the warm-up.
        warmup: of the worker, on the first case that it measured.
        offline: slices and volumes one after another, by wall time.
        server: the server scenario, on the first case that was measured.
        memory: of the worker, so far.
        energy: of a unit.
        worker: the process.
        kernel_share: of the CPU time so far, what the kernel took.
        notes: what the pipeline had to say by the end of the case, as that its batch was lowered.
        failed: why the lane gave nothing; then everything else is empty.
    """

    unit_ms: dict[str, list[float]] = Field(default={})
    device_ms: dict[str, list[float]] = Field(default={})
    pairs: dict[str, list[tuple[float, float]]] = Field(default={})
    volume_ms: dict[str, list[float]] = Field(default={})
    phase_ms: dict[str, dict[str, float]] = Field(default={})
    timed_slices: int = 0
    dice: dict[str, dict[str, float | None]] = Field(default={})
    nsd: dict[str, dict[str, float | None]] = Field(default={})
    hd95_mm: dict[str, dict[str, float | None]] = Field(default={})
    parity: dict[str, dict[str, float | None]] = Field(default={})
    effort: dict[str, Effort] = Field(default={})
    attestation: dict[str, Attested] = Field(default={})
    window_ms: dict[str, list[float]] = Field(default={})
    modules: dict[str, list[ShapeCalls]] = Field(default={})
    first_shape_ms: dict[str, float] = Field(default={})
    load_ms: float | None = None
    first_call_ms: float | None = None
    warmup: WarmUp | None = None
    offline: OfflineRecord | None = None
    server: Server | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    worker: WorkerFacts | None = None
    kernel_share: float | None = None
    notes: list[str] = Field(default=[])
    failed: str | None = None


class CaseRecord(Part):
    """All lanes on one case, by the string form of their keys.

    Attributes:
        slices: that had a unit.
        passes: complete passes of the lanes that went on longest.
        seconds: where the wall time of its measuring went, that of a part measured again included.
    """

    case: str
    slices: int
    passes: int
    lanes: dict[str, LaneRecord]
    seconds: Seconds
    pictures: list[Picture] = Field(default=[])

    @property
    def failed(self) -> dict[str, str]:
        """Lane → how it failed."""
        return {key: lane.failed for key, lane in self.lanes.items() if lane.failed is not None}


class RecordStore:
    """The records of one group in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, case: str) -> CaseRecord | None:
        """The case's record; None if there is none that can be read."""
        try:
            return CaseRecord.model_validate_json(self._path(case).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, not UTF-8, or not a record
            return None

    def save(self, record: CaseRecord) -> None:
        """Writes the record whole or not at all."""
        write_text_atomically(self._path(record.case), record.model_dump_json(indent=1))

    def _path(self, case: str) -> Path:
        return self.folder / f"{case}.json"


def last_measured(run_dir: Path) -> str | None:
    """When the newest record of a run was written, UTC in ISO 8601: a run that measures nothing again is no newer."""
    times = [path.stat().st_mtime for path in (run_dir / RECORDS).rglob("*.json")]
    if not times:
        return None
    return datetime.fromtimestamp(max(times), timezone.utc).isoformat(timespec="seconds")
