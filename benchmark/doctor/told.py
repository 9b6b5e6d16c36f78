"""A diagnosis in words: the facts for people, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.doctor.needs import Needs
from benchmark.doctor.schema import WORKING, Check, Fact, Facts, PackageCheck
from reports.text import count, join

ABSENT = "not known"


def told(facts: Facts) -> list[Fact]:
    """The facts, each with where it is from."""
    driver, ort = facts.driver, facts.onnxruntime
    found = [Fact(name="NVIDIA driver", value=_driver(facts), source="libcuda, NVML")]
    if driver is not None and driver.absence is None:
        found.append(Fact(name="visible GPUs", value=str(driver.gpus), source="libcuda"))
    wants = "torch.version"
    found.append(Fact(name="PyTorch", value=_unless(facts, "torch", _torch(facts)), source=wants))
    wants = "onnxruntime"
    found.append(Fact(name="ONNX Runtime", value=_unless(facts, "onnxruntime", _ort(facts)), source=wants))
    if ort is not None and ort.cuda is not None:
        found.append(
            Fact(
                name="libraries it wants",
                value=_libraries(ort.cuda_libraries),
                source="preload_dlls",
            )
        )
    if ort is not None and ort.tensorrt_libraries:
        value = _libraries(ort.tensorrt_libraries)
        found.append(Fact(name="TensorRT's", value=value, source="provider's file"))
    value = facts.system.compiler or "none found"
    found.append(Fact(name="C++ compiler", value=value, source="PATH, CXX"))
    lacking = [f"{name} ({some})" for name, some in facts.system.missing_instructions.items()]
    value = f"none for {'; '.join(lacking)}" if lacking else "for bf16, fp16, int8, or not told"
    found.append(Fact(name="CPU instructions", value=value, source="/proc/cpuinfo"))
    place = [words for words, here in (("WSL", facts.system.wsl), ("a container", facts.system.container)) if here]
    if place:
        found.append(Fact(name="runs in", value=join(place), source=facts.system.container or "the kernel's name"))
    return found


def _unless(facts: Facts, part: str, value: str | None) -> str:
    return value or f"{ABSENT}: {facts.unknown.get(part, 'it did not answer')}"


def _driver(facts: Facts) -> str:
    driver = facts.driver
    if driver is None:
        return _unless(facts, "driver", None)
    return driver.absence or driver.words or "there"


def _torch(facts: Facts) -> str | None:
    build = facts.torch
    if build is None:
        return None
    cudnn = f", cuDNN {_cudnn(build.cudnn)}" if build.cudnn else ""
    return f"{build.version}: " + (f"built for CUDA {build.cuda}{cudnn}" if build.cuda else "built for CPUs alone")


def _cudnn(number: int) -> str:
    """From cuDNN 9 on 91002 is 9.10.2; before, 8907 was 8.9.7 (`CUDNN_VERSION` of cudnn_version.h)."""
    thousand = 10_000 if number >= 90_000 else 1000
    return f"{number // thousand}.{number % thousand // 100}.{number % 100}"


def _ort(facts: Facts) -> str | None:
    build = facts.onnxruntime
    if build is None:
        return None
    names = ", ".join(name.removesuffix("ExecutionProvider") for name in build.providers)
    wants = f"wants CUDA {build.cuda}" if build.cuda else "built for CPUs alone"
    return f"{build.version}: {wants}; offers {names}"


def _libraries(found: Mapping[str, bool]) -> str:
    missing = [name for name, here in found.items() if not here]
    return f"not found: {', '.join(missing)}" if missing else f"all {len(found)} found"


def verdict(
    checks: Sequence[Check],
    packages: Sequence[PackageCheck],
    reference: str | None,
    needs: Needs | None,
    asked: Sequence[str] = (),
) -> tuple[str, bool]:
    """The last line, and whether the exit code is 0.

    Args:
        checks: with what is needed.
        packages: likewise.
        reference: why PyTorch fp32 on the CPU failed; None where it did not, or was not asked.
        needs: of the specification; None without one.
        asked: devices that were named. Without a specification PyTorch fp32 has to work on each.
    """
    if reference is not None:
        return f"Nothing can be measured: PyTorch fp32 on the CPU, the reference, failed: {reference}.", False
    if needs is None:
        return _general(checks, asked)
    broken = [check for check in checks if check.needed and check.state not in WORKING]
    absent = [one.package for one in packages if one.needed and one.version is None]
    if not broken and not absent:
        if not needs.lanes:
            return f"{needs.file} needs nothing of what was checked.", True
        return f"All that {needs.file} needs works here.", True
    parts = [f"{count(len(broken), 'lane')} of {sum(c.needed for c in checks)} ({_named(broken)})"] if broken else []
    parts += [f"the package {name}" for name in absent]
    flag = (
        "; `sambench run --skip-unavailable` runs the others"
        if broken and any(check.needed and check.state in WORKING for check in checks)
        else ""
    )
    return f"{needs.file} needs more than works here: {join(parts)}{flag}.", False


def _general(checks: Sequence[Check], asked: Sequence[str]) -> tuple[str, bool]:
    base = {check.device: check for check in checks if (check.backend, check.precision) == ("pytorch", "fp32")}
    broken = [device for device, check in base.items() if check.state not in WORKING]
    if "cpu" in broken:
        return f"Nothing can be measured: PyTorch fp32 on the CPU, the reference: {base['cpu'].reason}.", False
    # A GPU that nobody asked for and that is not there is told, and no failure.
    missed = [device for device in broken if device in asked]
    parts = []
    for device in dict.fromkeys(check.device for check in checks):
        # What a backend is not made for is nothing that fails to work here.
        here = [
            one for one in checks if one.device == device and (one.state != "unavailable" or one.remedy is not None)
        ]
        working = sum(check.state in WORKING for check in here)
        told = f"{working} of {len(here)} lanes work on {device}" if working else f"nothing works on {device}"
        if device in missed:
            told += ", which was asked for" + (": PyTorch fp32, the reference there, does not" if working else "")
        parts.append(told)
    words = "; ".join(parts)
    return f"{words[:1].upper()}{words[1:]}.", not missed


def _named(checks: Sequence[Check]) -> str:
    """`onnxruntime fp32, fp16 on cuda; …`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        groups.setdefault((check.backend, check.device), []).append(check.precision)
    return "; ".join(f"{backend} {', '.join(some)} on {device}" for (backend, device), some in groups.items())
