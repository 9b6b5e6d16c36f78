"""A diagnosis from start to end: facts, checks in processes of their own, advice, verdict."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmark import __version__
from benchmark.doctor.advice import advise, doubled_remedy, onnxruntimes
from benchmark.doctor.facts import FactFinder
from benchmark.doctor.needs import Needs, package_checks
from benchmark.doctor.probe import Checks, Preparation, Tried
from benchmark.doctor.schema import Check, Diagnosis, Driver, Facts, PackageCheck, Remedy, System
from benchmark.doctor.told import told, verdict
from benchmark.measure.workers import Worker, WorkerError, WorkerSettings
from exporters.precision import PRECISIONS as FILE_PRECISIONS
from reports.text import backend_name
from runners.registry import FILE_PRECISION, PRECISIONS, REAL_BACKENDS, WANTS_MODULE, not_made_for

LIMIT_S = 180.0
"""For one call of a worker. TensorRT builds an engine in it; everything else takes seconds."""

FACTS_LIMIT_S = 60.0

AT_ONCE = 2
"""Backends checked beside each other: most of the time goes to imports, which use one core."""

AWAY = "no check was made: "

Say = Callable[[str], None]


@dataclass
class Doctor:
    """One diagnosis.

    Args:
        devices: to check; None for `cpu` and every visible GPU, or plain `cuda` where there is none.
        needs: what a specification needs; None without one.
        say: told what is done.
    """

    devices: Sequence[str] | None = None
    needs: Needs | None = None
    say: Say = lambda text: None
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _stopped: threading.Event = field(init=False, default_factory=threading.Event)
    _open: list[Worker] = field(init=False, default_factory=list)

    def diagnose(self) -> Diagnosis:
        """Finds out everything."""
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="sambench-doctor-") as folder, self._ended():
            self.say("ask the driver and the libraries")
            facts = self._facts(Path(folder))
            devices = self._devices(facts.driver)
            reachable = [device for device in devices if device == "cpu" or not _absence(device, facts)]
            unwritten: Mapping[str, str] = {}
            reference = None
            if reachable:
                self.say("export a small network")
                unwritten, reference = self._prepare(Path(folder))
            checks = self._check_all(devices, facts, Path(folder), unwritten, reference)
        packages = package_checks(facts.packages, self.needs)
        checks, packages, remedies = prescribe(checks, packages, facts, self.needs, reference)
        words, ok = verdict(checks, packages, reference, self.needs, self.devices or ())
        return Diagnosis(
            sambench_version=__version__,
            spec=self.needs.file if self.needs else None,
            facts=facts,
            told=told(facts),
            reference=reference,
            checks=checks,
            packages=packages,
            remedies=remedies,
            verdict=words,
            seconds=round(time.perf_counter() - started, 1),
            ok=ok,
        )

    def _devices(self, driver: Driver | None) -> list[str]:
        if self.devices is not None:
            return list(self.devices)
        gpus = driver.gpus if driver else 0
        every = ["cpu", "cuda", *(f"cuda:{index}" for index in range(1, gpus))]
        return every + [one for one in (self.needs.devices if self.needs else ()) if one not in every]

    def _facts(self, folder: Path) -> Facts:
        """Each part in a worker; one that ends it is told, and the next part gets a new one."""
        found: dict[str, Any] = {}
        unknown: dict[str, str] = {}
        worker: Worker | None = None
        for part in ("packages", "system", "driver", "onnxruntime", "torch"):
            if worker is None or not worker.alive:
                worker = self._worker("facts", FactFinder, folder)
            try:
                found[part] = worker.call(part, limit_s=FACTS_LIMIT_S)
            except WorkerError as error:
                unknown[part] = str(error)
        if worker is not None:
            worker.stop()
        found.setdefault("packages", {})
        found.setdefault("system", UNKNOWN_SYSTEM)
        return Facts(**found, unknown=unknown)

    def _prepare(self, folder: Path) -> tuple[Mapping[str, str], str | None]:
        """Precisions without an ONNX file, and why there is nothing to compare with."""
        worker = self._worker("reference", partial(Preparation, folder), folder)
        try:
            worker.call("answer", limit_s=LIMIT_S)
        except WorkerError as error:
            return {}, str(error)
        try:
            unwritten: Mapping[str, str] = worker.call("export", limit_s=LIMIT_S)
            return unwritten, None
        except WorkerError as error:
            return dict.fromkeys(FILE_PRECISIONS, f"the network could not be exported: {error}"), None
        finally:
            worker.stop()

    def _check_all(
        self, devices: Sequence[str], facts: Facts, folder: Path, unwritten: Mapping[str, str], reference: str | None
    ) -> list[Check]:
        pairs = [(device, backend) for device in devices for backend in REAL_BACKENDS]
        one = partial(self._check_pair, facts=facts, folder=folder, unwritten=unwritten, reference=reference)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                return [check for found in pool.map(lambda pair: one(*pair), pairs) for check in found]
            except BaseException:
                # Or whoever interrupts would wait for every check that is left.
                self._stopped.set()
                self._kill()
                raise

    def _check_pair(
        self, device: str, backend: str, facts: Facts, folder: Path, unwritten: Mapping[str, str], reference: str | None
    ) -> list[Check]:
        """A backend on a device: one process, and another one only after it ended."""
        # What is made for another kind of device asks for no driver, and needs no process to say so.
        absent = not_made_for(backend, device) or _absence(device, facts)
        worker: Worker | None = None
        checks = []
        for precision in PRECISIONS[backend]:
            if self._stopped.is_set():
                break
            if absent is not None:
                tried = Tried("unavailable", absent)
            elif reference is not None:
                tried = Tried("failed", f"{AWAY}PyTorch fp32 on the CPU, with which all is compared, failed")
            else:
                if worker is None or not worker.alive:
                    self.say(f"check {backend} on {device}")
                    worker = self._worker(f"{backend}-{device}", partial(Checks, backend, device, folder), folder)
                tried = self._try(worker, precision, {} if backend in WANTS_MODULE else unwritten)
            checks.append(_check(backend, device, precision, tried, facts.system))
        if worker is not None:
            worker.stop()
        return checks

    def _try(self, worker: Worker, precision: str, unwritten: Mapping[str, str]) -> Tried:
        made_of = FILE_PRECISION.get(precision, precision)
        if made_of in unwritten:
            return Tried("failed", unwritten[made_of])
        try:
            found: Tried = worker.call("check", precision, limit_s=LIMIT_S)
        except WorkerError as error:
            return Tried("failed", str(error))
        return found

    def _worker(self, name: str, make: Callable[[], Any], folder: Path) -> Worker:
        variables = {"OMP_WAIT_POLICY": "PASSIVE", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        # A start changes this process's variables and main module for a moment: one at a time.
        with self._lock:
            log = folder / "logs" / f"{name.replace(':', '')}-{len(self._open)}.log"
            worker = Worker(name, make, WorkerSettings(variables), log)
            self._open.append(worker)
        return worker

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """No process outlives the diagnosis, whatever ends it."""
        try:
            yield
        finally:
            self._kill()

    def _kill(self) -> None:
        for worker in list(self._open):
            worker.kill()


UNKNOWN_SYSTEM = System(
    platform=sys.platform, python="unknown", wsl=False, container=None, nvidia_hardware=None, visible_devices=None,
    compiler=None,
)  # fmt: skip


def _absence(device: str, facts: Facts) -> str | None:
    """Why no backend can run on a device; told by the driver, before any backend is asked."""
    if device == "cpu":
        return None
    driver = facts.driver
    if driver is None:
        return f"the NVIDIA driver cannot be asked: {facts.unknown.get('driver', 'it did not answer')}"
    index = int(device.partition(":")[2] or 0)
    if driver.absence is None and index >= driver.gpus:
        return f"the NVIDIA driver shows {driver.gpus} GPU(s), so there is no {device}"
    return driver.absence


def _check(backend: str, device: str, precision: str, tried: Tried, system: System) -> Check:
    """What was tried, as it is told.

    Right without instructions for it is slow. A precision that the backend gave up for want of them, as it attests, is
    not here: its answer is right, in another precision.
    """
    state, reason = tried.state, tried.reason
    lacking = system.missing_instructions.get(precision.partition("-")[0]) if device == "cpu" else None
    if state == "works" and lacking:
        state, reason = "slow", f"the CPU lacks {lacking.partition(', ')[0]}"
    elif state == "wrong" and lacking and tried.instead is not None:
        short = precision.partition("-")[0]
        state = "unavailable"
        reason = f"this CPU has no {short} instructions ({lacking}), so {backend_name(backend)} ran in {tried.instead}"
    return Check(
        backend=backend, device=device, precision=precision, state=state, reason=reason,
        largest_error=tried.largest_error, tolerance=tried.tolerance, seconds=tried.seconds,
    )  # fmt: skip


def prescribe(
    checks: Sequence[Check],
    packages: Sequence[PackageCheck],
    facts: Facts,
    needs: Needs | None,
    reference: str | None = None,
) -> tuple[list[Check], list[PackageCheck], list[Remedy]]:
    """The checks with what to do about each, every remedy once, what the specification needs first.

    Args:
        checks: as they were made.
        packages: as they were found.
        facts: what is here.
        needs: of the specification; None without one.
        reference: why PyTorch fp32 on the CPU failed; None where it did not.
    """
    marked = [check.model_copy(update={"needed": needs is not None and needs.lane(check)}) for check in checks]
    asked: list[tuple[bool, Check | PackageCheck | None, Remedy]] = []
    if len(doubled := onnxruntimes(facts.packages)) > 1:
        asked.append((True, None, doubled_remedy(doubled)))
    # Without a reference no check was made, and there is nothing to say about backends.
    for check in marked if reference is None else ():
        if (remedy := advise(check, facts)) is not None:
            asked.append((check.needed, check, remedy))
    asked += [
        (True, one, needs.remedy(one)) for one in packages if needs is not None and one.needed and not one.version
    ]
    asked.sort(key=lambda item: not item[0])
    remedies: list[Remedy] = []
    places: dict[int, int] = {}
    for _, subject, remedy in asked:
        if remedy not in remedies:
            remedies.append(remedy)
        places[id(subject)] = remedies.index(remedy)
    return (
        [check.model_copy(update={"remedy": places.get(id(check))}) for check in marked],
        [one.model_copy(update={"remedy": places.get(id(one))}) for one in packages],
        remedies,
    )
