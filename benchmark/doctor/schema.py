"""What `sambench doctor` found: facts, checks, remedies, and the verdict. `--format json` prints a `Diagnosis`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark.measured import Part

State = Literal["works", "slow", "wrong", "unavailable", "failed"]
WORKING: frozenset[State] = frozenset({"works", "slow"})

Version = tuple[int, int]
"""Major and minor."""


class System(Part):
    """The machine, as its files and variables tell."""

    platform: str = Field(description="`linux`, `win32`, `darwin`")
    python: str
    wsl: bool = Field(description="Windows Subsystem for Linux")
    container: str | None = Field(description="what tells that this is a container; null outside one")
    nvidia_hardware: bool | None = Field(
        description="an NVIDIA display controller on the PCI bus; null: cannot be told"
    )
    visible_devices: str | None = Field(description="the variable CUDA_VISIBLE_DEVICES")
    compiler: str | None = Field(description="the C++ compiler on the path")
    missing_instructions: dict[str, str] = Field(
        default={}, description="precision → the CPU's instructions for it, none of which is here"
    )


class Driver(Part):
    """The NVIDIA driver."""

    absence: str | None = Field(description="why CUDA cannot be used, asked of the driver; null if it can")
    words: str | None = Field(default=None, description="its version and the newest CUDA it runs")
    cuda: Version | None = Field(default=None, description="the newest CUDA it runs")
    gpus: int = 0


class TorchBuild(Part):
    """PyTorch as installed."""

    version: str
    cuda: str | None = Field(description="the CUDA it was built for; null: a build for CPUs alone")
    cudnn: int | None = Field(default=None, description="as `torch.backends.cudnn.version()`: 91002 is 9.10.2")
    sees_gpu: bool = False
    triton: bool = False


class OrtBuild(Part):
    """ONNX Runtime as installed."""

    version: str
    cuda: str | None = Field(description="the CUDA that this build wants; null: a build for CPUs alone")
    providers: list[str]
    cuda_libraries: dict[str, bool] = Field(
        default={}, description="what its CUDA provider wants → whether it can be loaded"
    )
    tensorrt_libraries: dict[str, bool] = Field(
        default={}, description="what its TensorRT provider wants besides → whether it can be loaded"
    )


class Facts(Part):
    """What the advice is made of. A part that could not be had is null, and `unknown` says why."""

    packages: dict[str, str] = Field(description="installed distributions that matter here → version")
    system: System
    driver: Driver | None = None
    torch: TorchBuild | None = None
    onnxruntime: OrtBuild | None = None
    unknown: dict[str, str] = Field(default={}, description="part of these facts → why it could not be had")


class Fact(Part):
    """One fact for people."""

    name: str
    value: str
    source: str


class Remedy(Part):
    """What is wrong, and what to do."""

    problem: str
    steps: list[str] = Field(description="what to do, in order")
    commands: list[str] = Field(default=[], description="what to type; none where there is nothing to type")


class Check(Part):
    """One backend, device and precision, tried."""

    backend: str
    device: str
    precision: str
    state: State = Field(description="`unavailable` is the terminal's `not here`; the meanings are in docs/doctor.md")
    reason: str | None = None
    largest_error: float | None = Field(default=None, description="absolute difference from PyTorch fp32 on the CPU")
    tolerance: float | None = Field(default=None, description="beyond which the answer counts as wrong")
    seconds: float | None = Field(default=None, description="loading, running twice and comparing")
    needed: bool = Field(default=False, description="by the specification")
    remedy: int | None = Field(default=None, description="place in `remedies`, from 0")


class PackageCheck(Part):
    """A package that a kind of model needs."""

    package: str
    version: str | None
    brings: str
    needed: bool = False
    remedy: int | None = None


class Diagnosis(Part):
    """The whole of it."""

    sambench_version: str
    spec: str | None = Field(description="the specification's file; null without one")
    facts: Facts
    told: list[Fact]
    reference: str | None = Field(description="why PyTorch fp32 on the CPU failed, with which all is compared")
    checks: list[Check]
    packages: list[PackageCheck]
    remedies: list[Remedy]
    verdict: str
    seconds: float
    ok: bool = Field(description="false: exit code 1")
