"""Case records → cells and comparisons: where a measurement becomes a statement, or is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.costs import ModuleCosts, module_cost
from benchmark.measure.attest import mismatch
from benchmark.measure.statistics import MARGIN, Speedup, paired_speedup, summarise
from benchmark.measured import ModuleCost, Throughput
from benchmark.metrics import EMPTY_CLASSES, EMPTY_REFERENCE, MISSED, mean
from benchmark.plan import REFERENCE_LANE, Group
from benchmark.prompts import find_strategy
from benchmark.records import CaseRecord, LaneRecord
from benchmark.results import CaseDice, CaseSurface, Cell, Comparison, Effort, Gate, LaneKey, Parity, Status
from benchmark.spec import Spec
from exporters.parity import gate_failure
from exporters.sam import SAM_MODELS

WARM_SAMPLES = 8
"""In fewer passes the first touch of each page weighs too much for a share of CPU time to mean anything."""

KERNEL_SHARE = 0.15
"""Above this, the time that the kernel takes is told. Computing alone takes a percent or two."""


def collect_cells(
    group: Group, records: Sequence[CaseRecord], spec: Spec, margin: float = MARGIN, costs: ModuleCosts | None = None
) -> tuple[list[Cell], list[Comparison]]:
    """The cells of a group, one a variant and lane, and every measured lane's comparison with the reference lane.

    Args:
        group: what was measured.
        records: of its cases.
        spec: the run's specification.
        margin: half-width of what counts as equivalent on this machine.
        costs: what a call of a module costs, for the share of peak; None where that is not known.
    """
    cells: list[Cell] = []
    comparisons: list[Comparison] = []
    for variant in group.variants:
        drafts = {key: _cell(group, records, variant, key, spec, costs) for key in group.lanes}
        baseline = drafts.get(REFERENCE_LANE)
        for key, draft in drafts.items():
            if key != REFERENCE_LANE and baseline is not None:
                drafts[key], comparison = _compare(records, variant, draft, baseline, margin)
                comparisons.append(comparison)
        cells += drafts.values()
        cells += [_blank(group, variant, key, "skipped", reason) for key, reason in group.skipped.items()]
    return cells, comparisons


def _blank(group: Group, variant: str, key: LaneKey, status: Status, reason: str | None = None) -> Cell:
    return Cell(
        stage=group.stage,
        task=group.planned.name,
        model=group.model,
        prompt=variant,
        backend=key.backend,
        device=group.device,
        precision=key.precision,
        status=status,
        reason=reason,
    )


def _lanes(records: Iterable[CaseRecord], key: LaneKey) -> list[LaneRecord]:
    return [record.lanes[str(key)] for record in records]


def _lane_key(cell: Cell) -> LaneKey:
    return LaneKey(cell.backend, cell.precision)


def _cell(
    group: Group, records: Sequence[CaseRecord], variant: str, key: LaneKey, spec: Spec, costs: ModuleCosts | None
) -> Cell:
    lanes = _lanes(records, key)
    cell = _blank(group, variant, key, "ok").model_copy(update={"attestation": lanes[0].attestation if lanes else {}})
    failed = [f"case {record.case}: {lane.failed}" for record, lane in zip(records, lanes, strict=True) if lane.failed]
    if failed:
        return cell.model_copy(update={"status": "failed", "reason": failed[0]})
    mismatch = attestation_mismatch(group.device, key.precision, lanes)
    if mismatch:
        return cell.model_copy(update={"status": "invalid", "reason": mismatch})
    if not any(lane.unit_ms.get(variant) for lane in lanes):
        return cell.model_copy(update={"status": "skipped", "reason": "no slice holds any of the labels"})
    return cell.model_copy(
        update={
            **_measured(group, records, variant, key, spec),
            **process_facts(lanes),
            "modules": _modules(lanes, costs),
        }
    )


def attestation_mismatch(device: str, precision: str, lanes: Sequence[LaneRecord]) -> str | None:
    """How what ran differs from what was asked for, in any of a lane's records; None if it does not."""
    found = (mismatch(device, precision, lane.attestation) for lane in lanes)
    return next((words for words in found if words), None)


def _measured(group: Group, records: Sequence[CaseRecord], variant: str, key: LaneKey, spec: Spec) -> dict[str, object]:
    lanes = _lanes(records, key)
    unit_ms = [ms for lane in lanes for ms in lane.unit_ms.get(variant, [])]
    volume_ms = [ms for lane in lanes for ms in lane.volume_ms.get(variant, [])]
    timed_slices = sum(lane.timed_slices for lane in lanes)
    phases: dict[str, float] = {}
    for lane in lanes:
        for phase, milliseconds in lane.phase_ms.get(variant, {}).items():
            phases[phase] = phases.get(phase, 0.0) + milliseconds / timed_slices
    dice = _dice_per_case(group, records, variant, key)
    return {
        "dice": mean(entry.dice for entry in dice),
        "dice_per_case": dice,
        **_surfaces(group, records, variant, key, spec),
        "empty_classes": EMPTY_CLASSES,
        "effort": _effort(lanes, variant),
        "latency_unit": _unit(group, spec),
        "window_latency_ms": summarise([ms for lane in lanes for ms in lane.window_ms.get(variant, [])]),
        "latency_ms": summarise(unit_ms),
        "device_latency_ms": summarise([ms for lane in lanes for ms in lane.device_ms.get(variant, [])]),
        "volume_latency_ms": summarise(volume_ms),
        "phases_ms": phases,
        "throughput": _throughput(group, spec, lanes),
        "server": next((lane.server for lane in lanes if lane.server), None),
        "parity": _parity(group, records, variant, key),
        "first_shape_ms": _first_shapes(lanes),
        "sliding_window": group.windows_of(key, spec),
        "preprocessing": group.preprocessing,
        "notes": [*_notes(group, spec, variant), *dict.fromkeys(note for lane in lanes for note in lane.notes)],
    }


