"""The candidates of one tuning on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.tuning.candidates import BATCHES, Candidate, Menu, lanes_of
from benchmark.tuning.machine import absences
from benchmark.tuning.settings import TuneSettings
from benchmark.tuning.workload import Workload
from runners.device import Device

Options = Mapping[str, Mapping[str, tuple[Any, ...]]]
"""Backend → option → values besides the default."""


def make_menu(settings: TuneSettings, workload: Workload, options: Options) -> tuple[list[Candidate], dict[str, str]]:
    """The candidates, and lanes that cannot run here with the reason."""
    device = Device.parse(settings.device)
    lanes = lanes_of(settings.backends, settings.precisions, device.kind)
    absent = absences(lanes, device)
    menu = Menu(
        lanes=tuple(lane for lane in lanes if str(lane) not in absent),
        threads=settings.threads_tried,
        batches=BATCHES,
        default_threads=settings.default_threads,
        default_batch=workload.default_batch,
        most=workload.most,
        options=options,
    )
    return menu.candidates(), absent
