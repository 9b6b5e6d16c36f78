"""Devices that a user names and that are not there: refused within a moment, so nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.errors import InputError
from benchmark.sections import AUTO_DEVICE
from runners.device import Device, cuda_absence

if TYPE_CHECKING:
    from benchmark.spec import Spec

TELLS = "`sambench doctor` tells how"
SKIP = f"{TELLS}; `--skip-unavailable` runs what else there is"


def require_devices(spec: Spec) -> None:
    """Refuses a device that is not there before anything is loaded or exported.

    Raises:
        InputError: what is missing.
    """
    for name in spec.devices:
        require_device(name, "devices", SKIP)
    require_training_device(spec)


def require_training_device(spec: Spec) -> None:
    """Refuses a device to train on that is not there: no lane could be left out instead.

    Raises:
        InputError: what is missing.
    """
    if spec.unet is not None and spec.unet.device != AUTO_DEVICE:
        require_device(spec.unet.device, "unet.device")


def require_device(name: str, field: str, otherwise: str = TELLS) -> None:
    """Refuses a device that is not there.

    Args:
        name: `cpu`, `cuda` or `cuda:N`.
        field: where the user named it.
        otherwise: what there is to do besides.

    Raises:
        InputError: what is missing.
    """
    device = Device.parse(name)
    reason = cuda_absence(device.index) if device.kind == "cuda" else None
    if reason is not None:
        raise InputError(f"{field}: {name} cannot be used: {reason}; take cpu or mend that ({otherwise})")
