"""What `sambench tune` was asked for, checked, and as a run specification.

Light on purpose: what loads PyTorch is imported by the checks that need it, after those that do not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.devices import require_device
from benchmark.errors import InputError
from benchmark.measure.environment import available_cores
from benchmark.sections import known
from benchmark.spec import Spec, parse_spec
from runners.device import Device
from runners.registry import BACKENDS, PRECISIONS, REAL_BACKENDS

if TYPE_CHECKING:
    from benchmark.data.msd import CaseFiles
    from benchmark.plan import PlannedTask

NAME = "tuned"

IN_ORDER = tuple(sorted(REAL_BACKENDS, key=lambda backend: backend == "pytorch-compile"))
"""The backend that compiles for a minute comes last, since a small budget ends with it."""


@dataclass(frozen=True)
class TuneSettings:
    """What the command line gave.

    Attributes:
        data: the MSD task folder.
        budget_s: for everything, exports included.
        model: a SAM; None where a UNet is tuned.
        checkpoint: the SAM's weights; None for its own.
        random_seed: of random weights instead.
        prompts: strategies that are labelled with in each unit.
        unet: a segmentation network instead of a SAM.
        backends: those to try; None for all that run on the device.
        precisions: those to try; None for all that run on the device.
        threads: numbers to try; None for a few up to all of the processors.
        cases: at most so many, drawn by seed.
        slices: at most so many labelled ones of each case; None for whole cases.
        seed: draws the cases, and the prompts of strategies that draw.
    """

    data: Path
    budget_s: float
    model: str | None = "litemedsam"
    checkpoint: Path | None = None
    random_seed: int | None = None
    prompts: tuple[str, ...] = ("box",)
    unet: Path | None = None
    backends: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    threads: tuple[int, ...] | None = None
    device: str = "cpu"
    cases: int | None = 1
    slices: int | None = 4
    seed: int = 0

    def check_words(self) -> None:
        """Refuses what can be refused before anything heavy is imported, by the option's name.

        Raises:
            InputError: which, and what to do.
        """
        if not self.budget_s > 0:
            raise InputError("--budget 0: is no time; give one as 10m")
        self._check_lists()
        require_device(_parsed_device(self.device), "--device")
        if not self.data.is_dir():
            raise InputError(f"--data {self.data}: is no folder; name the folder of an MSD task")

    def check(self) -> None:
        """Refuses what cannot be, by the option's name.

        Raises:
            InputError: which, and what to do.
            ExportError: the UNet's checkpoint is missing or damaged.
        """
        self.check_words()
        from benchmark.preflight import require_threads

        for count in self.threads or ():
            require_threads(count, "--threads")
        if self.unet is not None:
            from exporters.unet import load_unet

            load_unet(self.unet)
            return
        self._check_prompts()
        if self.model is not None:
            self._check_sam(self.model)

    def _check_prompts(self) -> None:
        from benchmark.prompts import find_strategy

        for name in self.prompts:
            try:
                find_strategy(name)
            except ValueError as error:
                raise InputError(f"--prompts: {error}") from None

    @property
    def backends_tried(self) -> tuple[str, ...]:
        """Those asked for, or all."""
        return IN_ORDER if self.backends is None else self.backends

    def _check_lists(self) -> None:
        tried = self.backends_tried
        able = dict.fromkeys(p for backend in tried if backend in PRECISIONS for p in PRECISIONS[backend])
        # The dummy is for tests: taken when asked for, and offered to nobody.
        offered = {*REAL_BACKENDS, *(backend for backend in tried if backend in BACKENDS)}
        for option, values, choices in (
            ("--backends", tried, offered),
            ("--precisions", self.precisions or (), able),
            ("--threads", tuple(map(str, self.threads or ())), None),
        ):
            try:
                known(values, choices if choices is not None else values, f"{option[2:-1]} here")
            except ValueError as error:
                raise InputError(f"{option}: {error}") from None
        if any(count < 1 for count in self.threads or ()):
            raise InputError(f"--threads {min(self.threads or ())}: give numbers of 1 or more, as 1,2")

    def _check_sam(self, model: str) -> None:
        from benchmark.preflight import require_weights
        from exporters.sam import SAM_MODELS

        if model not in SAM_MODELS:
            raise InputError(f"--model: {model!r} is not known; choose from {', '.join(SAM_MODELS)}")
        if self.checkpoint is not None and not self.checkpoint.is_file():
            raise InputError(f"--checkpoint {self.checkpoint}: is no file; name the checkpoint that holds the weights")
        if self.checkpoint is None and self.random_seed is None:
            otherwise = "name a file of them with --checkpoint, or tune for time alone with --random-weights"
            require_weights(SAM_MODELS[model], "--model", otherwise)

    @property
    def default_threads(self) -> int:
        """What a candidate gets that says nothing of threads, as in a run."""
        return available_cores()

    @property
    def threads_tried(self) -> tuple[int, ...]:
        """The numbers of threads: those asked for, or half of the cores, all, and all that share a core."""
        cores = self.default_threads
        return self.threads or tuple(dict.fromkeys((max(1, cores // 2), cores, available_processors())))

    def spec(self) -> Spec:
        """A run of the same stage on the same units.

        Raises:
            InputError: a field is wrong.
        """
        return parse_spec(self.content(), "sambench tune", self.data.resolve().parent)

    def content(self, **fields: Any) -> dict[str, Any]:
        """That run's specification as plain values.

        Args:
            fields: of the specification, on top.
        """
        folder = self.data.resolve()
        data = {"root": str(folder.parent), "tasks": [folder.name], "seed": self.seed}
        data |= {key: value for key, value in (("cases", self.cases), ("slices", self.slices)) if value is not None}
        return {
            "name": re.sub(r"[^A-Za-z0-9._-]", "-", f"{NAME}-{folder.name}-{self.what}"),
            "data": data,
            "sam": self._sam(),
            "unet": None if self.unet is None else {"checkpoints": [str(self.unet.resolve())]},
            "devices": [self.device],
            **fields,
        }

    @property
    def what(self) -> str:
        """The model's name, for files."""
        return str(self.model) if self.unet is None else self.unet.resolve().stem

    def _sam(self) -> dict[str, Any] | None:
        if self.unet is not None or self.model is None:
            return None
        sam: dict[str, Any] = {"models": [self.model], "prompts": list(self.prompts)}
        if self.checkpoint is not None:
            sam["checkpoints"] = {self.model: str(self.checkpoint.resolve())}
        if self.random_seed is not None:
            sam["random_weights"] = self.random_seed
        return sam

    def plan(self) -> tuple[PlannedTask, Sequence[CaseFiles]]:
        """The task, and the cases that are measured.

        Raises:
            InputError: the task is damaged.
        """
        from benchmark.plan import plan_tasks

        (planned,) = plan_tasks(self.spec())
        return planned, planned.test if self.unet is not None else planned.cases


def available_processors() -> int:
    """Threads that this process's cores run at once: as many as cores, or twice as many."""
    with suppress(AttributeError):  # macOS and Windows have no affinity
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _parsed_device(text: str) -> str:
    try:
        return str(Device.parse(text))
    except ValueError as error:
        raise InputError(f"--device: {error}") from None
