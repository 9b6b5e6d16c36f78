"""A task as the Medical Segmentation Decathlon lays it out: a folder with dataset.json, imagesTr and labelsTr.

Only dataset.json and file names are read here, never voxels. nnU-Net's dataset.json is understood where it differs:
`channel_names` for `modality`, labels as {name: value}, and cases found by file name, one file a channel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

from benchmark.data.intensity import CTWindow, Intensity
from benchmark.data.tasks import NSD_TOLERANCE_MM, defaults_for, is_mri
from benchmark.errors import InputError

PHANTOM_KEY = "sambench_phantom"
"""What a dataset.json holds if its volumes are drawn under an official task's name."""


@dataclass(frozen=True)
class CaseFiles:
    """One case: its id, which is the image's file name without its ending, and its two files."""

    case: str
    image: Path
    label: Path


@dataclass(frozen=True)
class TaskOverride:
    """What a specification says of a task; None leaves the default.

    Attributes:
        channel: which channel of dataset.json's `modality` to show.
        window: level and width in Hounsfield units; saying it means that the channel is CT.
        labels: names of the labels to segment.
        nsd_tolerance_mm: how far apart two surfaces may lie and still count as the same.
    """

    channel: int | None = None
    window: tuple[float, float] | None = None
    labels: tuple[str, ...] | None = None
    nsd_tolerance_mm: float | None = None


NO_OVERRIDE = TaskOverride()


@dataclass(frozen=True)
class Task:
    """An opened task.

    Attributes:
        name: the folder's name.
        folder: where it is.
        modality: the chosen channel's, as dataset.json has it.
        channel: which channel of an image file to read.
        channels: how many an image file has; 1 where every channel has its own file.
        labels: value → name of the labels to segment, without the background, by rising value.
        known_values: every value a label file may hold: those dataset.json declares, and 0.
        intensity: what becomes black and white.
        cases: sorted by case id.
        nsd_tolerance_mm: how far apart two surfaces may lie and still count as the same, for NSD.
        phantom: its volumes are drawn, under the name of an official task.
    """

    name: str
    folder: Path
    modality: str
    channel: int
    channels: int
    labels: Mapping[int, str]
    known_values: frozenset[int]
    intensity: Intensity
    cases: tuple[CaseFiles, ...]
    nsd_tolerance_mm: float = NSD_TOLERANCE_MM
    phantom: bool = False


def open_task(folder: Path, override: TaskOverride = NO_OVERRIDE) -> Task:
    """Reads a task's dataset.json and checks that its files are there.

    Args:
        folder: the task folder, e.g. `data/Task09_Spleen`.
        override: what the user wants otherwise.

    Raises:
        InputError: no such task, a dataset.json that is not understood, files it names that are missing, or an override
            that names a label or channel the task does not have.
    """
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    return _Reader(folder, name, _read_json(folder, name)).task(override)


def case_id(file_name: str) -> str:
    """`spleen_3.nii.gz` → `spleen_3`."""
    return file_name.removesuffix(".gz").removesuffix(".nii")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        raise InputError(_why_no_dataset(folder))
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows leave a byte-order mark
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}/dataset.json: line {error.lineno}, column {error.colno} is not JSON: {error.msg}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}/dataset.json: not UTF-8 text; save it as UTF-8.") from error
    if not isinstance(data, dict):
        raise InputError(f"{name}/dataset.json: must be one JSON object with modality, labels and training.")
    return data


