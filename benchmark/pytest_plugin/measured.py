"""What a test gets back from `sambench_runner`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from benchmark.measured import Attested
from benchmark.pytest_plugin.schema import Measurement
from runners.base import Array


class Measured:
    """A model's answer, and what measuring it gave.

    Attributes:
        result: what the last call returned.
        outputs: name → array, where that was a model's outputs.
        attestation: module → what really ran.
        measurement: everything measured; None where measuring was switched off.
        told: where metrics are told to pytest-benchmark.
    """

    def __init__(self, result: Any, outputs: dict[str, Array], attestation: dict[str, Attested]) -> None:
        self.result = result
        self.outputs = outputs
        self.attestation = attestation
        self.measurement: Measurement | None = None
        self.told: dict[str, Any] = {}

    @property
    def samples_ms(self) -> Sequence[float]:
        """Every timed call in order; empty where measuring was switched off."""
        return self.measurement.latency_ms.samples if self.measurement else []

    def check(self, reference: Mapping[str, Any], atol: float, rtol: float = 0.0) -> None:
        """Fails the test unless every output of the reference is met, and keeps the largest difference.

        Args:
            reference: name → array.
            atol: largest absolute difference that is accepted.
            rtol: the same, as a share of the reference's value.
        """
        for name, expected in reference.items():
            if name not in self.outputs:
                pytest.fail(
                    f"sambench: the model has no output {name!r}; it has {', '.join(self.outputs)}", pytrace=False
                )
            np.testing.assert_allclose(self.outputs[name], expected, rtol=rtol, atol=atol, err_msg=f"output {name}")
            error = float(
                np.max(np.abs(np.asarray(self.outputs[name], float) - np.asarray(expected, float)), initial=0)
            )
            self.record(**{f"max_abs_error_{name}": error})

    def record(self, **metrics: float) -> None:
        """Keeps numbers with the measurement. `dice` and `mask_dice` are held against the baseline's.

        Raises:
            ValueError: one is not finite.
        """
        for name, value in metrics.items():
            if not np.isfinite(value):
                raise ValueError(f"sambench: {name} is {value}; record a finite number, or leave it out")
            self.told[name] = float(value)
            if self.measurement is not None:
                self.measurement.metrics[name] = float(value)
