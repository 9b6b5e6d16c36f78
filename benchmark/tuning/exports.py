"""Exports in a process of their own, so that one that takes too long can be ended and the budget holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.measure.workers import Worker, WorkerError, WorkerSettings, stopping
from benchmark.samples import task_samples
from benchmark.tuning.settings import TuneSettings
from benchmark.window_samples import task_windows
from exporters.manifest import Manifest
from exporters.sam import load_sam
from exporters.unet import load_unet

LEAST_EXPORT_S = 30.0
"""No export is begun that may not take so long: none was seen to end sooner, and the time would be lost."""


@dataclass(frozen=True)
class ExportRecipe:
    """What a process needs to export the model of a tuning; it can be sent to one."""

    settings: TuneSettings

    def __call__(self) -> Exporter:
        """The exporter, nothing loaded yet."""
        return Exporter(self.settings)


class Exporter:
    """Exports when told to."""

    def __init__(self, settings: TuneSettings) -> None:
        self._settings = settings

    def export(self, folder: Path, precision: str) -> Manifest:
        """Writes an artifact.

        fp32 is held against its own tolerance; a reduced precision is calibrated and held against PyTorch on slices or
        windows of the task.
        """
        settings = self._settings
        task = settings.plan()[0].task
        reduced = precision != "fp32"
        if settings.unet is not None:
            unet = load_unet(settings.unet)
            return unet.export(folder, precision, task_windows(task, unet.config) if reduced else [])
        sam = load_sam(str(settings.model), settings.checkpoint, settings.random_seed)
        return sam.export(folder, precision, task_samples(task, sam.model) if reduced else [])


def export_apart(settings: TuneSettings, logs: Path, folder: Path, precision: str, limit_s: float) -> Manifest:
    """Exports in a process of its own.

    Args:
        settings: of the tuning.
        logs: the folder of its output.
        folder: of the artifact.
        precision: of it.
        limit_s: then it is ended.

    Raises:
        WorkerError: it failed, or took longer.
    """
    if limit_s < LEAST_EXPORT_S:
        raise WorkerError(f"its export has no answer within {limit_s:.0f} s, which is what the budget leaves for it")
    worker = Worker(f"export {precision}", ExportRecipe(settings), WorkerSettings(), logs / f"export-{precision}.log")
    with stopping([worker]):
        try:
            manifest: Manifest = worker.call("export", folder, precision, limit_s=limit_s)
        except WorkerError as error:
            raise WorkerError(f"its export to {precision}: {error}") from None
    return manifest
