"""The schema of a file of `--sambench-store`: what a session measured, and on what."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from benchmark.errors import InputError
from benchmark.measured import Attested, Environment, Latency, Part, WarmUp

SCHEMA_VERSION = 1


class Measurement(Part):
    """What one test measured with one call of `sambench_runner`."""

    test: str = Field(description="pytest's node id; with the measurement's name where a test makes several")
    group: str = Field(description="the test without its backend: what is compared with the reference backend")
    backend: str
    device: str
    precision: str
    threads: int
    inputs: dict[str, list[int]] = Field(description="shape of each input")
    latency_ms: Latency
    device_latency_ms: Latency | None = None
    first_call_ms: float
    warmup: WarmUp
    memory_mib: float | None = Field(default=None, description="what loading and running added to this process")
    memory_reason: str | None = None
    attestation: dict[str, Attested]
    metrics: dict[str, float] = Field(default={}, description="what the test recorded: dice, mask_dice, its own")

    @property
    def recipe(self) -> dict[str, str]:
        """What must be alike for two measurements of a test to mean the same."""
        shapes = {name: "×".join(map(str, shape)) for name, shape in self.inputs.items()}
        return {
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "threads": str(self.threads),
            "inputs": ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())),
        }


class Suite(Part):
    """The measurements of a session."""

    schema_version: int = SCHEMA_VERSION
    sambench_version: str
    created: str = Field(description="UTC, ISO 8601")
    environment: Environment
    measurements: list[Measurement]


def load_suite(path: Path) -> Suite:
    """Reads a baseline.

    Raises:
        InputError: there is none, or it is damaged.
    """
    try:
        suite = Suite.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: no baseline there ({error.strerror}); make one with --sambench-store {path}"
        ) from None
    except (ValidationError, UnicodeDecodeError):
        raise InputError(f"{path}: is damaged or no baseline; make one anew with --sambench-store") from None
    if suite.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {suite.schema_version}, this sambench reads {SCHEMA_VERSION}; make a baseline anew"
        )
    return suite
