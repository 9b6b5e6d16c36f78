"""What is refused before the first model is loaded."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from benchmark.devices import SKIP
from benchmark.errors import InputError
from benchmark.files import write_text_atomically
from benchmark.results import RESULTS_FILE, LaneKey
from benchmark.spec import Spec
from exporters.fetch import cached
from exporters.sam import SAM_MODELS, SamModel
from exporters.unet import load_unet
from runners.base import ModuleSource, RunnerError, Signature
from runners.device import Device
from runners.registry import import_backend, make_runner

SPEC_FILE = "spec.yaml"
LOCK_FILE = ".running"


def require_models(spec: Spec) -> None:
    """Refuses an unknown SAM or a missing or unreadable checkpoint before the first model is measured.

    Raises:
        InputError: sam.models names one that is not known or has no weights here, or sam.checkpoints a file that is not
            there.
        ExportError: a UNet's checkpoint is missing or damaged.
    """
    for name in spec.sam.models if spec.sam else ():
        if name not in SAM_MODELS:
            raise InputError(f"sam.models: {name!r} is not known; choose from {', '.join(SAM_MODELS)}")
        if spec.sam and name not in spec.sam.checkpoints and spec.sam.seed(name) is None:
            otherwise = f"name a file in sam.checkpoints.{name}, or set sam.random_weights: 0 for latency alone"
            require_weights(SAM_MODELS[name], "sam.models", otherwise)
    for name, path in spec.sam.checkpoints.items() if spec.sam else ():
        if not path.is_file():
            raise InputError(f"sam.checkpoints.{name}: {path} is no file; name the checkpoint that holds the weights")
    for path in spec.unet.checkpoints if spec.unet else ():
        load_unet(path)


def require_weights(model: SamModel, field: str, otherwise: str) -> None:
    """Refuses a model that was given no checkpoint and whose own weights are not here.

    Args:
        model: of the registry.
        field: where the user named it.
        otherwise: what there is to do besides fetching them.

    Raises:
        InputError: they are not here.
    """
    if model.packaged is None and cached(model.published) is None:
        raise InputError(
            f"{field}: the weights of {model.name} are not here; run `sambench fetch sam {model.name}`, {otherwise}"
        )


def require_backends(spec: Spec) -> None:
    """Refuses a backend that is not installed, or that runs on none of the devices, before anything is loaded.

    On one of several devices it may fail: its cells there say so.

    Raises:
        InputError: what is missing, and what to do.
    """
    devices = [Device.parse(name) for name in spec.devices]
    for backend in spec.backends:
        try:
            absences = [import_backend(backend).absence(device) for device in devices]
        except RunnerError as error:
            raise InputError(f"backends: {error} ({SKIP})") from None
        if all(absences):
            raise InputError(f"backends: {absences[0]} ({SKIP})")


def require_options(spec: Spec, backends: Collection[str] | None = None) -> None:
    """Refuses what a backend or a lane cannot get, before anything is loaded or exported.

    Args:
        spec: the run's specification.
        backends: those that are here and can be asked; None for all of the specification.

    Raises:
        InputError: an option that the backend does not know, and what it knows; or more threads than processors.
    """
    given = {f"options.{backend}": (backend, options) for backend, options in spec.options.items()}
    for lane, own in spec.lanes.items():
        given[f"lanes.{lane}.options"] = (LaneKey.parse(lane).backend, own.options)
        if own.threads is not None:
            require_threads(own.threads, f"lanes.{lane}.threads")
    nothing = ModuleSource(name="module", signature=Signature((), ()))
    for field, (backend, options) in given.items():
        if backends is not None and backend not in backends:
            continue
        try:
            make_runner(backend, nothing, Device("cpu"), None, options)
        except RunnerError as error:
            raise InputError(f"{field}: {error}") from None


def require_affinity(spec: Spec) -> None:
    """Refuses processors that are not there.

    Raises:
        InputError: which, or that this system does not let processes be placed.
    """
    if spec.measure.affinity is None:
        return
    if not hasattr(os, "sched_getaffinity"):
        raise InputError("measure.affinity: this system does not let a process choose its processors; leave it out")
    here = sorted(os.sched_getaffinity(0))
    for processor in spec.measure.affinity:
        if processor not in here:
            raise InputError(
                f"measure.affinity: processor {processor} is not among this process's ({here}); take those"
            )


def require_threads(threads: int, field: str) -> None:
    """Refuses more threads than there are processors: libraries accept any number and then crawl.

    Args:
        threads: asked for.
        field: where the user named them.

    Raises:
        InputError: there are more.
    """
    processors = os.cpu_count() or 1
    if threads > processors:
        raise InputError(f"{field}: {threads} is more than this machine's {processors} processors")


@contextmanager
def sole_user(run_dir: Path, lock_dir: Path | None = None) -> Iterator[None]:
    """Keeps a second run out of the folder: it would write the same files and slow what the first one measures.

    Args:
        run_dir: the folder.
        lock_dir: where the lock lies, if not in it.

    Raises:
        InputError: another process is running in the folder.
    """
    lock = (lock_dir or run_dir) / LOCK_FILE
    try:
        holder = int(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        holder = None
    if holder is not None and holder != os.getpid() and psutil.pid_exists(holder):
        raise InputError(f"--out {run_dir}: process {holder} is running in it; wait for it, or name another folder")
    write_text_atomically(lock, str(os.getpid()))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _name_in(run_dir: Path) -> str | None:
    """The name of the run that a folder holds; None where that cannot be told."""
    try:
        found = yaml.safe_load((run_dir / SPEC_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    name = found.get("name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def require_run_of(run_dir: Path, name: str) -> None:
    """Refuses a folder that holds a run of another name.

    Raises:
        InputError: which.
    """
    if (found := _name_in(run_dir)) not in (None, name):
        raise InputError(
            f"--out {run_dir}: holds the run {found!r}, and this specification is {name!r}; name another folder"
        )


def claim_run_dir(run_dir: Path, spec: Spec) -> None:
    """Makes the run folder, or takes up an earlier run's; somebody else's folder is left alone.

    Raises:
        InputError: the folder is a file, or holds other things or a run of another name.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"--out {run_dir}: is a file; name a folder")
    if run_dir.is_dir() and any(run_dir.iterdir()) and not (run_dir / SPEC_FILE).is_file():
        raise InputError(f"--out {run_dir}: not empty and no run of sambench; name a new folder")
    require_run_of(run_dir, spec.name)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text_atomically(run_dir / SPEC_FILE, text)
        # Results of another content must not outlive the records they came from.
        (run_dir / RESULTS_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"--out {run_dir}: cannot be written ({error.strerror}); name another folder") from None
