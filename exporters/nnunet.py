"""A trained nnU-Net v2 model: its folder holds plans, dataset and one checkpoint a fold.

The folder is data from strangers. Plans name classes that nnU-Net imports, so those are looked at first; the checkpoint
is read as tensors and plain values alone, where nnU-Net's own code unpickles it.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import pydoc
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from torch import nn

from exporters.checkpoint import load_checkpoint, load_state
from exporters.manifest import ExportError, Weights, sha256_files
from exporters.mapping import read_mapping
from exporters.unet_config import NnUNet, SlidingWindow, UNetConfig
from exporters.unet_networks import BuiltUNet, SegmentationUNet, ready

PLANS, DATASET, CHECKPOINT = "plans.json", "dataset.json", "checkpoint_final.pth"

STEP = 0.5
"""nnU-Net's own: `tile_step_size` of `nnUNetPredictor`."""

SIGMA = 1 / 8
"""nnU-Net's own: `sigma_scale` of `compute_gaussian`."""

ARCHITECTURES = re.compile(r"dynamic_network_architectures\.architectures\.\w+\.\w+")
LAYERS = re.compile(
    r"torch\.nn\.(modules\.\w+\.)?\w+|dynamic_network_architectures\.building_blocks\.\w+\.\w+", re.ASCII
)
"""What plans may have imported: an architecture, and the layers that it is made of."""


def is_nnunet(path: Path) -> bool:
    """Whether a path is a model's folder, or a checkpoint in one."""
    return (path / PLANS).exists() or _is_fold(path.parent)


def _is_fold(folder: Path) -> bool:
    return folder.name.startswith("fold_") and (folder.parent / PLANS).exists()


