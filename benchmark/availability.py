"""Which lanes can run on which device, as far as it can be told before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.devices import require_devices, require_training_device
from benchmark.errors import InputError
from benchmark.plan import plan_lanes
from benchmark.preflight import require_backends
from benchmark.results import LaneKey
from benchmark.spec import Spec
from runners.base import ModuleSource, RunnerError, Signature
from runners.device import Device, cuda_absence
from runners.registry import import_backend, make_runner

Reasons = Mapping[LaneKey, str]

NOTHING = ModuleSource(name="module", signature=Signature((), ()))


@dataclass(frozen=True)
class Availability:
    """The lanes of a run, with those that are left out.

    Attributes:
        lanes: of the specification, in its order.
        devices: likewise.
        absent: device → lanes that cannot run on it, with the reason.
    """

    lanes: tuple[LaneKey, ...]
    devices: tuple[str, ...]
    absent: Mapping[str, Reasons] = field(default_factory=dict)

    @property
    def anywhere(self) -> tuple[LaneKey, ...]:
        """The lanes that run on some device: what artifacts are needed for."""
        return tuple(lane for lane in self.lanes if any(lane in self.on(device) for device in self.devices))

    @property
    def backends(self) -> frozenset[str]:
        """The backends of those."""
        return frozenset(lane.backend for lane in self.anywhere)

    def on(self, device: str) -> tuple[LaneKey, ...]:
        """The lanes that run on a device."""
        return tuple(lane for lane in self.lanes if lane not in self.absent.get(device, {}))

    def skipped(self, device: str) -> dict[LaneKey, str]:
        """The lanes that do not, with the reason, in the order of the specification."""
        absent = self.absent.get(device, {})
        return {lane: absent[lane] for lane in self.lanes if lane in absent}


def require_lanes(spec: Spec, skip_unavailable: bool) -> Availability:
    """What runs on which device: all that the specification names, or with `skip_unavailable` what can.

    Raises:
        InputError: what is missing: a device or a backend, or, if skipping, all of it or the device to train on.
    """
    if skip_unavailable:
        require_training_device(spec)
        return available(spec)
    require_devices(spec)
    require_backends(spec)
    return Availability(plan_lanes(spec), spec.devices)


def available(spec: Spec) -> Availability:
    """What of a specification can run here.

    Raises:
        InputError: nothing can.
    """
    lanes = plan_lanes(spec)
    found = {name: {lane: why for lane in lanes if (why := lane_absence(lane, name))} for name in spec.devices}
    given = Availability(lanes, spec.devices, found)
    if not given.anywhere:
        reasons = dict.fromkeys(why for some in found.values() for why in some.values())
        raise InputError(
            f"devices, backends: nothing of this run is available here: {'; '.join(reasons)}; `sambench doctor` tells "
            "what to install"
        )
    return given


def lane_absence(lane: LaneKey, device_name: str) -> str | None:
    """Why a lane cannot run on a device here; None where nothing speaks against it yet.

    Args:
        lane: a backend in a precision.
        device_name: `cpu`, `cuda` or `cuda:N`.
    """
    device = Device.parse(device_name)
    reason = cuda_absence(device.index) if device.kind == "cuda" else None
    if reason is not None:
        return f"device {device}: {reason}"
    try:
        kind = import_backend(lane.backend)
        absence = kind.absence(device) or kind.inapplicable(device, lane.precision)
        if absence is None:
            # A backend may refuse a precision on a device when it is made.
            source = ModuleSource(NOTHING.name, NOTHING.signature, precision=lane.precision)
            make_runner(lane.backend, source, device)
    except RunnerError as error:
        return str(error)
    return absence


def require_lane(lane: LaneKey, device: str, field: str) -> None:
    """Refuses a backend in a precision that cannot run on a device, before anything is loaded or written.

    Args:
        lane: the two.
        device: where.
        field: where the user named it.

    Raises:
        InputError: why it cannot.
    """
    absence = lane_absence(lane, device)
    if absence is not None:
        raise InputError(f"{field}: {absence}")
