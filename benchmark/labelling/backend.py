"""The one pipeline that labels: weights, exported where the backend wants ONNX, loaded and attested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmark.artifacts import ensure_artifact
from benchmark.collect import attestation_mismatch
from benchmark.data.msd import Task
from benchmark.files import sha256_text
from benchmark.labelling.settings import LabelSettings
from benchmark.lanes import LaneSettings, module_source, open_lanes
from benchmark.plan import kept_export_key
from benchmark.records import LaneRecord
from benchmark.results import LaneKey
from benchmark.run import Progress
from benchmark.samples import task_samples
from benchmark.stages.pseudolabel import Pseudolabelling, PseudolabelPipeline
from benchmark.stages.sam_input import SamInput
from exporters.fetch import cache_dir
from exporters.manifest import Manifest, load_manifest
from exporters.sam import LoadedSam
from runners.base import ModuleSource, RunnerError
from runners.registry import WANTS_MODULE

ADVICE = "take --on-out-of-memory halve, or --prompts-per-call below {tried}"


@contextmanager
def open_pipeline(
    task: Task, sam: LoadedSam, settings: LabelSettings, libraries: Mapping[str, str], progress: Progress
) -> Iterator[PseudolabelPipeline]:
    """The loaded pipeline; leaving frees it.

    Raises:
        ExportError: the model cannot be exported.
        RunnerError: the backend cannot be had on the device, or something else runs than was asked for.
    """
    sources = labelling_sources(task, sam, settings, libraries, progress)
    with opened_pipeline(sources, SamInput.of(sam.model), settings) as pipeline:
        yield pipeline


@contextmanager
def opened_pipeline(
    sources: Sequence[ModuleSource], sam: SamInput, settings: LabelSettings
) -> Iterator[PseudolabelPipeline]:
    """The loaded pipeline of modules that are ready; leaving frees it.

    Raises:
        RunnerError: the backend cannot be had on the device, or something else runs than was asked for.
    """
    key = LaneKey(settings.backend, settings.precision)
    lane_settings = LaneSettings((key,), settings.device, settings.threads)
    pipeline = Pseudolabelling(sam, settings.prompts_per_call, settings.on_out_of_memory, ADVICE)
    with open_lanes(lane_settings, {settings.precision: sources}, pipeline) as lanes:
        lane = lanes[str(key)]
        mismatch = attestation_mismatch(
            settings.device, settings.precision, [LaneRecord(attestation=dict(lane.attestation))]
        )
        if mismatch:
            raise RunnerError(f"{key}: {mismatch}; nothing was labelled")
        yield lane.pipeline  # type: ignore[misc]


def labelling_sources(
    task: Task, sam: LoadedSam, settings: LabelSettings, libraries: Mapping[str, str], progress: Progress
) -> list[ModuleSource]:
    """Encoder and decoder in the form that the backend loads, exported where it wants files.

    Raises:
        ExportError: the model cannot be exported.
        RunnerError: the export loses too much Dice.
    """
    parts = (sam.encoder, sam.decoder)
    if settings.backend in WANTS_MODULE:
        return [module_source(part, Path()) for part in parts]
    name, precision = sam.model.name, settings.precision
    key = kept_export_key(sha256_text(sam.weights.key, settings.masks), [task], precision)

    def export(folder: Path, precision: str) -> Manifest:
        advance = progress.start(f"export {name} to ONNX in {precision} and verify it; kept for the next time", 1)
        samples = [] if precision == "fp32" else task_samples(task, sam.model)
        manifest = sam.export(folder, precision, samples)
        advance(1, "")
        return manifest

    sources = ensure_artifact(cache_dir(), name, key, parts, precision, export, libraries)
    if precision != "fp32":
        _require_gate(sources)
    return sources


def _require_gate(sources: Sequence[ModuleSource]) -> None:
    """Refuses an export that loses too much Dice: its labels would be taken for the model's."""
    paths = [source.onnx_path for source in sources if source.onnx_path is not None]
    manifest = load_manifest(paths[0].parent)
    if manifest.gate == "fail":
        raise RunnerError(
            f"--precision {manifest.precision}: fails the gate on slices of this task ({manifest.gate_reason}), so "
            f"nothing was labelled; take fp32. The export is kept in {paths[0].parent}"
        )
