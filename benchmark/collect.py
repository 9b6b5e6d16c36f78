"""Case records → cells and comparisons: where a measurement becomes a statement, or is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from benchmark.measure.statistics import PAIRS_NEEDED, Speedup, paired_speedup, summarise
from benchmark.metrics import EMPTY_REFERENCE, mean
from benchmark.plan import Group
from benchmark.records import CaseRecord, LaneRecord
from benchmark.results import Attested, CaseDice, Cell, Comparison, Gate, Parity, Throughput
from benchmark.spec import REFERENCE_BACKEND, Spec
from exporters.sam import SAM_MODELS

GATE = 0.999
"""The share of the reference backend's Dice that a backend must keep: MLPerf's stricter gate for 3D-UNet."""

KERNEL_SHARE = 0.15
"""Above this, the time that the kernel takes is told. Computing alone takes a percent or two."""

NO_MEMORY = "the backends share one process in this version, so their memory cannot be told apart"


def collect_cells(group: Group, records: Sequence[CaseRecord], spec: Spec) -> tuple[list[Cell], list[Comparison]]:
    """The cells of a group, one a variant and backend, and every backend's comparison with the reference backend."""
    cells: list[Cell] = []
    comparisons: list[Comparison] = []
    for variant in group.variants:
        drafts = {backend: _cell(group, records, variant, backend, spec) for backend in spec.backends}
        baseline = drafts.get(REFERENCE_BACKEND)
        for backend, draft in drafts.items():
            if backend != REFERENCE_BACKEND and baseline is not None:
                drafts[backend], comparison = _compare(group, records, variant, draft, baseline)
                comparisons.append(comparison)
        cells += drafts.values()
    return cells, comparisons


def _lanes(records: Iterable[CaseRecord], backend: str) -> list[LaneRecord]:
    return [record.lanes[backend] for record in records]


def _cell(group: Group, records: Sequence[CaseRecord], variant: str, backend: str, spec: Spec) -> Cell:
    lanes = _lanes(records, backend)
    cell = Cell(
        stage=group.stage,
        task=group.planned.name,
        model=group.model,
        prompt=variant,
        backend=backend,
        device=group.device,
        precision=group.precision,
        status="ok",
        memory_reason=NO_MEMORY,
        attestation=lanes[0].attestation if lanes else {},
    )
    failed = [
        f"case {record.case}: {record.lanes[backend].failed}" for record in records if record.lanes[backend].failed
    ]
    if failed:
        return cell.model_copy(update={"status": "failed", "reason": failed[0]})
    mismatch = attestation_mismatch(group, lanes)
    if mismatch:
        return cell.model_copy(update={"status": "invalid", "reason": mismatch})
    if not any(lane.unit_ms.get(variant) for lane in lanes):
        return cell.model_copy(update={"status": "skipped", "reason": "no slice holds any of the labels"})
    return cell.model_copy(update=_measured(group, records, variant, backend, spec))


def attestation_mismatch(group: Group, lanes: Sequence[LaneRecord]) -> str | None:
    """How what ran differs from what was asked for; None if it does not."""
    attested: Iterable[tuple[str, Attested]] = chain.from_iterable(lane.attestation.items() for lane in lanes)
    for part, what in attested:
        if what.device != group.device:
            return f"the {part} was asked to run on {group.device} and ran on {what.device}"
        if what.precision != group.precision:
            return f"the {part} was asked to run in {group.precision} and ran in {what.precision}"
    return None


def _measured(group: Group, records: Sequence[CaseRecord], variant: str, backend: str, spec: Spec) -> dict[str, object]:
    lanes = _lanes(records, backend)
    unit_ms = [ms for lane in lanes for ms in lane.unit_ms.get(variant, [])]
    volume_ms = [ms for lane in lanes for ms in lane.volume_ms.get(variant, [])]
    timed_slices = sum(record.slices * record.repeats for record in records)
    phases: dict[str, float] = {}
    for lane in lanes:
        for phase, milliseconds in lane.phase_ms.get(variant, {}).items():
            phases[phase] = phases.get(phase, 0.0) + milliseconds / timed_slices
    dice = [
        CaseDice(case=record.case, label=label, dice=value, reason=EMPTY_REFERENCE if value is None else None)
        for record, lane in zip(records, lanes, strict=True)
        for label, value in lane.dice[variant].items()
    ]
    return {
        "dice": mean(entry.dice for entry in dice),
        "dice_per_case": dice,
        "latency_unit": _unit(group, spec),
        "latency_ms": summarise(unit_ms),
        "volume_latency_ms": summarise(volume_ms),
        "phases_ms": phases,
        "throughput": Throughput(value=1e3 * timed_slices / sum(unit_ms), unit="slices/s"),
        "parity": _parity(records, variant, backend, dice),
        "load_ms": lanes[0].load_ms,
        "first_call_ms": lanes[0].first_call_ms,
        "kernel_share": lanes[-1].kernel_share,
        "notes": _notes(group, spec, variant),
    }


