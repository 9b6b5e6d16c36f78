"""A MONAI bundle folder: its network, its sliding windows and its preprocessing, taken from `configs/inference`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporters.bundle_config import BundleConfig
from exporters.checkpoint import load_checkpoint, load_state
from exporters.manifest import ExportError, Weights, sha256_files
from exporters.mapping import read_mapping, told
from exporters.unet_config import UNetConfig
from exporters.unet_networks import BuiltUNet, build_unet, network_class, ready

INFERENCE = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
METADATA, MODEL = "configs/metadata.json", "models/model.pt"

LOADING = frozenset({"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord", "ToDeviced"})
"""Transforms that bring an image into memory, channels first: sambench has done so already."""

PER_KEY = ("mode", "padding_mode", "align_corners", "dtype")
"""Arguments that may be a list with one entry for each key."""

ITEM_FIELDS = ("_desc_", "_disabled_", "_mode_", "_requires_")
"""MONAI's own fields of an item beside `_target_`."""


def is_bundle(path: Path) -> bool:
    """Whether a path is a folder that is laid out as a bundle, or its weights."""
    return (path / "configs").is_dir() or (path.parts[-2:] == ("models", "model.pt") and is_bundle(path.parent.parent))


def load_bundle(path: Path) -> BuiltUNet:
    """Loads a bundle's network.

    Args:
        path: the bundle's folder, or its weights.

    Raises:
        ExportError: a file is missing or damaged; what is needed stands there as an expression; the network, the
            inferer or a transform is not one that sambench knows; or the bundle's channels overlap.
    """
    folder = path if path.is_dir() else path.parent.parent
    inference = next((folder / name for name in INFERENCE if (folder / name).is_file()), None)
    if inference is None:
        raise ExportError(f"{folder}: is a bundle without {INFERENCE[0]}; give one that can segment")
    config = BundleConfig(inference)
    _require_exclusive_channels(config)
    name, arguments = _network(config)
    channels = {key: arguments.pop(key) for key in ("spatial_dims", "in_channels", "out_channels")}
    where = f"{inference}: network_def"
    for key, value in channels.items():
        if not isinstance(value, int) or value < 1:
            raise ExportError(f"{where}::{key} is {value!r}; write a whole number there")
    metadata = folder / METADATA
    settings = {
        "network": name,
        "arguments": arguments,
        "in_channels": channels["in_channels"],
        "labels": _labels(metadata, channels["out_channels"]),
        "windows": _windows(config, channels["spatial_dims"]),
        "preprocessing": {"kind": "transforms", "transforms": _transforms(config)},
    }
    try:
        unet = UNetConfig.model_validate(settings)
        network = build_unet(unet, any_of_monai=True)
    except ValidationError as error:
        raise ExportError(f"{inference}: {told(error)}") from None
    except ExportError as error:
        raise ExportError(f"{where}: {error}") from None
    model = folder / MODEL
    load_state(network.network, load_checkpoint(model), model)
    files = [model, inference, *([metadata] if metadata.is_file() else [])]
    weights = Weights(source="checkpoint", file=f"{folder.resolve().name}/{MODEL}", sha256=sha256_files(files))
    return BuiltUNet(unet, ready(network, unet, inference), weights)


def _require_exclusive_channels(config: BundleConfig) -> None:
    """Where channels overlap, the largest logit says nothing; postprocessing tells, and nothing else does."""
    found = config.raw("postprocessing::transforms")
    for step in found if isinstance(found, list) else []:
        name = str(step.get("_target_", "")).rpartition(".")[2] if isinstance(step, dict) else ""
        if (name == "Activationsd" and step.get("sigmoid")) or (name == "AsDiscreted" and step.get("threshold")):
            raise ExportError(
                f"{config.path}: postprocessing has {name} with a sigmoid or threshold, so the network's channels "
                "overlap; sambench compares labels that exclude each other, so give a network with softmax"
            )


def _network(config: BundleConfig) -> tuple[str, dict[str, Any]]:
    """The class's name and all its arguments, those with defaults among dimensions and channels included."""
    definition = _item(config, "network_def")
    target = definition.pop("_target_")
    kind = network_class(target, any_of_monai=True) if _of(target, "networks.nets") else None
    if kind is None:
        raise ExportError(
            f"{config.path}: network_def is {target!r}; only networks of monai.networks.nets with spatial_dims, "
            "in_channels and out_channels are built"
        )
    parameters = inspect.signature(kind).parameters
    for key in ("spatial_dims", "in_channels", "out_channels"):
        default = parameters[key].default
        definition.setdefault(key, None if default is inspect.Parameter.empty else default)
    return kind.__name__, definition


