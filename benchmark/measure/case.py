"""All lanes of a group on one case: timed passes in turns, and what the first of them computed.

This is the first form of measuring; everything above it sees only its `CaseRecord`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmark.data.slices import Slice
from benchmark.lanes import Lane
from benchmark.measure.extent import Extent
from benchmark.measure.turns import Turn, take_turns
from benchmark.metrics import CaseSurfaces, Scale, dice_per_label
from benchmark.plan import REFERENCE_LANE
from benchmark.prompts import Effort
from benchmark.records import CaseRecord, LaneRecord
from benchmark.results import Effort as EffortRecord
from benchmark.stages.base import Outcome, Unit

Labels = NDArray[np.uint8]
Predictions = dict[str, dict[str, Labels]]
"""variant → lane → label maps [n, H, W]."""


@dataclass
class _Tally:
    """What one lane has gathered in this case."""

    predictions: dict[str, Labels]
    unit_ms: dict[str, list[float]] = field(default_factory=dict)
    volume_ms: dict[str, list[float]] = field(default_factory=dict)
    phase_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    window_ms: dict[str, list[float]] = field(default_factory=dict)
    effort: dict[str, Effort] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    failed: str | None = None

    @property
    def samples(self) -> int:
        """Timed units so far."""
        return max((len(samples) for samples in self.unit_ms.values()), default=0)

    def add(self, outcome: Outcome) -> None:
        for variant in outcome.labels:
            phases = outcome.phases(variant)
            total = sum(phases.values())
            self.unit_ms.setdefault(variant, []).append(total)
            self.volume_ms[variant][-1] += total
            if outcome.windows:
                self.window_ms.setdefault(variant, []).append(phases["infer"] / outcome.windows)
            sums = self.phase_ms.setdefault(variant, {})
            for phase, milliseconds in phases.items():
                sums[phase] = sums.get(phase, 0.0) + milliseconds


def measure_case(
    case: str,
    lanes: Mapping[str, Lane],
    chosen: Sequence[Slice],
    units: Callable[[], Iterator[Unit]],
    variants: Sequence[str],
    labels: Mapping[int, str],
    extent: Extent,
    on_progress: Callable[[float], None] = lambda share: None,
    scale: Scale | None = None,
) -> tuple[CaseRecord, Predictions]:
    """Measures one case.

    Args:
        case: its id.
        lanes: by the string form of their keys.
        chosen: the slices that count, for Dice over the case.
        units: makes the units anew for each pass.
        variants: prompt strategies or the kind of training labels.
        labels: value → name.
        extent: how long and how often.
        on_progress: told the share of the case that each turn finished.
        scale: of surfaces; None where none are measured.

    Returns:
        The record, without pictures, and every lane's label maps.
    """
    place = {piece.index: position for position, piece in enumerate(chosen)}
    # With `data.slices` only labelled slices are chosen, and a case may have none.
    reference = np.stack([piece.label for piece in chosen]) if chosen else np.zeros((0, 0, 0), dtype=np.uint8)
    tallies = {key: _Tally({variant: np.zeros_like(reference) for variant in variants}) for key in lanes}
    timed: dict[int, int] = {}
    passes = 0
    started = time.monotonic()
    while extent.goes_on(passes, max(tally.samples for tally in tallies.values()), time.monotonic() - started):
        for tally in tallies.values():
            for variant in variants:
                tally.volume_ms.setdefault(variant, []).append(0.0)
        alive = {key: lanes[key].process for key, tally in tallies.items() if tally.failed is None}
        warmup = partial(_untimed, lanes, extent.warmup if passes == 0 else 0)
        for turn in take_turns(alive, units(), warmup, extent.pause_s, first=passes):
            _take(turn, tallies[turn.lane], place if passes == 0 else {})
            timed[turn.index] = len(turn.unit.slices)
            if passes < extent.repeats:  # how many further passes there will be is not known
                on_progress(len(turn.unit.slices) / (len(chosen) * extent.repeats * len(lanes)))
        passes += 1
        if not timed or not alive:
            break  # no slice has a prompt, or no lane is left: another pass would change nothing
    surfaces = None if scale is None else CaseSurfaces(reference, labels, scale)
    record = CaseRecord(
        case=case,
        slices=sum(timed.values()),
        repeats=passes,
        lanes={
            key: _lane_record(tally, lanes[key], reference, tallies.get(str(REFERENCE_LANE)), labels, surfaces)
            for key, tally in tallies.items()
        },
    )
    predictions: Predictions = {
        variant: {k: t.predictions[variant] for k, t in tallies.items() if t.failed is None} for variant in variants
    }
    return record, predictions


def _untimed(lanes: Mapping[str, Lane], warmup: int, lane: str, index: int, unit: Unit) -> int:
    """Passes before a lane's turn on a unit: the warm-up on the first, and one on the first of each new shape."""
    return max(warmup if index == 0 else 0, 0 if lanes[lane].knows(unit) else 1)


def _take(turn: Turn[Unit, Outcome], tally: _Tally, place: Mapping[int, int]) -> None:
    if turn.outcome is None:
        tally.failed = turn.error
        return
    tally.add(turn.outcome)
    if place:
        for variant, effort in turn.outcome.effort.items():
            tally.effort[variant] = tally.effort.get(variant, Effort()) + effort
            values = {asked.value for asked in turn.unit.prompts[variant]}
            tally.objects[variant] = tally.objects.get(variant, 0) + len(values)
        for variant, label_maps in turn.outcome.labels.items():
            for piece, label_map in zip(turn.unit.slices, label_maps, strict=True):
                tally.predictions[variant][place[piece.index]] = label_map


def _lane_record(
    tally: _Tally, lane: Lane, reference: Labels, reference_lane: _Tally | None, labels: Mapping[int, str],
    surfaces: CaseSurfaces | None,
) -> LaneRecord:  # fmt: skip
    if tally.failed is not None:
        return LaneRecord(attestation=dict(lane.attestation), load_ms=lane.load_ms, failed=tally.failed)
    parity = {}
    if reference_lane is not None and reference_lane.failed is None:
        parity = {
            variant: dice_per_label(predicted, reference_lane.predictions[variant], labels)
            for variant, predicted in tally.predictions.items()
        }
    measured = {} if surfaces is None else {v: surfaces.measure(found) for v, found in tally.predictions.items()}
    return LaneRecord(
        unit_ms=tally.unit_ms,
        volume_ms=tally.volume_ms if tally.unit_ms else {},
        phase_ms=tally.phase_ms,
        dice={
            variant: dice_per_label(predicted, reference, labels) for variant, predicted in tally.predictions.items()
        },
        nsd={variant: {name: both.nsd for name, both in found.items()} for variant, found in measured.items()},
        hd95_mm={variant: {name: both.hd95_mm for name, both in found.items()} for variant, found in measured.items()},
        parity=parity,
        effort={
            variant: EffortRecord(clicks=effort.clicks, boxes=effort.boxes, objects=tally.objects[variant])
            for variant, effort in tally.effort.items()
        },
        attestation=dict(lane.attestation),
        window_ms=tally.window_ms,
        first_shape_ms=dict(lane.first_shape_ms),
        load_ms=lane.load_ms,
        first_call_ms=lane.first_call_ms,
        kernel_share=lane.kernel_share,
    )
