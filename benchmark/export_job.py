"""An export from start to end: what it is compared on, the weights, ONNX, the check. For the command and for Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.data.msd import open_task
from benchmark.errors import InputError
from benchmark.samples import phantom_samples, task_samples
from benchmark.window_samples import phantom_windows, task_windows
from exporters.base import refuse_foreign_folder
from exporters.described import describe
from exporters.manifest import Manifest, load_manifest
from exporters.parity import Sample
from exporters.sam import SAM_MODELS, SamModel, find_model, load_sam
from exporters.sam_modules import Masks
from exporters.unet import load_unet
from exporters.unet_config import UNetConfig
from exporters.verify import unet_settings
from exporters.window_parity import WindowSample

OnStep = Callable[[str], None]
CALIBRATES = "int8-static"


def sam_artifact(
    out: Path,
    model: str,
    checkpoint: Path | None,
    seed: int | None,
    masks: Masks,
    precision: str,
    data: Path | None,
    slices: int,
    on_step: OnStep,
) -> Manifest:
    """Exports a SAM's encoder and decoder.

    Args:
        out: folder for encoder.onnx, decoder.onnx and manifest.json.
        model: its name in the registry.
        checkpoint: weights; None for the package's or the fetched ones.
        seed: of random weights; None for trained ones.
        masks: which masks the decoder answers with.
        precision: of weights and arithmetic.
        data: an MSD task folder to compare on; None for a phantom.
        slices: how many slices of it.
        on_step: told what is being done.

    Raises:
        InputError: the data cannot be read, or the precision needs slices.
        ExportError: the model cannot be loaded or exported, or the folder holds something else.
    """
    if precision == CALIBRATES and slices == 0:
        raise InputError(f"--slices: {CALIBRATES} calibrates on slices; give 1 or more")
    variant = find_model(model)
    refuse_foreign_folder(out)
    samples = sam_samples(variant, data, slices)  # first: a damaged task is told before anything heavy begins
    on_step("load the weights")
    return load_sam(model, checkpoint, seed, masks).export(out, precision, samples, on_step)


def unet_artifact(
    out: Path,
    checkpoint: Path,
    described: UNetConfig | None,
    precision: str,
    data: Path | None,
    windows: int,
    on_step: OnStep,
) -> Manifest:
    """Exports a segmentation network.

    Args:
        out: folder for unet.onnx and manifest.json.
        checkpoint: any kind of network that `exporters.unet.load_unet` reads.
        described: what network it is, for a state dict alone.
        precision: of weights and arithmetic.
        data: an MSD task folder to compare on; None for a phantom.
        windows: how many windows of it.
        on_step: told what is being done.

    Raises:
        InputError: the data cannot be read, the precision needs windows, or the network needs no description.
        ExportError: the network cannot be loaded or exported, or the folder holds something else.
    """
    if precision == CALIBRATES and windows == 0:
        raise InputError(f"--windows: {CALIBRATES} calibrates on windows; give 1 or more")
    refuse_foreign_folder(out)
    on_step("load the weights")
    loaded = load_unet(checkpoint, described)
    if described is not None and loaded.config != described:
        raise InputError(f"--network: {checkpoint} says itself what network it is; leave the option out")
    samples = unet_samples(loaded.config, data, windows)
    return loaded.export(out, precision, samples, on_step)


def described_network(
    network: str | None,
    arguments: Mapping[str, Any] | None,
    patch: Sequence[Any] | None,
    labels: Sequence[str] | None,
    in_channels: int,
) -> UNetConfig | None:
    """What network a state dict is of; None where nothing describes one.

    Raises:
        InputError: the description lacks something.
        ExportError: it is no network's.
    """
    if network is None:
        if patch or labels or arguments or in_channels != 1:
            raise InputError("--network: missing; --arguments, --patch, --labels and --in-channels describe one")
        return None
    fields: dict[str, Any] = {"network": network, "arguments": arguments or {}, "in_channels": in_channels}
    for name, given in (("patch", patch), ("labels", labels)):
        if given is None:
            raise InputError(f"--{name}: missing; a state dict does not tell it")
        fields[name] = list(given)
    return describe(fields, "options")


def sam_samples(model: SamModel, data: Path | None, count: int) -> Sequence[Sample]:
    """Slices that a SAM's artifact is compared on."""
    if count == 0:
        return []
    return phantom_samples(model, count) if data is None else task_samples(open_task(data), model, count)


def unet_samples(config: UNetConfig, data: Path | None, count: int) -> Sequence[WindowSample]:
    """Windows that a UNet's artifact is compared on."""
    if count == 0:
        return []
    return phantom_windows(config, count) if data is None else task_windows(open_task(data), config, count)


def samples_for(folder: Path, data: Path | None, slices: int, windows: int) -> Sequence[Sample | WindowSample]:
    """What an artifact is compared on: slices for a SAM, windows for a UNet."""
    manifest = load_manifest(folder)
    if model := SAM_MODELS.get(manifest.model):
        return sam_samples(model, data, slices)
    config = unet_settings(manifest)
    return [] if config is None else unet_samples(config, data, windows)
