"""Where a module's weights came from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Weights(BaseModel):
    """Where a module's weights came from.

    Attributes:
        source: a `checkpoint` that was named, the download `cache`, the model's own `package`, or `random`.
        file: the checkpoint's file name.
        sha256: of the checkpoint file.
        seed: of random weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["checkpoint", "cache", "package", "random"]
    file: str | None = None
    sha256: str | None = None
    seed: int | None = None

    @property
    def random(self) -> bool:
        """Whether they are random: good for latency, worthless for accuracy."""
        return self.source == "random"

    @property
    def key(self) -> str:
        """Changes with the weights."""
        return self.sha256 or f"random weights, seed {self.seed}"


RANDOM_WEIGHTS = "random weights: latency alone means something, accuracy does not"
"""Why there is no accuracy where `Weights.random`."""