def process_facts(lanes: Sequence[LaneRecord]) -> dict[str, object]:
    """What is known of a lane's process; a resumed run had several, and the first one's start counts."""
    first, last = lanes[0], lanes[-1]
    memory = max((lane.memory for lane in lanes if lane.memory), key=lambda one: one.peak_mib or 0.0, default=None)
    return {
        "load_ms": first.load_ms,
        "first_call_ms": first.first_call_ms,
        "warmup": next((lane.warmup for lane in lanes if lane.warmup), None),
        "memory": memory,
        "memory_mib": memory.peak_mib if memory else None,
        "memory_reason": memory.reason if memory else "the worker did not tell",
        "energy": last.energy,
        "worker": last.worker,
        "kernel_share": last.kernel_share,
    }


def _modules(lanes: Sequence[LaneRecord], costs: ModuleCosts | None) -> dict[str, ModuleCost]:
    names = dict.fromkeys(name for lane in lanes for name in lane.modules)
    return {name: module_cost(name, [c for lane in lanes for c in lane.modules.get(name, [])], costs) for name in names}


def _dice_per_case(group: Group, records: Sequence[CaseRecord], variant: str, key: LaneKey) -> list[CaseDice]:
    entries = []
    for record in records:
        for label, measured in record.lanes[str(key)].dice[variant].items():
            value = None if group.no_dice else measured
            reason = None if value is not None else group.no_dice or EMPTY_REFERENCE
            entries.append(CaseDice(case=record.case, label=label, dice=value, reason=reason))
    return entries


def _surfaces(group: Group, records: Sequence[CaseRecord], variant: str, key: LaneKey, spec: Spec) -> dict[str, object]:
    entries = _surface_per_case(records, variant, key, group.no_surfaces(spec))
    return {
        "nsd": mean(entry.nsd for entry in entries),
        "nsd_tolerance_mm": group.planned.task.nsd_tolerance_mm,
        "hd95_mm": mean(entry.hd95_mm for entry in entries),
        "hd95_missing": sum(entry.reason == MISSED for entry in entries),
        "surface_per_case": entries,
    }


def _surface_per_case(
    records: Sequence[CaseRecord], variant: str, key: LaneKey, unmeasured: str | None
) -> list[CaseSurface]:
    entries = []
    for record in records:
        lane = record.lanes[str(key)]
        absent = unmeasured or (EMPTY_REFERENCE if variant in lane.nsd else "no surface was measured")
        for label in lane.dice[variant]:
            found = ({} if unmeasured else measured.get(variant, {}) for measured in (lane.nsd, lane.hd95_mm))
            nsd, hd95 = (of_label.get(label) for of_label in found)
            reason = absent if nsd is None else MISSED if hd95 is None else None
            entries.append(CaseSurface(case=record.case, label=label, nsd=nsd, hd95_mm=hd95, reason=reason))
    return entries


def _effort(lanes: Sequence[LaneRecord], variant: str) -> Effort | None:
    efforts = [lane.effort[variant] for lane in lanes if variant in lane.effort]
    if not efforts:
        return None
    return Effort(
        clicks=sum(effort.clicks for effort in efforts),
        boxes=sum(effort.boxes for effort in efforts),
        objects=sum(effort.objects for effort in efforts),
    )


def _throughput(group: Group, spec: Spec, lanes: Sequence[LaneRecord]) -> Throughput | None:
    """Segmentation counts volumes where it saw whole ones, everything else slices; None without the scenario."""
    passes = [lane.offline for lane in lanes if lane.offline is not None]
    seconds = sum(one.seconds for one in passes)
    if not seconds:
        return None
    if group.stage == "segment" and (group.whole_volumes or spec.data.slices is None):
        whole = [one for one in passes if one.volumes]
        if whole:
            volumes, took = sum(one.volumes for one in whole), sum(one.seconds for one in whole)
            return Throughput(value=60 * volumes / took, unit="volumes/min", units=volumes, seconds=took)
    slices = sum(one.slices for one in passes)
    return Throughput(value=slices / seconds, unit="slices/s", units=slices, seconds=seconds)


def _first_shapes(lanes: Sequence[LaneRecord]) -> dict[str, float]:
    """The longest of each shape: a resumed run, or another process, may have met it several times."""
    shapes = dict.fromkeys(shape for lane in lanes for shape in lane.first_shape_ms)
    return {shape: max(lane.first_shape_ms.get(shape, 0.0) for lane in lanes) for shape in shapes}