def _unit(group: Group, spec: Spec) -> str:
    if group.stage == "segment" and spec.unet is not None and spec.unet.slices_per_batch > 1:
        return f"batch of up to {spec.unet.slices_per_batch} slices"
    return "slice"


def _notes(group: Group, spec: Spec, variant: str) -> list[str]:
    notes = []
    sam = SAM_MODELS.get(group.model)
    if sam is not None and not any(variant.startswith(kind) for kind in sam.trained_on):
        kinds = " and ".join(f"{kind} prompts" for kind in sam.trained_on)
        notes.append(f"{group.model} was trained on {kinds} alone; a low Dice of {variant} is no fault of a backend")
    if group.planned.same_case and group.stage == "segment":
        notes.append("trained and tested on the same case: its Dice says nothing about accuracy on new cases")
    if len(group.cases) == 1:
        notes.append("one case is no evidence of accuracy")
    if spec.data.slices is not None:
        notes.append(f"Dice over at most {spec.data.slices} slices of each case")
    return notes


def _parity(records: Sequence[CaseRecord], variant: str, backend: str, dice: Sequence[CaseDice]) -> Parity:
    if not all(REFERENCE_BACKEND in record.lanes for record in records):
        return Parity(mask_dice=None, dice_delta=None, reason=f"the reference backend {REFERENCE_BACKEND} was not run")
    lanes, references = _lanes(records, backend), _lanes(records, REFERENCE_BACKEND)
    if any(reference.failed for reference in references):
        return Parity(mask_dice=None, dice_delta=None, reason=f"the reference backend {REFERENCE_BACKEND} failed")
    mask_dice = mean(value for lane in lanes for value in lane.parity[variant].values())
    ours = mean(entry.dice for entry in dice)
    theirs = mean(value for reference in references for value in reference.dice[variant].values())
    return Parity(
        mask_dice=mask_dice,
        dice_delta=None if ours is None or theirs is None else ours - theirs,
        reason="no mask to compare" if mask_dice is None else None,
    )


def _compare(
    group: Group, records: Sequence[CaseRecord], variant: str, cell: Cell, baseline: Cell
) -> tuple[Cell, Comparison]:
    for side in (cell, baseline):
        if side.status != "ok":
            refused = Speedup(None, None, 0, "inconclusive", f"{side.backend} is {side.status}: {side.reason}")
            return cell, _comparison(cell, refused, "fail")
    lost = gate_failure(cell, baseline)
    if lost:
        cell = cell.model_copy(
            update={
                "status": "invalid",
                "reason": lost,
                "latency_ms": None,
                "volume_latency_ms": None,
                "phases_ms": {},
                "throughput": None,
            }
        )
        return cell, _comparison(cell, Speedup(None, None, 0, "inconclusive", lost), "fail")
    times = [
        [ms for lane in _lanes(records, side.backend) for ms in lane.unit_ms.get(variant, [])]
        for side in (baseline, cell)
    ]
    return cell, _comparison(cell, paired_speedup(times[0], times[1]), "pass")


def _comparison(cell: Cell, speedup: Speedup, gate: Gate) -> Comparison:
    return Comparison(
        stage=cell.stage,
        task=cell.task,
        model=cell.model,
        prompt=cell.prompt,
        device=cell.device,
        precision=cell.precision,
        candidate=cell.backend,
        baseline=REFERENCE_BACKEND,
        speedup=speedup.ratio,
        ci95=speedup.ci95,
        pairs=speedup.pairs,
        verdict=speedup.verdict,
        gate=gate,
        reason=speedup.reason,
    )


def gate_failure(cell: Cell, baseline: Cell) -> str | None:
    """Why a backend's answers are not good enough to be timed; None if they are. A fast wrong answer is no answer."""
    if cell.dice is not None and baseline.dice is not None and baseline.dice > 0:
        if cell.dice < GATE * baseline.dice:
            return f"Dice {cell.dice:.4f} is below {GATE:.1%} of {baseline.backend}'s {baseline.dice:.4f}"
        return None
    mask_dice = cell.parity.mask_dice if cell.parity else None
    if mask_dice is not None and mask_dice < GATE:
        return f"its masks overlap {baseline.backend}'s with Dice {mask_dice:.4f}, below {GATE}"
    return None


def allocator_notes(cells: Sequence[Cell]) -> list[str]:
    """Backends that spent much of their time in the kernel: on Linux, memory given back and asked for again.

    A speedup over such a backend is in part one over the C library's allocator, and a setting may win it more cheaply.
    """
    notes = []
    for backend in dict.fromkeys(cell.backend for cell in cells):
        # In a handful of passes the first touch of each page weighs too much.
        warm = [c for c in cells if c.backend == backend and c.latency_ms and len(c.latency_ms.samples) >= PAIRS_NEEDED]
        share = max((cell.kernel_share or 0.0 for cell in warm), default=0.0)
        if share >= KERNEL_SHARE:
            notes.append(
                f"Backend {backend} spent up to {share:.0%} of its CPU time in the kernel, most likely giving memory "
                "back and asking for it again; see docs/method.md, The allocator, for a setting that avoids it"
            )
    return notes