def load_nnunet(path: Path) -> BuiltUNet:
    """Loads the network of one fold with the sliding windows and the preprocessing that nnU-Net uses itself.

    Args:
        path: the model's folder, of which fold 0, else `fold_all`, else the only fold is taken; or one checkpoint.

    Raises:
        ExportError: `nnunetv2` is not installed; a file is missing or damaged; or the model is a cascade, trained on
            regions, or of a class that is not nnU-Net's own.
    """
    checkpoint = path if _is_fold(path.parent) else _fold(path) / CHECKPOINT
    folder = checkpoint.parent.parent
    plans, dataset = read_mapping(folder / PLANS), read_mapping(folder / DATASET)
    content = load_checkpoint(checkpoint, _numbers())
    if not isinstance(content, dict) or "network_weights" not in content:
        raise ExportError(f"{checkpoint}: holds no network_weights; give a checkpoint of nnU-Net v2")
    name = _configuration_name(content, folder)
    labels, in_channels = _labels(dataset, folder / DATASET), _in_channels(dataset, folder / DATASET)
    configuration = _configuration(plans, name, folder / PLANS)
    try:
        config = UNetConfig(
            network="nnunet",
            in_channels=in_channels,
            labels=labels,
            windows=SlidingWindow(
                patch=tuple(configuration.patch_size),
                overlap=1 - STEP,
                blending="gaussian",
                sigma=SIGMA,
                steps="even",
                mirror_axes=tuple(content.get("inference_allowed_mirroring_axes") or ()),
            ),
            preprocessing=NnUNet(plans=plans, configuration=name, dataset=dataset),
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise ExportError(
            f"{folder / PLANS}: the patch of {name} or the mirroring in {checkpoint} is damaged ({error})"
        ) from None
    network = SegmentationUNet(_build(configuration, config, folder / PLANS))
    load_state(network.network, content["network_weights"], checkpoint)
    files = (checkpoint, folder / PLANS, folder / DATASET)
    weights = Weights(
        source="checkpoint",
        file="/".join(checkpoint.parts[-3:]),
        sha256=sha256_files(files),
    )
    return BuiltUNet(config, ready(network, config, checkpoint), weights)


def _fold(folder: Path) -> Path:
    folds = sorted(found.parent for found in folder.glob(f"fold_*/{CHECKPOINT}"))
    for wanted in ("fold_0", "fold_all"):
        if folder / wanted in folds:
            return folder / wanted
    if len(folds) == 1:
        return folds[0]
    if folds:
        names = ", ".join(fold.name for fold in folds)
        raise ExportError(f"{folder}: has {names}; give the {CHECKPOINT} of one of them instead of the folder")
    raise ExportError(f"{folder}: has no fold_*/{CHECKPOINT}; train the model to its end, or name one checkpoint in it")


def _numbers() -> list[Any]:
    """What the trainer's logged losses are made of: numpy's scalars, under their new and their old name."""
    scalar = np.float64(0).__reduce__()[0]  # private, and moved between versions
    kinds = [type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *kinds]


def _configuration_name(content: Mapping[str, Any], folder: Path) -> str:
    arguments = content.get("init_args")
    name = arguments.get("configuration") if isinstance(arguments, dict) else None
    if not isinstance(name, str):  # folders are named TRAINER__PLANS__CONFIGURATION
        name = folder.name.rpartition("__")[2]
    if name == "3d_lowres":
        raise ExportError(
            f"{folder}: 3d_lowres is the first stage of a cascade, which sambench does not run; give 2d or 3d_fullres"
        )
    return name


def _labels(dataset: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Value and name of each channel after the background's."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ExportError(f"{path}: labels is no object of names and values; get the model's folder again")
    if dataset.get("regions_class_order") or any(isinstance(v, list) and len(v) > 1 for v in labels.values()):
        raise ExportError(
            f"{path}: labels holds regions, whose channels overlap; sambench compares labels that exclude each other, "
            "so train the model on plain labels"
        )
    values: dict[int, str] = {}
    for name, value in labels.items():
        plain = value[0] if isinstance(value, list) and value else value
        if not str(plain).isdecimal():
            raise ExportError(f"{path}: labels.{name} is {value!r} and not a number; get the model's folder again")
        if name != "ignore":  # has no channel
            values[int(plain)] = name
    if sorted(values) != list(range(len(values))):
        raise ExportError(f"{path}: labels has the values {sorted(values)} instead of 0, 1, 2, …; nnU-Net needs those")
    return {value: values[value] for value in sorted(values) if value}


def _in_channels(dataset: Mapping[str, Any], path: Path) -> int:
    names = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(names, dict) or not names:
        raise ExportError(f"{path}: channel_names is missing; get the model's folder again")
    return len(names)


def _configuration(plans: dict[str, Any], name: str, path: Path) -> Any:
    """nnU-Net's view of one configuration: inheritance resolved, plans of its first versions translated."""
    with _nnunet(path):
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        configuration = PlansManager(plans).get_configuration(name)
        if configuration.previous_stage_name is not None:
            raise ExportError(f"{path}: {name} is a stage of a cascade, which sambench does not run; give 3d_fullres")
        return configuration


def _build(configuration: Any, config: UNetConfig, path: Path) -> nn.Module:
    with _nnunet(path):
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

        architecture, arguments = configuration.network_arch_class_name, configuration.network_arch_init_kwargs
        imported = configuration.network_arch_init_kwargs_req_import
        _require_class(architecture, ARCHITECTURES, "network_class_name", path)
        for key in imported:
            if arguments[key] is not None:
                _require_class(arguments[key], LAYERS, f"arch_kwargs.{key}", path)
        network: nn.Module = get_network_from_plans(
            architecture, arguments, imported, config.in_channels, config.out_channels, allow_init=False,
            deep_supervision=False,
        )  # fmt: skip
        return network


def _require_class(name: Any, allowed: re.Pattern[str], field: str, path: Path) -> None:
    """nnU-Net imports whatever name stands there, and importing runs code."""
    if not isinstance(name, str) or not allowed.fullmatch(name):
        raise ExportError(
            f"{path}: {field} is {name!r}; only nnU-Net's own architectures (dynamic_network_architectures) and layers "
            "of torch.nn are imported"
        )
    found = pydoc.locate(name)
    # None: moved since, and nnU-Net looks for it by its name within the same package.
    if found is not None and not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ExportError(f"{path}: {field} is {name!r}, which is no network; get the model's folder again")


@contextlib.contextmanager
def _nnunet(path: Path) -> Iterator[None]:
    """nnU-Net checks little of what it reads, and prints advice about environment variables that are not needed here.

    Raises:
        ExportError: it is not installed, or anything goes wrong in it.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ExportError:
        raise
    except ModuleNotFoundError as error:
        raise ExportError(
            f'{path}: is of nnU-Net, and a package is missing ({error.name}); run pip install "sambench[nnunet]"'
        ) from None
    except Exception as error:
        raise ExportError(
            f"{path}: nnU-Net cannot build its network ({type(error).__name__}: {error}); get the model's folder again"
        ) from None
