"""An artifact held against its manifest and against PyTorch once more, perhaps on another machine or runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from exporters.hold import verify
from exporters.manifest import (
    RANDOM_WEIGHTS,
    ArtifactChangedError,
    ExportError,
    FileEntry,
    Ladder,
    Manifest,
    WindowLadder,
    load_manifest,
)
from exporters.parity import Sample, climb, pytorch_answers
from exporters.sam import SAM_MODELS, LoadedSam, load_sam
from exporters.unet import LoadedUNet, load_unet
from exporters.unet_config import UNetConfig
from exporters.window_parity import WindowSample, climb_windows, pytorch_logits


@dataclass(frozen=True)
class Verified:
    """What a verification found; there is nothing to raise about.

    Attributes:
        manifest: as it was written.
        errors: file → output → largest difference from PyTorch now; only of fp32 files.
        ladder: climbed again; None where there were no samples.
    """

    manifest: Manifest
    errors: dict[str, dict[str, float]]
    ladder: Ladder | WindowLadder | None


def verify_artifact(
    folder: Path, checkpoint: Path | None = None, samples: Sequence[Sample | WindowSample] = (),
    on_step: Callable[[str], None] = lambda step: None,
) -> Verified:  # fmt: skip
    """Checks hashes, then runs PyTorch and the files again.

    Args:
        folder: of the artifact.
        checkpoint: the weights it was made from; None finds them where the export found them.
        samples: slices of a SAM or windows of a UNet for the parity ladder; none leaves it out.
        on_step: told what is being done.

    Raises:
        ArtifactChangedError: a file changed, computes something else than PyTorch, or fails a gate that it passed.
        ExportError: no manifest, or the weights it was made from are not to be had.
    """
    on_step("check the hashes")
    manifest = load_manifest(folder)
    loaded = _reload(manifest, folder, checkpoint)
    parts = (loaded.encoder, loaded.decoder) if isinstance(loaded, LoadedSam) else (loaded.unet,)
    errors = {}
    for part in parts:
        entry = _entry(manifest, folder, part.name)
        if entry.precision == "fp32":
            on_step(f"hold the {part.name} against PyTorch")
            with _changed(folder):
                errors[part.name] = verify(part, folder / entry.file, part.feeds())
    ladder = None
    if samples:
        on_step("climb the parity ladder")
        ladder = _climb(folder, loaded, samples)
        if ladder.gate == "fail" and _must_pass(manifest, ladder):
            raise ArtifactChangedError(f"{folder}: fails the gate that it passed: {ladder.gate_reason}")
    return Verified(manifest, errors, ladder)


def _climb(
    folder: Path, loaded: LoadedSam | LoadedUNet, samples: Sequence[Sample | WindowSample]
) -> Ladder | WindowLadder:
    if isinstance(loaded, LoadedUNet):
        windows = [sample for sample in samples if isinstance(sample, WindowSample)]
        logits = pytorch_logits(loaded.unet.module, windows)
        with _changed(folder):
            return climb_windows(folder, windows, logits, list(loaded.config.labels.values()))
    slices = [sample for sample in samples if isinstance(sample, Sample)]
    answers = pytorch_answers(loaded.encoder.module, loaded.decoder.module, slices)
    no_dice = RANDOM_WEIGHTS if loaded.weights.random else None
    with _changed(folder):
        return climb(folder, answers, loaded.model.trained_on, loaded.model.fit, no_dice)


def _must_pass(manifest: Manifest, ladder: Ladder | WindowLadder) -> bool:
    """Whether a failed gate tells of a change: fp32 passes on any slices, a smaller type on those that it passed on."""
    if manifest.precision == "fp32":
        return manifest.gate != "fail"
    return manifest.gate == "pass" and manifest.parity is not None and manifest.parity.samples == ladder.samples


def _entry(manifest: Manifest, folder: Path, part: str) -> FileEntry:
    entry = manifest.files.get(part)
    if entry is None or entry.file != f"{part}.onnx":  # the name that the export gives and the ladder takes
        raise ArtifactChangedError(f"{folder}: its manifest names no file for the {part}; export the model again")
    return entry


@contextmanager
def _changed(folder: Path) -> Iterator[None]:
    """A file that was verified once and cannot be run now, or computes something else, was changed."""
    try:
        yield
    except ExportError as error:
        raise ArtifactChangedError(f"{folder}: {error}") from None


def _reload(manifest: Manifest, folder: Path, checkpoint: Path | None) -> LoadedSam | LoadedUNet:
    weights = manifest.weights
    if manifest.model in SAM_MODELS:
        if checkpoint is None and weights.source == "checkpoint":
            raise ExportError(f"{folder}: was made from {weights.file}; give that file with --checkpoint")
        loaded: LoadedSam | LoadedUNet = load_sam(
            manifest.model, checkpoint, weights.seed, manifest.settings.get("masks", "one")
        )
    elif checkpoint is None:
        raise ExportError(f"{folder}: was made from {weights.file}; give that file with --checkpoint")
    else:
        loaded = load_unet(checkpoint, unet_settings(manifest))
    if loaded.weights.key != weights.key:
        raise ExportError(
            f"{folder}: was made from other weights ({weights.file}, SHA-256 {str(weights.sha256)[:12]}…) than "
            f"{loaded.weights.file}; give those with --checkpoint"
        )
    return loaded


def unet_settings(manifest: Manifest) -> UNetConfig | None:
    """What a UNet's artifact says of its network; None if it says nothing of the kind."""
    try:
        return UNetConfig.model_validate(manifest.settings)
    except ValidationError:
        return None
