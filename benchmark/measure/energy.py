"""Energy between two moments: the processor's by RAPL, the GPU's by NVML, or a reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.measure.memory import nvml_handle
from benchmark.measured import Energy

POWERCAP = Path("/sys/class/powercap")

Reading = tuple[float | None, str | None, str | None]
"""Joules, their source, and the reason why there are none."""


class Counter(Protocol):
    """Something that counts energy."""

    @property
    def source(self) -> str: ...  # noqa: D102

    def read(self) -> float:
        """Joules so far.

        Raises:
            NoEnergyError: it cannot be read.
        """
        ...

    def wraps_after(self) -> float:
        """Joules after which it starts again from zero."""
        ...


class NoEnergyError(Exception):
    """There is no reading; the message says why."""


@dataclass(frozen=True)
class Package:
    """One processor package of RAPL, as the Linux kernel shows it (Documentation/power/powercap/powercap.rst).

    Attributes:
        folder: `intel-rapl:N`; AMD processors are shown under the same name.
    """

    folder: Path

    @property
    def source(self) -> str:
        """As in `RAPL package-0`."""
        try:
            return f"RAPL {(self.folder / 'name').read_text(encoding='utf-8').strip()}"
        except OSError:
            return f"RAPL {self.folder.name}"

    def read(self) -> float:
        """Joules since the counter last wrapped around.

        Raises:
            NoEnergyError: the file is not readable.
        """
        return _microjoules(self.folder / "energy_uj")

    def wraps_after(self) -> float:
        """Joules, as the kernel tells them: some minutes' worth, so a reading every few minutes misses none."""
        return _microjoules(self.folder / "max_energy_range_uj")


def _microjoules(path: Path) -> float:
    try:
        return int(path.read_text(encoding="utf-8")) / 1e6
    except PermissionError:
        # Since CVE-2020-8694 the kernel lets root alone read it.
        raise NoEnergyError(
            f"{path.parent.name}/{path.name} is not readable; let this user read it (it is root's alone by default)"
        ) from None
    except (OSError, ValueError) as error:
        raise NoEnergyError(f"{path.parent.name}/{path.name} is not readable; {type(error).__name__}") from None


def packages(root: Path = POWERCAP) -> list[Package]:
    """Every processor package; the domains inside one (`intel-rapl:0:0`) are part of it and not counted again.

    The platform's own domain (`psys`) holds the packages too, so it is left out.
    """
    found = [Package(folder) for folder in sorted(root.glob("intel-rapl:*")) if folder.name.count(":") == 1]
    return [package for package in found if "psys" not in package.source]


class NvmlDevice:
    """One GPU's energy since the driver was loaded (`nvmlDeviceGetTotalEnergyConsumption`: Volta and later)."""

    def __init__(self, index: int) -> None:
        self._index = index

    @property
    def source(self) -> str:
        """As in `NVML GPU 0`."""
        return f"NVML GPU {self._index}"

    def read(self) -> float:
        """Joules since the driver was loaded.

        Raises:
            NoEnergyError: NVML is not there, or this GPU does not count.
        """
        try:
            import pynvml
        except ImportError:
            raise NoEnergyError("nvidia-ml-py is not installed; install sambench[gpu]") from None
        try:
            pynvml.nvmlInit()
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(nvml_handle(pynvml, self._index))) / 1e3
        except pynvml.NVMLError as error:
            raise NoEnergyError(f"NVML does not tell the energy of GPU {self._index} ({error})") from None
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def wraps_after(self) -> float:
        """Its 64 bits of millijoules: never in practice."""
        return 2**64 / 1e3


class EnergyMeter:
    """Reads counters at two moments. They count the whole machine: bracket the turn of one worker alone.

    Args:
        device: on a GPU its energy is added to the processor's.
        root: where the kernel shows RAPL.
    """

    def __init__(self, device: str = "cpu", root: Path = POWERCAP) -> None:
        self._absent = [] if packages(root) else ["no RAPL on this machine (its kernel shows no intel-rapl)"]
        # Of two packages one alone would be half an answer, so a group is read whole or not at all.
        self._groups: list[list[Counter]] = [list(packages(root))]
        if device != "cpu":
            self._groups.append([NvmlDevice(int(device.partition(":")[2] or 0))])
        self._first: list[list[float]] = []
        self._reasons: list[str] = []

    def start(self) -> None:
        """The first moment."""
        self._reasons = list(self._absent)
        self._first = [self._read(group) for group in self._groups]

    def stop(self) -> Reading:
        """Joules since `start`, the counters they come from, and why there are none or some are missing.

        A measurement on a GPU may lack the processor's part; then its source and the reason say so.
        """
        joules, sources = 0.0, []
        for group, first in zip(self._groups, self._first, strict=False):
            second = self._read(group) if first else []
            if second:
                try:
                    joules += sum(map(_between, group, first, second))
                except NoEnergyError as error:
                    self._reasons.append(str(error))
                    continue
                sources += [counter.source for counter in group]
        reason = "; ".join(self._reasons) or None
        return (joules, " + ".join(sources), reason) if sources else (None, None, reason or "it was not started")

    def _read(self, group: list[Counter]) -> list[float]:
        try:
            return [counter.read() for counter in group]
        except NoEnergyError as error:
            self._reasons.append(str(error))
            return []


def _between(counter: Counter, first: float, second: float) -> float:
    """Joules between two readings; a counter that wrapped around is below its first one."""
    return second - first + (counter.wraps_after() if second < first else 0.0)


class EnergyTally:
    """Adds up what several stretches of work cost, each in units of work.

    Args:
        meter: reads the counters.
    """

    def __init__(self, meter: EnergyMeter) -> None:
        self._meter = meter
        self._joules = 0.0
        self._units = 0
        self._source: str | None = None
        self._reason: str | None = "nothing was measured"

    @contextmanager
    def of(self, units: int, if_: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Brackets so many units of work.

        Args:
            units: of work.
            if_: asked afterwards: whether the work counts.
        """
        self._meter.start()
        yield
        joules, self._source, self._reason = self._meter.stop()
        if joules is not None and if_():
            self._joules += joules
            self._units += units

    def per_unit(self) -> Energy:
        """So far."""
        joules = self._joules / self._units if self._units else None
        return Energy(joules_per_unit=joules, source=self._source if self._units else None, reason=self._reason)
