"""What to do where the NVIDIA driver is missing or does not start. Pure."""

from __future__ import annotations

import re

from benchmark.doctor.schema import Facts, Remedy

CU_INIT = {
    100: "the driver shows no GPU to this process",
    802: "the GPU's fabric is not ready",
    803: "the driver's kernel module and its library are of different versions",
    804: "this GPU does not run the CUDA libraries of a newer driver that come first here",
}
"""What cuInit returns (`CUresult` of cuda.h) → in words."""


def without_driver(facts: Facts) -> Remedy | None:
    """What keeps every backend from the GPU, and what to do; None where the driver is there and works.

    Args:
        facts: what is here.
    """
    driver, system = facts.driver, facts.system
    if driver is None:
        why = facts.unknown.get("driver", "it did not answer")
        return Remedy(
            problem=f"the NVIDIA driver cannot be asked: {why}",
            steps=["restart the machine; where that does not help, install the driver again", "see that this works:"],
            commands=["nvidia-smi"],
        )
    if driver.absence is None:
        return None
    if "no NVIDIA driver" in driver.absence:
        return _no_driver(facts)
    started = re.search(r"cuInit returned (\d+)", driver.absence)
    if started or driver.gpus == 0:
        return _no_start(int(started[1]) if started else 100, system.visible_devices, system.container)
    return None


def _no_driver(facts: Facts) -> Remedy:
    system = facts.system
    problem = "no NVIDIA driver on this machine"
    if system.platform == "darwin":
        return Remedy(problem="CUDA does not exist on macOS", steps=["use device cpu, or a machine with an NVIDIA GPU"])
    if system.wsl:
        return Remedy(
            problem=f"{problem} (Windows Subsystem for Linux)",
            steps=[
                "install NVIDIA's driver in Windows, not in Linux: it comes into WSL 2 from there",
                "then, in a Windows terminal:",
            ],
            commands=["wsl --update", "wsl --shutdown"],
        )
    if system.container:
        none_seen = ["its PCI bus shows no NVIDIA GPU either, so the host may have none: look there first"]
        return Remedy(
            problem=f"no NVIDIA driver in this container ({system.container} tells that it is one)",
            steps=[
                *(none_seen if system.nvidia_hardware is False else []),
                "install the NVIDIA Container Toolkit on the host",
                "start the container with the GPUs (Kubernetes: ask for nvidia.com/gpu), as in:",
            ],
            commands=["docker run --gpus all IMAGE"],
        )
    if system.nvidia_hardware is False:
        return Remedy(
            problem=f"{problem}, and no NVIDIA GPU on its PCI bus",
            steps=["use device cpu; cuda needs a machine with an NVIDIA GPU"],
        )
    if system.platform == "win32":
        return Remedy(problem=problem, steps=["if there is an NVIDIA GPU, install NVIDIA's driver for it and restart"])
    seen = "the GPU is there" if system.nvidia_hardware else "if there is an NVIDIA GPU"
    return Remedy(
        problem=problem,
        steps=[f"{seen}: install NVIDIA's driver and restart; on Ubuntu:"],
        commands=["sudo ubuntu-drivers install", "sudo reboot"],
    )


def _no_start(code: int, visible: str | None, container: str | None) -> Remedy:
    why = CU_INIT.get(code, f"cuInit returned {code}")
    problem = f"the NVIDIA driver is there and does not start: {why}"
    if code == 100 and visible is not None:
        return Remedy(
            problem=f"the variable CUDA_VISIBLE_DEVICES is {visible!r} and hides the GPUs",
            steps=["unset it, or name a GPU"],
            commands=["unset CUDA_VISIBLE_DEVICES"],
        )
    if code == 100 and container:
        return Remedy(
            problem=problem,
            steps=["start the container with the GPUs, as in:"],
            commands=["docker run --gpus all IMAGE"],
        )
    if code == 803:
        return Remedy(problem=problem, steps=["restart: the driver was updated without one"], commands=["sudo reboot"])
    if code == 804:
        return Remedy(
            problem=problem,
            steps=["take folders named compat out of the library path, or update the driver"],
            commands=["unset LD_LIBRARY_PATH"],
        )
    if code == 802:
        return Remedy(
            problem=problem,
            steps=["start NVIDIA's Fabric Manager"],
            commands=["sudo systemctl start nvidia-fabricmanager"],
        )
    return Remedy(
        problem=problem, steps=["restart; where that does not help, see what this says:"], commands=["nvidia-smi"]
    )
