"""Whether two runs may be compared: what of machine, driver, data and specification differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from benchmark.compare.schema import BLOCKING, Difference, Kind
from benchmark.errors import InputError
from benchmark.measured import Environment
from benchmark.results import Results, TaskInfo

HARDWARE = ("machine", "cpu", "cores", "gpu")
SOFTWARE = ("os", "python")
GIB_ALIKE = 0.02
"""The same memory is told with a few MiB more or less from boot to boot."""

LISTS = ("name", "backends", "devices", "precisions")
"""What only says which cells there are: cells that one run lacks are told one by one."""

HOW_LONG = (
    "repeats", "samples", "budget_s", "margin", "limit_s", "warmup_limit_s", "scenarios", "offline_s", "server",
)  # fmt: skip
"""Fields of `measure` that say for how long, not under what conditions."""

SAM_LISTS = ("models", "prompts", "checkpoints")


def parse_allowed(words: Iterable[str]) -> frozenset[str]:
    """What `--allow` names.

    Raises:
        InputError: one is nothing that can be allowed.
    """
    known = (*BLOCKING, "missing", "failed")
    for word in words:
        if word not in known:
            raise InputError(f"--allow {word}: choose from {', '.join(known)}")
    return frozenset(words)


def differences(base: Results, new: Results) -> tuple[Difference, ...]:
    """Everything that differs, what forbids a comparison first. What one run did not record differs in nothing."""
    found = [
        *_environment(base.environment, new.environment),
        *_tasks(base.tasks, new.tasks),
        *(_difference("spec", f"spec {key}", *pair) for key, pair in _unequal(_recipe(base.spec), _recipe(new.spec))),
        *_software(base, new),
    ]
    order = get_args(Kind)
    return tuple(sorted(found, key=lambda one: order.index(one.kind)))


def _environment(base: Environment, new: Environment) -> Iterator[Difference]:
    for field in HARDWARE:
        if getattr(base, field) != getattr(new, field):
            yield _difference("hardware", field, getattr(base, field), getattr(new, field))
    if abs(base.memory_gib - new.memory_gib) > GIB_ALIKE * base.memory_gib:
        yield _difference("hardware", "memory", f"{base.memory_gib:.1f} GiB", f"{new.memory_gib:.1f} GiB")
    if base.threads != new.threads:
        yield _difference("hardware", "threads", base.threads, new.threads)
    for field in ("driver", "governor"):
        if getattr(base, field) != getattr(new, field):
            yield _difference("driver", field, getattr(base, field), getattr(new, field))
    if base.variables != new.variables:
        for key, pair in _unequal(base.variables, new.variables, only_shared=False):
            yield _difference("spec", f"environment variable {key}", *pair)


def _software(base: Results, new: Results) -> Iterator[Difference]:
    if base.sambench_version != new.sambench_version:
        yield _difference("software", "sambench", base.sambench_version, new.sambench_version)
    for field in SOFTWARE:
        pair = (getattr(base.environment, field), getattr(new.environment, field))
        if pair[0] != pair[1]:
            yield _difference("software", field, *pair)
    for name, pair in _unequal(base.environment.libraries, new.environment.libraries, only_shared=False):
        yield _difference("software", name, *pair)


def _tasks(base: Iterable[TaskInfo], new: Iterable[TaskInfo]) -> Iterator[Difference]:
    """Of tasks that both runs have; of another one the cells are missing or new."""
    by_name = {task.name: task for task in new}
    for task in base:
        other = by_name.get(task.name)
        if other is None:
            continue
        for field, value in task.model_dump(exclude={"name", "notes", "modality"}).items():
            against = getattr(other, field)
            if value != against and None not in (value, against):
                yield _difference("data", f"{task.name} {field}", value, against)


def _recipe(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of a specification decides what a cell's numbers mean, as dotted names and values."""
    kept = {key: value for key, value in spec.items() if key not in LISTS}
    data = {key: value for key, value in _section(kept, "data").items() if key not in ("root", "tasks")}
    measure = {key: value for key, value in _section(kept, "measure").items() if key not in HOW_LONG}
    sam = {key: value for key, value in _section(kept, "sam").items() if key not in SAM_LISTS}
    unet = {key: value for key, value in _section(kept, "unet").items() if key not in ("labels", "checkpoints")}
    return dict(_flat({**kept, "data": data, "measure": measure, "sam": sam, "unet": unet}))


def _section(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = spec.get(name)
    return section if isinstance(section, Mapping) else {}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, child in value.items():
        if isinstance(child, Mapping) and child:
            yield from _flat(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", child or None if isinstance(child, (Mapping, list, tuple)) else child


def _unequal(
    base: Mapping[str, Any], new: Mapping[str, Any], *, only_shared: bool = False
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in dict.fromkeys((*base, *new)):
        if only_shared and not (key in base and key in new):
            continue
        if base.get(key) != new.get(key):
            yield key, (base.get(key), new.get(key))


def _difference(kind: Kind, what: str, base: object, new: object) -> Difference:
    return Difference(kind=kind, what=what, base=_told(base), new=_told(new))


def _told(value: object) -> str:
    if value is None:
        return "none"
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
