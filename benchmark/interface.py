"""What `import sambench` offers: the commands' own code, for scripts and notebooks.

Mistakes are raised as the commands word them: `InputError` for what was given, `ExportError` for a model, `RunnerError`
for a backend or a device. Nothing is printed unless `progress` is asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.console import steps
from benchmark.errors import InputError
from benchmark.progress import Bars
from benchmark.run_job import job_of_file, job_of_mapping
from benchmark.spec import Spec

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.labelling.job import LabelReport
    from benchmark.results import Cell, Comparison, Results
    from benchmark.run import Progress
    from exporters.manifest import Manifest

PathLike = str | os.PathLike[str]

OPTION = re.compile(r"`[^`]*`|--([a-z][a-z-]*)")


@dataclass(frozen=True)
class RunResults:
    """The results of a run.

    Attributes:
        folder: of the run: results.json, the reports, pictures and exports.
        data: all of results.json, as docs/results.md tells.
    """

    folder: Path
    data: Results

    @property
    def cells(self) -> list[Cell]:
        """What each stage, task, model, prompt, backend, device and precision measured."""
        return self.data.cells

    @property
    def comparisons(self) -> list[Comparison]:
        """Each backend against the reference: speedup, interval, verdict, gate."""
        return self.data.comparisons

    @property
    def tables(self) -> tuple[str, ...]:
        """The names that `to_pandas` knows."""
        from reports.frames import frame_names

        return frame_names(self.data)

    def to_pandas(self, table: str = "cells") -> pd.DataFrame:
        """A table of the results.

        Args:
            table: `cells`, a row each, with the keys of results.json as columns, joined by dots (`latency_ms.p50`, in
                milliseconds); `comparisons` likewise; or another of `tables`: those of the report, with the rows that
                `sambench report --format csv` writes.

        Raises:
            InputError: pandas is not installed (`pip install "sambench[pandas]"`), or there is no such table.
        """
        from reports.frames import frame

        return frame(self.data, table)

    @property
    def verdict(self) -> str:
        """What the report says first: what to do, and how sure that is."""
        from reports.summary import summarize

        return summarize(self.data).verdict.headline

    def __repr__(self) -> str:
        cells, comparisons = len(self.cells), len(self.comparisons)
        return f"<RunResults {self.data.name!r}: {cells} cells, {comparisons} comparisons, in {self.folder}>"


def run(
    spec: PathLike | Mapping[str, Any] | Spec,
    out: PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    skip_unavailable: bool = False,
    progress: bool = False,
) -> RunResults:
    """Runs a benchmark and writes its results and reports, as `sambench run` does.

    Args:
        spec: a YAML file's path, or what one would hold; then relative paths in it start at the current folder.
        out: the run's folder; an interrupted run in it goes on. By default runs/NAME.
        overrides: fields to set, as `measure.repeats=3`.
        skip_unavailable: run what this machine can; by default a device that is not there is an error.
        progress: show bars, or lines where there is no terminal.

    Raises:
        InputError: the specification, the data or the folder is wrong.
        ExportError: a model cannot be loaded or exported.
        RunnerError: a backend or device cannot be had.
    """
    from benchmark.run import Run
    from reports.written import write_reports

    folder = None if out is None else Path(out)
    with _told_in_python(), _shown(progress) as shown:
        if isinstance(spec, (Mapping, Spec)):
            content = spec.model_dump(mode="json") if isinstance(spec, Spec) else spec
            job = job_of_mapping(content, folder, overrides, skip_unavailable)
        else:
            job = job_of_file(Path(spec), folder, overrides, skip_unavailable)
        results = Run(job.spec, job.folder, shown, job.command, skip_unavailable).execute()
        write_reports(results, job.folder)
    return RunResults(job.folder, results)


def load_results(run_dir: PathLike) -> RunResults:
    """Reads the results of a run.

    Args:
        run_dir: the run's folder, or its results.json.

    Raises:
        InputError: there are none, or they are of another version.
    """
    from benchmark.results import load_results as read

    place = Path(run_dir)
    return RunResults(place.parent if place.suffix == ".json" else place, read(place))


def label(
    data: PathLike,
    out: PathLike,
    *,
    model: str = "litemedsam",
    prompt: str = "box",
    backend: str = "onnxruntime",
    device: str = "cpu",
    precision: str = "fp32",
    checkpoint: PathLike | None = None,
    per: Literal["object", "component"] = "object",
    masks: Literal["one", "three"] = "one",
    min_pixels: int = 1,
    seed: int = 0,
    labels: Sequence[str] | None = None,
    channel: int | None = None,
    window: tuple[float, float] | None = None,
    prompts_per_call: int | None = None,
    on_out_of_memory: Literal["fail", "halve"] = "fail",
    threads: int | None = None,
    progress: bool = False,
) -> LabelReport:
    """Writes SAM's pseudo labels of a task as an MSD task, as `sambench label` does.

    Args:
        data: the MSD task folder; its reference labels give the prompts.
        out: folder of the labels; an interrupted labelling goes on.
        model: vit_b, vit_l, vit_h, medsam, mobilesam or litemedsam.
        prompt: the prompt strategy: box, point, iterative5, … (docs/prompts.md).
        backend: pytorch, pytorch-compile, onnxruntime, openvino or tensorrt.
        device: cpu, cuda, cuda:N, or cuda:all, where every GPU takes cases.
        precision: fp32, fp16, int8 or int8-static.
        checkpoint: weights; by default the package's or the fetched ones.
        per: a prompt for each object, or for each of its connected components.
        masks: one, or of three the best by predicted IoU.
        min_pixels: an object with fewer pixels in a slice gets no prompt.
        seed: of the strategies that draw at random.
        labels: names of those to prompt for; by default all.
        channel: of multi-channel images.
        window: CT level and width in HU instead of the task's.
        prompts_per_call: by default the backend's fastest.
        on_out_of_memory: fail, or halve: fewer prompts in a call where device memory runs out.
        threads: per operator; by default the cores of this process.
        progress: show bars, or lines where there is no terminal.

    Returns:
        What was labelled: `records`, one a case, each with its `dice` by label.

    Raises:
        InputError: task, settings or folder are wrong, or a case cannot be read; finished cases are kept.
        ExportError: the model cannot be loaded or exported.
        RunnerError: the backend or device cannot be had, or answers with NaN.
    """
    from benchmark.labelling.job import label_task
    from benchmark.labelling.settings import parse_settings
    from benchmark.measure.environment import available_cores

    with _told_in_python(), _shown(progress) as shown:
        settings = parse_settings(
            model=model, checkpoint=checkpoint, prompt=prompt, per=per, masks=masks, min_pixels=min_pixels, seed=seed,
            backend=backend, device=device, precision=precision, prompts_per_call=prompts_per_call,
            on_out_of_memory=on_out_of_memory, threads=available_cores() if threads is None else threads,
            channel=channel, window=window, labels=labels or None,
        )  # fmt: skip
        return label_task(Path(data), settings, Path(out), shown)


def export_sam(
    out: PathLike,
    *,
    model: str = "litemedsam",
    checkpoint: PathLike | None = None,
    random_weights: int | None = None,
    masks: Literal["one", "three", "all"] = "one",
    precision: str = "fp32",
    data: PathLike | None = None,
    slices: int = 2,
    progress: bool = False,
) -> Manifest:
    """Exports a SAM's encoder and decoder to ONNX, checked against PyTorch, as `sambench export sam` does.

    Args:
        out: folder for encoder.onnx, decoder.onnx and manifest.json.
        model: vit_b, vit_l, vit_h, medsam, mobilesam or litemedsam.
        checkpoint: weights; by default the package's or the fetched ones.
        random_weights: a seed; then there is no checkpoint: good for latency, worthless for accuracy.
        masks: one (for boxes and clear prompts), three (ambiguous points), or all four.
        precision: fp32, fp16, int8 or int8-static.
        data: an MSD task folder to compare on, and to calibrate int8-static with; by default a phantom.
        slices: how many of it; 0 leaves the parity ladder out.
        progress: tell the steps.

    Returns:
        What manifest.json holds.

    Raises:
        InputError: the data cannot be read, or the precision needs slices.
        ExportError: the model cannot be loaded or exported, or the folder holds something else.
    """
    from benchmark.export_job import sam_artifact

    with _told_in_python(), _steps(f"export {model}", progress) as on_step:
        return sam_artifact(
            Path(out), model, _path(checkpoint), random_weights, masks, precision, _path(data), slices, on_step
        )


def export_unet(
    out: PathLike,
    checkpoint: PathLike,
    *,
    network: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    patch: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 1,
    precision: str = "fp32",
    data: PathLike | None = None,
    windows: int = 4,
    progress: bool = False,
) -> Manifest:
    """Exports a segmentation network to ONNX, checked against PyTorch, as `sambench export unet` does.

    Args:
        out: folder for unet.onnx and manifest.json.
        checkpoint: a UNet that sambench trained; a YAML file that describes a network of MONAI's; a MONAI bundle's
            folder; a trained nnU-Net v2 model's folder; or a state dict, with `network`.
        network: of a state dict: UNet, BasicUNet, DynUNet, AttentionUnet or SegResNet.
        arguments: of a state dict: the network's.
        patch: of a state dict: voxels of a window.
        labels: of a state dict: names of its channels.
        in_channels: of a state dict: channels of the image.
        precision: fp32, fp16, int8 or int8-static.
        data: an MSD task folder to compare on, and to calibrate int8-static with; by default a phantom.
        windows: how many of it; 0 leaves the parity ladder out.
        progress: tell the steps.

    Returns:
        What manifest.json holds.

    Raises:
        InputError: the data cannot be read, the precision needs windows, or the description is missing or too much.
        ExportError: the network cannot be loaded or exported, or the folder holds something else.
    """
    from benchmark.export_job import described_network, unet_artifact

    with _told_in_python(), _steps("export the UNet", progress) as on_step:
        described = described_network(network, arguments, patch, labels, in_channels)
        return unet_artifact(Path(out), Path(checkpoint), described, precision, _path(data), windows, on_step)


def phantom(folder: PathLike, *, cases: int = 6, size: int = 128, slices: int = 24, seed: int = 0) -> Path:
    """Writes a made-up abdominal CT task, to try things on where there is no data.

    Args:
        folder: of task folders.
        cases: how many volumes.
        size: voxels along x and along y; the patient keeps his size of 384 mm.
        slices: axial ones, over 144 mm.
        seed: another one, other patients.

    Returns:
        The task folder.

    Raises:
        InputError: a number is too small, or the folder cannot be used.
    """
    from benchmark.data.phantom import PhantomSpec, write_phantom

    spacing = (384 / max(size, 1), 384 / max(size, 1), 144 / max(slices, 1))
    return write_phantom(Path(folder), PhantomSpec(cases, seed, size, slices, spacing))


class _Quiet:
    """A progress that shows nothing; what a reader must know stands in the results too."""

    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        return lambda amount, note: None

    def say(self, text: str) -> None:
        pass


@contextmanager
def _shown(progress: bool) -> Iterator[Progress]:
    if not progress:
        yield _Quiet()
        return
    bars = Bars()
    with bars.bars:
        yield bars


@contextmanager
def _steps(title: str, progress: bool) -> Iterator[Callable[[str], None]]:
    if not progress:
        yield lambda step: None
        return
    with steps(title) as on_step:
        yield on_step


@contextmanager
def _told_in_python() -> Iterator[None]:
    """The commands name their options in what they say of a mistake; here these are arguments."""
    try:
        yield
    except InputError as error:
        told = OPTION.sub(lambda found: found[1].replace("-", "_") if found[1] else found[0], str(error))
        raise InputError(told) from None


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else Path(given)
