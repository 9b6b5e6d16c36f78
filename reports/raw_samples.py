"""The raw samples behind the times: every series of a cell, and all of them packed for the page."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.measured import Latency
from benchmark.results import Cell

KINDS = {
    "latency_ms": "end to end",
    "device_latency_ms": "device-resident",
    "volume_latency_ms": "a whole volume",
    "window_latency_ms": "one window through the network",
}
"""Field of a cell → what its samples are of. Where not all have room on the page, the first ones go first."""
ROOM = 1_500_000
"""Characters of a page that samples may take."""
CHARACTERS = 16 / 3
"""What a float32 takes in base64 that could not be compressed at all."""


@dataclass(frozen=True)
class Packed:
    """Samples for the page.

    `text` is base64 of zlib of the float32 values' bytes (little endian), all first bytes, then all second ones and so
    on: neighbours are alike then and shrink. The series follow each other kind by kind, and in a kind cell by cell.
    `counts` has a row for each cell and a number for each kind: the samples in `text`; 0 where there are none, and
    negative where they had no room.
    """

    text: str
    counts: list[list[int]]

    def as_json(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {"kinds": list(KINDS.items()), "counts": self.counts, "packed": self.text}


def series(cell: Cell) -> dict[str, list[float]]:
    """A cell's series of samples by its field; none of a cell without a valid result, whose times nobody may use."""
    found: dict[str, Latency | None] = {kind: getattr(cell, kind) for kind in KINDS}
    return {kind: one.samples for kind, one in found.items() if one is not None and cell.status == "ok"}


def pack(cells: Sequence[Cell], room: int = ROOM) -> Packed:
    """Packs the samples of valid cells.

    Args:
        cells: in the order of the latency table's rows.
        room: characters of base64 at most. A series stands whole or not at all.
    """
    left = int(room / CHARACTERS)
    chosen: list[list[float]] = []
    counts = [[0] * len(KINDS) for _ in cells]
    for column, kind in enumerate(KINDS):
        for row, cell in enumerate(cells):
            samples = series(cell).get(kind, [])
            size = len(samples)
            counts[row][column] = size if size <= left else -size
            if size <= left:
                left -= size
                chosen.append(samples)
    values = np.concatenate([np.asarray(one, "<f4") for one in chosen] or [np.zeros(0, "<f4")])
    planes = values.view(np.uint8).reshape(-1, 4).T.tobytes()
    return Packed(base64.b64encode(zlib.compress(planes, 6)).decode(), counts)
