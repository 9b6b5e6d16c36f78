"""Labelling processes that import little and label nothing: for tests of what becomes of a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.labelling.news import Advanced, Ended, Told, Wants
from benchmark.labelling.records import LabelledCase
from benchmark.results import Effort


@dataclass(frozen=True)
class Light:
    """In the place of `Recipe`: device → what its process does with the case of this name, or with any other.

    `kill` dies; `fail` and `misread` end with an error; anything else gives a record. The two processes begin as
    one, and each has a case before either is done with its first: each waits for the other's files in `meet`.
    """

    meet: Path
    does: dict[str, dict[str, str]] = field(default_factory=dict)

    def on(self, device: str) -> Callable[[], Any]:
        return partial(LightShard, self.meet, self.does.get(device, {}))


class LightShard:
    def __init__(self, meet: Path, does: dict[str, str]) -> None:
        self._meet = meet
        self._does = does
        self._begun = False

    def _wait_for_both(self, what: str) -> None:
        (self._meet / f"{os.getpid()}.{what}").touch()
        while len(list(self._meet.glob(f"*.{what}"))) < 2:
            time.sleep(0.01)

    def go_on(self, hand: Any) -> list[Told]:
        if not self._begun:
            self._begun = True
            self._wait_for_both("here")
            return [Wants()]
        if hand.case is None:
            return [Ended()]
        self._wait_for_both("busy")
        name = hand.case.case
        what = self._does.get(name, "label")
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "fail":
            return [Ended("it does not want to")]
        if what == "misread":
            return [Ended(f"{name}: cannot be read", of_input=True)]
        record = LabelledCase(
            key="", case=name, images=(), label=name, label_sha256="", slices=1,
            effort=Effort(clicks=0, boxes=1, objects=1), dice={}, notes=(str(os.getpid()),),
        )  # fmt: skip
        return [Advanced(1.0, 1), record, Wants()]
