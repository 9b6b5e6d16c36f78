"""A segmentation network: from what people bring to ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporters.base import ExportOptions, export_artifact, refuse_foreign_folder
from exporters.bundle import is_bundle, load_bundle
from exporters.checkpoint import load_checkpoint, load_state
from exporters.described import load_description, with_state
from exporters.exportable import Exportable
from exporters.manifest import ExportError, Manifest, Weights, sha256_file
from exporters.nnunet import is_nnunet, load_nnunet
from exporters.precision import unet_reduction
from exporters.unet_config import UNetConfig
from exporters.unet_networks import BuiltUNet, build_unet, exportable, ready
from exporters.window_parity import WindowSample, climb_windows, pytorch_logits

__all__ = ["CHECKPOINT_FORMAT", "LoadedUNet", "build_unet", "load_unet", "unet_checkpoint"]

CHECKPOINT_FORMAT = "sambench-unet-2"


def unet_checkpoint(config: UNetConfig, network: Any) -> dict[str, Any]:
    """What `torch.save` writes: plain values and tensors only, so that it loads with `weights_only=True`."""
    return {"format": CHECKPOINT_FORMAT, "config": config.model_dump(mode="json"), "state_dict": network.state_dict()}


@dataclass(frozen=True)
class LoadedUNet:
    """A trained network, what its channels mean, and how to export it."""

    config: UNetConfig
    weights: Weights
    unet: Exportable

    def export(
        self, out_dir: Path, precision: str = "fp32", samples: Sequence[WindowSample] = (),
        on_step: Callable[[str], None] = lambda step: None,
    ) -> Manifest:  # fmt: skip
        """Writes unet.onnx and manifest.json.

        Args:
            out_dir: see `export_artifact`.
            precision: one of `exporters.precision.PRECISIONS`.
            samples: windows to climb the parity ladder on, and to calibrate `int8-static` with.
            on_step: told what is being done.

        Raises:
            ExportError: see `export_artifact`; or the precision is unknown or needs samples.
        """
        refuse_foreign_folder(out_dir)  # before PyTorch runs for minutes
        reduction = unet_reduction(precision, [feed for sample in samples for feed in sample.feeds()])
        parity = None
        if samples:
            on_step("run PyTorch on the windows")
            answers = pytorch_logits(self.unet.module, samples)
            names = list(self.config.labels.values())
            parity = partial(climb_windows, samples=samples, answers=answers, labels=names)
        settings = self.config.model_dump(mode="json")
        options = ExportOptions(reduction, parity, on_step)
        return export_artifact(out_dir, self.config.name, self.weights, (self.unet,), settings, options)


def load_unet(path: Path, described: UNetConfig | None = None) -> LoadedUNet:
    """Loads a segmentation network, whatever `path` is.

    Args:
        path: a checkpoint that sambench trained; a YAML file that describes a network of MONAI's; a MONAI bundle's
            folder; a trained nnU-Net v2 model's folder, or one checkpoint in it; or a state dict.
        described: what a state dict is of; the others say so themselves.

    Raises:
        ExportError: it is missing, damaged, or of another kind.
    """
    if is_nnunet(path):
        built = load_nnunet(path)
    elif is_bundle(path):
        built = load_bundle(path)
    elif (path / "unet.pt").is_file():
        raise ExportError(f"{path}: is the folder of a training; give {path / 'unet.pt'}")
    elif path.is_dir():
        raise ExportError(
            f"{path}: neither a MONAI bundle (configs/, models/) nor a trained nnU-Net v2 model (plans.json, fold_*/); "
            "give one of those folders, or the file of a checkpoint"
        )
    elif path.suffix in {".yaml", ".yml"}:
        built = load_description(path)
    else:
        built = _load_file(path, described)
    return LoadedUNet(built.config, built.weights, exportable(built))


def _load_file(path: Path, described: UNetConfig | None) -> BuiltUNet:
    content = load_checkpoint(path)
    if isinstance(content, dict) and content.get("format") == CHECKPOINT_FORMAT:
        return _own(content, path)
    if described is not None:
        return with_state(described, content, path, path)
    raise ExportError(
        f"{path}: no UNet checkpoint of sambench; say what network it is of with --network, --patch and --labels, or "
        "in a YAML file"
    )


def _own(content: dict[str, Any], path: Path) -> BuiltUNet:
    try:
        # JSON knows text keys only; pydantic turns "1" back into 1.
        config = UNetConfig.model_validate(content["config"])
    except (KeyError, ValidationError) as error:
        raise ExportError(f"{path}: its configuration is damaged ({type(error).__name__}); train it again") from None
    try:
        network = build_unet(config)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from None
    load_state(network, content.get("state_dict"), path)
    weights = Weights(source="checkpoint", file=path.name, sha256=sha256_file(path))
    return BuiltUNet(config, ready(network, config, path), weights)
