"""A trained nnU-Net v2 model's folder as its trainer leaves it, but with random weights: training takes minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1, "spleen": 2},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def plans(dims: int) -> dict[str, Any]:
    """Plans of a tiny network, with the keys that nnU-Net's planner writes."""
    patch = [16, 24] if dims == 2 else [8, 16, 16]
    resample = {f"resampling_fn_{what}": "resample_data_or_seg_to_shape" for what in ("data", "seg", "probabilities")}
    options = {"order": 1, "order_z": 0, "force_separate_z": None}
    kwargs = {f"resampling_fn_{what}_kwargs": {"is_seg": what == "seg", **options} for what in ("data", "seg")}
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [4, 8, 8],
            "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
            "kernel_sizes": [[3] * dims] * 3,
            "strides": [[1] * dims, [2] * dims, [2] * dims],
            "n_conv_per_stage": [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    return {
        "dataset_name": "Dataset901_Phantom",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 1.5, 1.5],
        "original_median_shape_after_transp": [12, 40, 40],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 40.0, "median": 40.0, "std": 20.0, "percentile_00_5": -50.0, "percentile_99_5": 150.0}
        },
        "configurations": {
            configuration(dims): {
                "data_identifier": f"nnUNetPlans_{configuration(dims)}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": patch,
                "median_image_size_in_voxels": [40.0] * dims,
                "spacing": [1.5, 1.5] if dims == 2 else [3.0, 1.5, 1.5],
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                **resample,
                **kwargs,
                "resampling_fn_probabilities_kwargs": {"is_seg": False, **options},
                "architecture": architecture,
                "batch_dice": True,
            }
        },
    }


def configuration(dims: int) -> str:
    return "2d" if dims == 2 else "3d_fullres"


def plain_network(dims: int, classes: int = 3) -> nn.Module:
    """The network by its own class, without nnU-Net's plans, and as its trainer builds it: with deep supervision."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(dims)
    conv, norm = ((nn.Conv2d, nn.InstanceNorm2d), (nn.Conv3d, nn.InstanceNorm3d))[dims - 2]
    return PlainConvUNet(
        1, 3, [4, 8, 8], conv, 3, [1, 2, 2], [2, 2, 2], classes, [2, 2], conv_bias=True, norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )  # fmt: skip


def write_fold(folder: Path, fold: str, dims: int, network: nn.Module) -> Path:
    """A checkpoint with what `nnUNetTrainer.save_checkpoint` puts into it, numpy's scalars among the losses."""
    path = folder / fold / "checkpoint_final.pth"
    path.parent.mkdir(parents=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99, nesterov=True)
    losses = [np.float32(0.5), np.float64(0.25)]
    content = {
        "network_weights": network.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {"train_losses": losses, "dice_per_class_or_region": [[np.float64(0.1), np.float32(np.nan)]]},
        "_best_ema": np.float64(0.9),
        "current_epoch": 1,
        "init_args": {
            "plans": plans(dims),
            "configuration": configuration(dims),
            "fold": 0,
            "dataset_json": DATASET,
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1) if dims == 2 else (0, 1, 2),
    }
    torch.save(content, path)
    return path


def write_nnunet(parent: Path, dims: int, fold: str = "fold_0") -> Path:
    """The folder of a model; its weights are those of `plain_network(dims)`."""
    folder = parent / f"nnUNetTrainer__nnUNetPlans__{configuration(dims)}"
    write_fold(folder, fold, dims, plain_network(dims))
    (folder / "plans.json").write_text(json.dumps(plans(dims)), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(DATASET), encoding="utf-8")
    return folder