def _unit(group: Group, spec: Spec) -> str:
    if group.whole_volumes:
        return "volume"
    if group.stage == "segment" and spec.unet is not None and spec.unet.windows_per_batch > 1:
        return f"batch of up to {spec.unet.windows_per_batch} slices"
    return "slice"


def _notes(group: Group, spec: Spec, variant: str) -> list[str]:
    if group.no_dice:
        return [group.no_dice]  # the other notes are about Dice
    notes = []
    sam = SAM_MODELS.get(group.model)
    if sam is not None and not find_strategy(variant).needs <= set(sam.trained_on):
        kinds = " and ".join(f"{kind} prompts" for kind in sam.trained_on)
        notes.append(f"{group.model} was trained on {kinds} alone; a low Dice of {variant} is no fault of a backend")
    if group.planned.same_case and group.stage == "segment":
        notes.append("trained and tested on the same case: its Dice says nothing about accuracy on new cases")
    if len(group.cases) == 1:
        notes.append("one case is no evidence of accuracy")
    if spec.data.slices is not None:
        notes.append(f"Dice over at most {spec.data.slices} slices of each case")
    return notes


def _parity(group: Group, records: Sequence[CaseRecord], variant: str, key: LaneKey) -> Parity:
    if REFERENCE_LANE not in group.lanes:
        return Parity(mask_dice=None, dice_delta=None, reason=f"the reference backend {REFERENCE_LANE} was not run")
    lanes, references = _lanes(records, key), _lanes(records, REFERENCE_LANE)
    if any(reference.failed for reference in references):
        return Parity(mask_dice=None, dice_delta=None, reason=f"the reference backend {REFERENCE_LANE} failed")
    mask_dice = mean(value for lane in lanes for value in lane.parity[variant].values())
    ours, theirs = (
        mean(entry.dice for entry in _dice_per_case(group, records, variant, side)) for side in (key, REFERENCE_LANE)
    )
    reasons = ["no mask to compare"] if mask_dice is None else []
    return Parity(
        mask_dice=mask_dice,
        dice_delta=None if ours is None or theirs is None else ours - theirs,
        reason="; ".join([*reasons, *([group.no_dice] if group.no_dice else [])]) or None,
    )


def _compare(
    records: Sequence[CaseRecord], variant: str, cell: Cell, baseline: Cell, margin: float
) -> tuple[Cell, Comparison]:
    for side in (cell, baseline):
        if side.status != "ok":
            refused = Speedup(None, None, 0, "inconclusive", f"{_lane_key(side)} is {side.status}: {side.reason}")
            return cell, _comparison(cell, refused, "fail", margin)
    mask_dice = cell.parity.mask_dice if cell.parity else None
    lost = gate_failure(cell.dice, baseline.dice, mask_dice, baseline.backend)
    if lost:
        cell = cell.model_copy(
            update={
                "status": "invalid",
                "reason": lost,
                "latency_ms": None,
                "device_latency_ms": None,
                "modules": {},
                "server": None,
                "energy": None,
                "window_latency_ms": None,
                "volume_latency_ms": None,
                "phases_ms": {},
                "throughput": None,
            }
        )
        return cell, _comparison(cell, Speedup(None, None, 0, "inconclusive", lost), "fail", margin)
    pairs = [pair for lane in _lanes(records, _lane_key(cell)) for pair in lane.pairs.get(variant, [])]
    speedup = paired_speedup([theirs for theirs, _ in pairs], [ours for _, ours in pairs], margin)
    return cell, _comparison(cell, speedup, "pass", margin)


def _comparison(cell: Cell, speedup: Speedup, gate: Gate, margin: float) -> Comparison:
    return Comparison(
        stage=cell.stage,
        task=cell.task,
        model=cell.model,
        prompt=cell.prompt,
        device=cell.device,
        precision=cell.precision,
        candidate=cell.backend,
        baseline=REFERENCE_LANE.backend,
        speedup=speedup.ratio,
        ci95=speedup.ci95,
        pairs=speedup.pairs,
        margin=margin,
        verdict=speedup.verdict,
        gate=gate,
        reason=speedup.reason,
    )


def allocator_notes(cells: Sequence[Cell]) -> list[str]:
    """Backends that spent much of their time in the kernel: on Linux, memory given back and asked for again.

    A speedup over such a backend is in part one over the C library's allocator, and a setting may win it more cheaply.
    """
    notes = []
    for backend in dict.fromkeys(cell.backend for cell in cells):
        warm = [c for c in cells if c.backend == backend and c.latency_ms and len(c.latency_ms.samples) >= WARM_SAMPLES]
        share = max((cell.kernel_share or 0.0 for cell in warm), default=0.0)
        if share >= KERNEL_SHARE:
            notes.append(
                f"Backend {backend} spent up to {share:.0%} of its CPU time in the kernel, most likely giving memory "
                "back and asking for it again; see docs/method.md, The allocator, for a setting that avoids it"
            )
    return notes
