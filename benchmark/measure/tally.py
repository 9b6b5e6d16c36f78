"""What one lane has gathered in one case, and its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmark.measure.lane_server import ModuleCall, TurnReply
from benchmark.measured import Server
from benchmark.metrics import CaseSurfaces, dice_per_label
from benchmark.prompts import Effort
from benchmark.records import LaneRecord, OfflineRecord, ShapeCalls
from benchmark.results import Effort as EffortRecord
from benchmark.stages.base import Outcome, Unit

Labels = NDArray[np.uint8]
Predictions = dict[str, dict[str, Labels]]
"""variant → lane → label maps [n, H, W]."""


@dataclass
class Tally:
    """What one lane has gathered in this case.

    Attributes:
        predictions: variant → label maps of the chosen slices.
        pass_ms: variant → milliseconds of the pass that is under way.
    """

    predictions: dict[str, Labels]
    unit_ms: dict[str, list[float]] = field(default_factory=dict)
    device_ms: dict[str, list[float]] = field(default_factory=dict)
    pairs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    volume_ms: dict[str, list[float]] = field(default_factory=dict)
    phase_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    window_ms: dict[str, list[float]] = field(default_factory=dict)
    effort: dict[str, Effort] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    modules: dict[tuple[str, str], ShapeCalls] = field(default_factory=dict)
    pass_ms: dict[str, float] = field(default_factory=dict)
    timed_slices: int = 0
    last: TurnReply | None = None
    offline: OfflineRecord | None = None
    server: Server | None = None
    failed: str | None = None

    def add(self, reply: TurnReply, unit: Unit) -> dict[str, float]:
        """Takes a turn in.

        Returns:
            Variant → mean milliseconds of a pass over the unit.
        """
        self.last = reply
        self.timed_slices += len(unit.slices) * len(reply.outcomes)
        for outcome in reply.outcomes:
            self._add_times(outcome)
        self._add_calls(reply.calls)
        means = {
            variant: fmean(sum(outcome.phases(variant).values()) for outcome in reply.outcomes)
            for variant in reply.outcomes[0].labels
        }
        for variant, milliseconds in means.items():
            self.pass_ms[variant] = self.pass_ms.get(variant, 0.0) + milliseconds
        return means

    def _add_times(self, outcome: Outcome) -> None:
        for variant in outcome.labels:
            phases = outcome.phases(variant)
            self.unit_ms.setdefault(variant, []).append(sum(phases.values()))
            self.device_ms.setdefault(variant, []).append(outcome.device_ms(variant))
            if outcome.windows:
                self.window_ms.setdefault(variant, []).append(phases["infer"] / outcome.windows)
            sums = self.phase_ms.setdefault(variant, {})
            for phase, milliseconds in phases.items():
                sums[phase] = sums.get(phase, 0.0) + milliseconds

    def _add_calls(self, calls: Iterable[ModuleCall]) -> None:
        for call in calls:
            key = (call.module, str(call.shapes))
            self.modules.setdefault(key, ShapeCalls(shapes=call.shapes, ms=[])).ms.append(round(call.milliseconds, 4))

    def add_answers(self, outcome: Outcome, unit: Unit, place: Mapping[int, int]) -> None:
        """Takes the label maps and the effort of the first pass in.

        Args:
            outcome: with label maps.
            unit: the unit.
            place: a slice's index in the volume → its position among the chosen ones.
        """
        for variant, effort in outcome.effort.items():
            self.effort[variant] = self.effort.get(variant, Effort()) + effort
            values = {asked.value for asked in unit.prompts[variant]}
            self.objects[variant] = self.objects.get(variant, 0) + len(values)
        for variant, label_maps in outcome.labels.items():
            for piece, label_map in zip(unit.slices, label_maps, strict=True):
                self.predictions[variant][place[piece.index]] = label_map

    def end_pass(self, complete: bool) -> None:
        """Ends a pass over the case; only a complete one is a volume's time."""
        if complete:
            for variant, milliseconds in self.pass_ms.items():
                self.volume_ms.setdefault(variant, []).append(milliseconds)
        self.pass_ms = {}

    def times(self) -> LaneRecord:
        """The part of the record that is about time."""
        modules: dict[str, list[ShapeCalls]] = {}
        for (module, _), calls in self.modules.items():
            modules.setdefault(module, []).append(calls)
        return LaneRecord(
            unit_ms=self.unit_ms,
            device_ms=self.device_ms,
            pairs=self.pairs,
            volume_ms=self.volume_ms,
            phase_ms=self.phase_ms,
            timed_slices=self.timed_slices,
            window_ms=self.window_ms,
            modules=modules,
            offline=self.offline,
            server=self.server,
            first_shape_ms=self.last.first_shape_ms if self.last else {},
            first_call_ms=self.last.first_call_ms if self.last else None,
            kernel_share=self.last.kernel_share if self.last else None,
        )

    def scores(
        self, reference: Labels, reference_lane: Tally | None, labels: Mapping[int, str], surfaces: CaseSurfaces | None
    ) -> dict[str, object]:
        """The part of the record that is about masks.

        Args:
            reference: the reference labels, [n, H, W].
            reference_lane: what parity is held against; None where that lane does not run.
            labels: value → name.
            surfaces: of the case; None where none are measured.
        """
        found = self.predictions
        measured = {} if surfaces is None else {variant: surfaces.measure(maps) for variant, maps in found.items()}
        parity = {}
        if reference_lane is not None and reference_lane.failed is None:
            theirs = reference_lane.predictions
            parity = {variant: dice_per_label(maps, theirs[variant], labels) for variant, maps in found.items()}
        return {
            "dice": {variant: dice_per_label(maps, reference, labels) for variant, maps in found.items()},
            "nsd": {variant: {name: both.nsd for name, both in by.items()} for variant, by in measured.items()},
            "hd95_mm": {variant: {name: both.hd95_mm for name, both in by.items()} for variant, by in measured.items()},
            "parity": parity,
            "effort": {
                variant: EffortRecord(clicks=effort.clicks, boxes=effort.boxes, objects=self.objects[variant])
                for variant, effort in self.effort.items()
            },
        }
