"""The numbers, tables and sentences that every format shows, computed once."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from benchmark.results import Results
from reports import (
    accuracy,
    amortised,
    attestation,
    effort,
    matrix,
    measuring,
    provenance,
    resources,
    speed,
    supervision,
    surfaces,
    times,
    windows,
)
from reports.lineup import lineups
from reports.table import Table
from reports.text import count, duration, moment
from reports.verdict import Verdict, judge
from reports.view import View


@dataclass(frozen=True)
class Summary:
    """A run as its readers see it. A table that has nothing to say is None."""

    name: str
    facts: tuple[str, ...]
    verdict: Verdict
    problems: Table | None
    matrix: Table | None
    verdicts: Table
    latency: Table
    start: Table
    segmentation: Table | None
    server: Table | None
    phases: tuple[Table, ...]
    amortised: Table | None
    memory: Table | None
    limit: Table | None
    prompts: tuple[Table, ...]
    dice: Table
    dice_in_short: Table
    dice_cases: Table
    surfaces: Table | None
    surfaces_in_short: Table | None
    surface_cases: Table | None
    supervision: Table | None
    supervision_labels: Table | None
    attestation: Table
    measuring: Table | None
    harness: str | None
    networks: Table | None
    rules: tuple[str, ...]
    tasks: Table
    cases: Table
    trainings: Table | None
    environment: Table
    notes: tuple[str, ...]
    spec: str
    command: str

    @property
    def folds_dice(self) -> bool:
        """Whether the table of Dice per label is long, and the one by prompt strategy says what matters."""
        return bool(self.prompts) and len(self.dice.rows) > accuracy.MANY_ROWS


def summarize(results: Results) -> Summary:
    """Computes what reports show; pure."""
    view = View(results)
    machine = results.environment
    return Summary(
        name=results.name,
        facts=(
            f"run “{results.name}”",
            moment(results.created),
            f"took {duration(results.seconds)}",
            f"{machine.cpu}, {count(machine.cores, 'core')}",
            machine.gpu or "no GPU",
            count(machine.threads, "thread"),
        ),
        verdict=judge(view),
        problems=provenance.problem_table(view),
        matrix=matrix.matrix_table(view),
        verdicts=speed.verdict_table(view),
        latency=times.latency_table(view),
        start=times.start_table(view),
        segmentation=windows.segmentation_table(view),
        server=times.server_table(view),
        phases=speed.phase_tables(view),
        amortised=amortised.amortised_table(view),
        memory=resources.memory_table(view),
        limit=resources.limit_table(view),
        prompts=effort.prompt_tables(view),
        dice=accuracy.dice_table(view),
        dice_in_short=accuracy.dice_in_short(view, ((one.task, one.model) for one in lineups(view))),
        dice_cases=accuracy.case_table(view),
        surfaces=surfaces.surface_table(view),
        surfaces_in_short=surfaces.surfaces_in_short(view),
        surface_cases=surfaces.case_table(view),
        supervision=supervision.supervision_table(view),
        supervision_labels=supervision.supervision_label_table(view),
        attestation=attestation.attestation_table(view),
        measuring=measuring.seconds_table(view),
        harness=measuring.harness_line(view),
        networks=windows.network_table(view),
        rules=windows.empty_class_rules(view),
        tasks=provenance.task_table(view),
        cases=provenance.case_lists(view),
        trainings=provenance.training_table(view),
        environment=provenance.environment_table(view),
        notes=_cell_notes(view),
        spec=yaml.safe_dump(results.spec, sort_keys=False, allow_unicode=True),
        command=results.command,
    )


def _cell_notes(view: View) -> tuple[str, ...]:
    """What cells say about themselves; the same note of many cells stands once."""
    by_note: dict[str, list[str]] = {}
    for cell in view.results.cells:
        for note in cell.notes:
            by_note.setdefault(note, []).append(f"{cell.stage}, {view.variant(cell)}")
    return tuple(f"{', '.join(dict.fromkeys(who))}: {note}" for note, who in by_note.items())