def _why_no_dataset(folder: Path) -> str:
    if folder.name == "dataset.json" and folder.is_file():
        return f"{folder}: is a file; name the task folder that it lies in."
    if folder.is_file():
        return f"{folder}: is a file, not a task folder; extract it and name the folder that has a dataset.json."
    around = folder if folder.is_dir() else folder.parent
    tasks = sorted(path.parent.name for path in around.glob("*/dataset.json")) if around.is_dir() else []
    named = ", ".join(tasks[:12]) + (", …" if len(tasks) > 12 else "")
    if not folder.is_dir():
        hint = f"{around} has: {named}." if tasks else "check the path or fetch the task."
        return f"{folder}: there is no such task folder; {hint}"
    if tasks:
        return f"{folder}: no dataset.json here, but one level below; name the task folder itself: {named}."
    if (folder / "imagesTr").is_dir():
        return (
            f"{folder}: imagesTr is here but dataset.json is not; extract the task again, or write a dataset.json with "
            "modality, labels and training."
        )
    return f"{folder}: is not a task folder: it has no dataset.json."


@dataclass(frozen=True)
class _Reader:
    """One dataset.json on its way to a task, with the names that its complaints need."""

    folder: Path
    name: str
    data: Mapping[str, Any]

    def fail(self, problem: str) -> NoReturn:
        raise InputError(f"{self.name}/dataset.json: {problem}")

    def task(self, override: TaskOverride) -> Task:
        channels = self.channels()
        channel = defaults_for(self.name, channels[0]).channel if override.channel is None else override.channel
        if not 0 <= channel < len(channels):
            known = ", ".join(f"{i} {channel_name}" for i, channel_name in enumerate(channels))
            raise InputError(f"{self.name}: channel {channel} does not exist; choose one of: {known}.")
        defaults = defaults_for(self.name, channels[channel])
        declared = self.labels()
        per_channel = "training" not in self.data
        cases = self.cases_by_name(channel) if per_channel else self.cases_listed()
        self.check_files(cases)
        return Task(
            name=self.name,
            folder=self.folder,
            modality=channels[channel],
            channel=0 if per_channel else channel,
            channels=1 if per_channel else len(channels),
            labels=self.targets(declared, override.labels, defaults.targets),
            known_values=frozenset(declared) | {0},
            intensity=defaults.intensity
            if override.window is None
            else self.window(override.window, channels[channel]),
            cases=tuple(sorted(cases, key=lambda files: files.case)),
            nsd_tolerance_mm=override.nsd_tolerance_mm or defaults.nsd_tolerance_mm,
            phantom=PHANTOM_KEY in self.data,
        )

    def field(self, *names: str) -> Any:
        for name in names:
            if name in self.data:
                return self.data[name]
        self.fail(f"the field `{names[0]}` is missing.")

    def channels(self) -> tuple[str, ...]:
        raw = self.field("modality", "channel_names")
        if not isinstance(raw, dict) or not raw or {str(i) for i in range(len(raw))} != set(raw):
            self.fail('`modality` must number the channels from 0, e.g. {"0": "CT"}.')
        return tuple(str(raw[str(i)]) for i in range(len(raw)))

    def labels(self) -> dict[int, str]:
        """Every declared label but the background, by rising value."""
        raw = self.field("labels")
        if not isinstance(raw, dict) or not raw:
            self.fail('`labels` is empty; it must name the values, e.g. {"0": "background", "1": "spleen"}.')
        declared: dict[int, str] = {}
        for key, value in raw.items():
            if isinstance(value, list):
                self.fail(f"label `{key}` is a region of several values, which is not supported; declare plain values.")
            # The Decathlon has {"1": "spleen"}, nnU-Net {"spleen": 1}.
            number, name = (key, str(value)) if key.isdecimal() else (str(value), key)
            if not number.isdecimal() or int(number) > 255:
                self.fail(f"label `{key}`: `{value}` is not understood; values are whole numbers from 0 to 255.")
            if int(number) in declared or name in declared.values():
                self.fail(f"label `{key}`: `{value}` is declared twice.")
            declared[int(number)] = name
        declared.pop(0, None)
        if not declared:
            self.fail("`labels` declares nothing but the background; there is nothing to segment.")
        return dict(sorted(declared.items()))

    def targets(
        self, declared: Mapping[int, str], wanted: Sequence[str] | None, default: Sequence[str] | None
    ) -> dict[int, str]:
        """The labels the user names; else the task's default ones if it has them all; else all."""
        names = list(declared.values())
        if wanted is not None:
            unknown = [name for name in wanted if name not in names]
            if unknown or not wanted:
                problem = f"label `{unknown[0]}` does not exist" if unknown else "no label is named"
                raise InputError(f"{self.name}: {problem}; choose among: {', '.join(names)}.")
            names = list(wanted)
        elif default is not None and set(default) <= set(names):
            names = list(default)
        # nnU-Net's "ignore" marks voxels nobody has labelled: known, but nothing to segment unless asked for.
        skipped = {"ignore"} if wanted is None else set()
        return {value: name for value, name in declared.items() if name in names and name not in skipped}

    def window(self, window: tuple[float, float], modality: str) -> CTWindow:
        if is_mri(modality):
            raise InputError(
                f"{self.name}: a CT window in Hounsfield units was asked for, and dataset.json says {modality}; leave "
                "the window out, or correct `modality`."
            )
        try:
            return CTWindow(*window)
        except ValueError as error:
            raise InputError(f"{self.name}: {error}.") from error

    def cases_listed(self) -> list[CaseFiles]:
        """The Decathlon's way: `training` lists image and label."""
        entries = self.field("training")
        if not isinstance(entries, list) or not entries:
            self.fail("`training` lists no case: the task is empty.")
        cases = []
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict) or "image" not in entry or "label" not in entry:
                self.fail(f'training[{i}] must be {{"image": "./imagesTr/….nii.gz", "label": "./labelsTr/….nii.gz"}}.')
            image, label = (self.path(entry[key], f"training[{i}].{key}") for key in ("image", "label"))
            cases.append(CaseFiles(case_id(image.name), image, label))
        return cases

    def cases_by_name(self, channel: int) -> list[CaseFiles]:
        """nnU-Net's way: labelsTr/CASE.nii.gz beside imagesTr/CASE_0000.nii.gz, one file a channel."""
        ending = self.data.get("file_ending")
        if ending is None:
            self.fail("the field `training` is missing.")
        if ending not in (".nii", ".nii.gz"):
            self.fail(f"`file_ending` is {ending!r}; only .nii and .nii.gz are read.")
        labels = [path for path in (self.folder / "labelsTr").glob(f"*{ending}") if not path.name.startswith(".")]
        if not labels:
            self.fail(f"labelsTr has no *{ending}: the task is empty.")
        images = self.folder / "imagesTr"
        return [
            CaseFiles(case_id(label.name), images / f"{case_id(label.name)}_{channel:04d}{ending}", label)
            for label in labels
        ]

    def path(self, raw: object, field: str) -> Path:
        """A file named in dataset.json, within the folder. Links are followed: they are the owner's, not the file's."""
        entry = PurePosixPath(str(raw))
        everywhere = PureWindowsPath(entry)  # knows the separators, drives and roots of both systems
        if everywhere.anchor or ".." in everywhere.parts:
            self.fail(f"{field} is `{raw}`, which leaves the task folder; name a file in imagesTr or labelsTr.")
        if entry.name.startswith("._"):
            self.fail(f"{field} is `{raw}`, a companion file that macOS leaves beside the real one; remove the entry.")
        if not entry.name.endswith((".nii", ".nii.gz")):
            self.fail(f"{field} is `{raw}`; only .nii and .nii.gz are read.")
        return self.folder / entry

    def check_files(self, cases: Sequence[CaseFiles]) -> None:
        seen: set[str] = set()
        for files in cases:
            if files.case in seen:
                self.fail(f"the case `{files.case}` is listed twice; remove one of the entries.")
            seen.add(files.case)
        missing = [path for files in cases for path in (files.image, files.label) if not path.is_file()]
        if missing:
            count = "" if len(missing) == 1 else f" (and {len(missing) - 1} more, {len(missing)} in all)"
            raise InputError(
                f"{self.name}/{missing[0].relative_to(self.folder).as_posix()}: the file is missing{count}; download "
                "the task again or remove the case from dataset.json."
            )
