"""A trained UNet on the test cases, always against the reference labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from benchmark.data.msd import CaseFiles, Task
from benchmark.data.slices import slices
from benchmark.data.volume import Volume, load_volume
from benchmark.metrics import EMPTY_REFERENCE, MISSED, CaseSurfaces, Scale, dice_per_label
from benchmark.stages.base import Pipeline, Unit
from benchmark.stages.segment import SegmentPipeline, VolumePipeline, units, volume_unit
from benchmark.stages.unet_input import unet_input
from benchmark.stages.windows import WindowedNetwork
from benchmark.training.validate import network_runner
from exporters.unet import LoadedUNet
from runners.base import Runner
from runners.device import Device

VARIANT = "unet"


class CaseScore(BaseModel):
    """One label of one test case; `reason` says why a value is null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: str
    label: str
    dice: float | None
    nsd: float | None
    hd95_mm: float | None
    reason: str | None = None


def evaluate(
    task: Task,
    cases: Sequence[CaseFiles],
    unet: LoadedUNet,
    device: Device,
    batch: int,
    on_case: Callable[[float, str], None] = lambda cases, note: None,
) -> list[CaseScore]:
    """Segments the test cases through the benchmark's own pipeline on PyTorch and measures them.

    Args:
        task: its reference labels are what is compared with.
        cases: to test on.
        unet: trained for the task.
        device: where it runs.
        batch: windows at once.
        on_case: told each finished case.

    Raises:
        InputError: a case cannot be read.
    """
    scores: list[CaseScore] = []
    with network_runner(unet.unet.module, unet.config, device) as runner:
        for files in cases:
            volume = load_volume(task, files)
            scores += _score(volume, _segment(volume, unet, runner, batch), task)
            on_case(1, files.case)
    return scores


def _segment(volume: Volume, unet: LoadedUNet, runner: Runner, batch: int) -> NDArray[np.uint8]:
    """Label values [Z, rows, columns]."""
    network = WindowedNetwork(runner, unet.config.windows, batch)
    channels = list(unet.config.labels)
    all_slices = list(slices(volume))
    made: Iterator[Unit]
    if unet.config.preprocessing.kind == "slices":
        pipeline: Pipeline = SegmentPipeline(network, VARIANT, channels)
        made = units(all_slices, batch)
    else:
        seen_as = unet_input(unet.config)
        pipeline = VolumePipeline(network, VARIANT, channels, seen_as)
        made = volume_unit(volume, all_slices, seen_as.stored)
    return np.concatenate([pipeline.process(unit).labels[VARIANT] for unit in made])


def _score(volume: Volume, predicted: NDArray[np.uint8], task: Task) -> list[CaseScore]:
    reference = np.ascontiguousarray(volume.label.T)
    x, y, z = volume.spacing
    dice = dice_per_label(predicted, reference, task.labels)
    surfaces = CaseSurfaces(reference, task.labels, Scale((z, y, x), task.nsd_tolerance_mm)).measure(predicted)
    return [
        CaseScore(
            case=volume.case,
            label=name,
            dice=dice[name],
            nsd=surfaces[name].nsd,
            hd95_mm=surfaces[name].hd95_mm,
            reason=EMPTY_REFERENCE if dice[name] is None else MISSED if surfaces[name].hd95_mm is None else None,
        )
        for name in task.labels.values()
    ]
