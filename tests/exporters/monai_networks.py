"""Tiny networks of every kind that is taken by name, built by MONAI itself."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks import nets
from torch import nn

ARGUMENTS: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
        "deep_supervision": True,
        "deep_supr_num": 1,
    },
    "AttentionUnet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
}


def patch_of(name: str, dims: int) -> tuple[int, ...]:
    """BasicUNet halves four times, and its instance norm needs more than one voxel at the bottom."""
    return (32,) * dims if name == "BasicUNet" else (16, 24, 16)[:dims]


def network_of(name: str, dims: int, seed: int = 0) -> nn.Module:
    """With two labels and random weights, in evaluation mode; batch statistics are not what they began with."""
    torch.manual_seed(seed)
    network: nn.Module = getattr(nets, name)(spatial_dims=dims, in_channels=1, out_channels=3, **ARGUMENTS[name])
    for buffer_name, buffer in network.named_buffers():
        if buffer_name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        elif buffer_name.endswith("running_mean"):
            buffer.normal_()
    return network.eval()
