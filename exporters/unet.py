"""A segmentation network: from what people bring to ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporters.base import export_artifact
from exporters.checkpoint import load_checkpoint, load_state
from exporters.exportable import Exportable
from exporters.manifest import ExportError, Manifest, Weights, sha256_file
from exporters.nnunet import is_nnunet, load_nnunet
from exporters.unet_config import UNetConfig
from exporters.unet_networks import BuiltUNet, build_unet, exportable, ready

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

    def export(self, out_dir: Path) -> Manifest:
        """Writes unet.onnx and manifest.json; see `export_artifact`."""
        settings = self.config.model_dump(mode="json")
        return export_artifact(out_dir, self.config.name, self.weights, (self.unet,), settings)


def load_unet(path: Path) -> LoadedUNet:
    """Loads a segmentation network, whatever `path` is.

    Args:
        path: a checkpoint that sambench trained, or a trained nnU-Net v2 model's folder (or one checkpoint in it).

    Raises:
        ExportError: it is missing, damaged, or of another kind.
    """
    built = load_nnunet(path) if is_nnunet(path) else _load_own(path)
    return LoadedUNet(built.config, built.weights, exportable(built))


def _load_own(path: Path) -> BuiltUNet:
    content = load_checkpoint(path)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ExportError(f"{path}: no UNet checkpoint of sambench; train one with `sambench run`")
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
