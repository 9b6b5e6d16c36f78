"""The candidates of one tuning on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.errors import InputError
from benchmark.results import LaneKey
from benchmark.tuning.candidates import BATCHES, Candidate, Menu, asked_in_vain, lanes_of
from benchmark.tuning.machine import absences
from benchmark.tuning.settings import TuneSettings
from benchmark.tuning.workload import Workload
from runners.device import Device

Options = Mapping[str, Mapping[str, tuple[Any, ...]]]
"""Backend → option → values besides the default."""


def lanes_here(settings: TuneSettings) -> tuple[tuple[LaneKey, ...], dict[str, str]]:
    """The lanes to try, and those that cannot run here with the reason; whatever was asked for is among them.

    Args:
        settings: checked.

    Raises:
        InputError: nothing that was asked for can run.
    """
    device = Device.parse(settings.device)
    lanes = lanes_of(settings.backends_tried, settings.precisions, device.kind)
    vain = asked_in_vain(settings.backends, settings.precisions, settings.backends_tried, device.kind)
    absent = absences([*lanes, *vain], device)
    here = tuple(lane for lane in lanes if str(lane) not in absent)
    if not here:
        given = (("--backends", settings.backends), ("--precisions", settings.precisions))
        options = ", ".join(option for option, values in given if values is not None)
        lanes_of_reason: dict[str, list[str]] = {}
        for lane, reason in absent.items():
            lanes_of_reason.setdefault(reason, []).append(lane)
        reasons = "; ".join(f"{', '.join(some)}: {reason}" for reason, some in lanes_of_reason.items())
        raise InputError(f"{options or '--device'}: nothing that was asked for can run here: {reasons}")
    return here, absent


def make_menu(
    settings: TuneSettings, workload: Workload, options: Options, lanes: tuple[LaneKey, ...]
) -> list[Candidate]:
    """The candidates.

    Args:
        settings: checked.
        workload: what they run.
        options: what is varied of each backend.
        lanes: those that can run here.
    """
    menu = Menu(
        lanes=lanes,
        threads=settings.threads_tried,
        batches=BATCHES,
        default_threads=settings.default_threads,
        default_batch=workload.default_batch,
        most=workload.most,
        options=options,
    )
    return menu.candidates()