def _of(target: str, package: str) -> bool:
    """Whether a name is of a package of MONAI's; MONAI's own may stand without one."""
    return "." not in target or target.startswith(f"monai.{package}.")


def _item(config: BundleConfig, field: str) -> dict[str, Any]:
    """A component of the configuration: a target and its arguments."""
    item = config.value(field)
    if not isinstance(item, dict) or not isinstance(item.get("_target_"), str):
        raise ExportError(f"{config.path}: {field} is no component with a _target_; write one there")
    return {key: value for key, value in item.items() if key not in ITEM_FIELDS}


def _windows(config: BundleConfig, dims: int) -> dict[str, Any]:
    raw = config.raw("inferer")
    target = raw.get("_target_") if isinstance(raw, dict) else None
    if str(target).removeprefix("monai.inferers.").removeprefix("inferer.") != "SlidingWindowInferer":
        raise ExportError(f"{config.path}: inferer is {target!r}; write a SlidingWindowInferer with its roi_size there")

    def value(name: str, default: Any) -> Any:
        # One by one: a device beside them is usually an expression, and not of interest.
        return config.value(f"inferer::{name}", default)

    if value("padding_mode", "constant") != "constant" or value("cval", 0) != 0:
        raise ExportError(f"{config.path}: inferer pads with {value('padding_mode', 'cval')!r}; sambench pads with 0")
    size = value("roi_size", None)
    patch = [size] * dims if isinstance(size, int) else size
    if not isinstance(patch, list) or len(patch) != dims or not all(isinstance(n, int) and n > 0 for n in patch):
        raise ExportError(f"{config.path}: inferer::roi_size is {size!r}; write {dims} positive sizes there")
    return {
        "patch": patch,
        "overlap": _same(config, "overlap", value("overlap", 0.25)),
        "blending": value("mode", "constant"),
        "sigma": _same(config, "sigma_scale", value("sigma_scale", 0.125)),
    }


def _same(config: BundleConfig, name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(set(map(str, value))) != 1:
        raise ExportError(f"{config.path}: inferer::{name} is {value}; sambench takes one value for all axes")
    return value[0]


def _transforms(config: BundleConfig) -> list[dict[str, Any]]:
    """The transforms that change the image, as they stand."""
    field = "preprocessing::transforms" if config.has("preprocessing::transforms") else "preprocessing"
    raw = config.raw(field)
    if isinstance(raw, dict):  # the item was a reference to a Compose
        raw = raw.get("transforms")
    if not isinstance(raw, list):
        raise ExportError(f"{config.path}: preprocessing has no list of transforms; write a Compose with one there")
    chain = []
    for index, step in enumerate(raw):
        target = step.get("_target_") if isinstance(step, dict) else None
        if not isinstance(target, str) or not _of(target, "transforms"):
            raise ExportError(
                f"{config.path}: {field}::{index} is {target or step!r}; only transforms of monai.transforms are built"
            )
        name = target.rpartition(".")[2]
        where = f"{field}::{index}"
        if name in LOADING or str(config.resolved(step.get("_disabled_"), f"{where}::_disabled_")).lower() == "true":
            continue
        given = {key: value for key, value in step.items() if key not in (*ITEM_FIELDS, "_target_")}
        arguments = _on_image(config, where, config.resolved(given, where))
        if arguments is not None:
            chain.append({"_target_": f"monai.transforms.{name}", **arguments})
    return chain


def _on_image(config: BundleConfig, where: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of a transform for the image alone; None if it is for the label alone."""
    keys = arguments.get("keys")
    names = [keys] if isinstance(keys, str) else keys
    if names == ["label"]:
        return None
    if not isinstance(names, list) or "image" not in names:
        raise ExportError(f"{config.path}: {where}::keys is {keys!r}; sambench has an `image`, so name that")
    place = names.index("image")
    for key in PER_KEY:
        value = arguments.get(key)
        if isinstance(value, list) and len(value) == len(names):
            arguments[key] = value[place]
    if arguments.get("source_key", "image") != "image":
        raise ExportError(f"{config.path}: {where}::source_key is {arguments['source_key']!r}; there is `image` alone")
    return {**arguments, "keys": "image"}


def _labels(metadata: Path, channels: int) -> dict[int, str]:
    """Names of the channels after the background's; a channel's number where the metadata has none."""
    named: Any = read_mapping(metadata) if metadata.is_file() else {}
    for key in ("network_data_format", "outputs", "pred", "channel_def"):
        named = named.get(key) if isinstance(named, dict) else None
    names = named if isinstance(named, dict) else {}
    return {number: str(names.get(str(number), f"channel {number}")) for number in range(1, channels)}
