"""How long and how fast a UNet learns."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.sections import TrainSpec
from benchmark.training.device import mixed_precision
from runners.device import Device

CPU = Device("cpu")


@dataclass(frozen=True)
class TrainingSettings:
    """What the loop needs to know besides the network.

    Attributes:
        epochs: passes over all slices, or over `windows_per_case` windows of each volume.
        batch_size: windows that a step learns from.
        learning_rate: of the first epoch; it falls to 0 as a power of the epochs left.
        seed: of the weights, the windows and their order.
        validate_every: epochs between validations; the last epoch is always validated.
        windows_per_case: drawn from each volume in an epoch, for a 3-D network.
        device: where it runs.
        amp: mixed precision.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    validate_every: int = 5
    windows_per_case: int = 8
    device: Device = CPU
    amp: bool = False

    @classmethod
    def of(cls, spec: TrainSpec, seed: int, device: Device) -> TrainingSettings:
        """The settings of a specification on a device."""
        return cls(
            spec.epochs, spec.batch_size, spec.learning_rate, seed, spec.validate_every, spec.windows_per_case,
            device, mixed_precision(device, spec.amp),
        )  # fmt: skip

    def validates(self, epoch: int) -> bool:
        """Whether the network is validated after this epoch, counted from 1."""
        return epoch == self.epochs or epoch % self.validate_every == 0
