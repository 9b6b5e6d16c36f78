"""nnU-Net's own preprocessing and way back, by its own package."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmark.data.stored import from_stored, with_stored
from benchmark.data.volume import Volume
from benchmark.errors import InputError
from benchmark.stages.unet_input import Channels, Prepared, require_channels
from exporters.unet_config import NnUNet, UNetConfig


class NnUNetInput:
    """Crops, normalises and resamples as the plans of a trained nnU-Net v2 say."""

    stored = True

    def __init__(self, config: UNetConfig) -> None:
        if not isinstance(config.preprocessing, NnUNet):
            raise TypeError(f"{config.preprocessing.kind} is not nnU-Net's preprocessing")
        try:
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
        except ImportError:
            raise InputError(
                "an nnU-Net model needs the package nnunetv2; install it with `pip install 'sambench[nnunet]'`"
            ) from None
        self.config = config
        self.dataset = config.preprocessing.dataset
        self.plans = PlansManager(config.preprocessing.plans)
        self.configuration = self.plans.get_configuration(config.preprocessing.configuration)

    def prepare(self, volume: Volume) -> Prepared:
        """See `UNetInput.prepare`; N are the slices of the `2d` configuration.

        nnU-Net's axes are those of SimpleITK: the stored ones in reverse.
        """
        stored = with_stored(volume).stored
        if stored is None:
            raise ValueError(f"{volume.case} has no stored image")
        require_channels(self.config, len(stored), volume.case)
        order = np.argsort(volume.geometry.orientation[:, 0])  # LPS axis → stored axis
        spacing = np.empty(3)
        spacing[order] = volume.spacing
        properties: dict[str, Any] = {"spacing": [float(size) for size in spacing[::-1]]}
        preprocessor = self.configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            stored.transpose(0, 3, 2, 1), None, properties, self.plans, self.configuration, self.dataset
        )
        image = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
        image = image.transpose(0, 1) if self.config.spatial_dims == 2 else image[None]
        return Prepared(image, volume, properties)

    def labels(self, prepared: Prepared, logits: torch.Tensor) -> Channels:
        """See `UNetInput.labels`."""
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        whole = logits.transpose(0, 1) if self.config.spatial_dims == 2 else logits[0]
        values = convert_predicted_logits_to_segmentation_with_correct_shape(
            whole.contiguous().cpu(),  # its resampling is NumPy's and SciPy's
            self.plans,
            self.configuration,
            self.plans.get_label_manager(self.dataset),
            prepared.state,
            num_threads_torch=torch.get_num_threads(),
        )
        stored = np.ascontiguousarray(np.asarray(values, dtype=np.uint8).transpose(2, 1, 0))
        return self._channels(from_stored(stored, prepared.volume.geometry))

    def _channels(self, values: Channels) -> Channels:
        """nnU-Net answers with label values, in the order of its channels."""
        table = np.zeros(256, dtype=np.uint8)
        for channel, value in enumerate(self.config.labels, start=1):
            table[value] = channel
        return table[values]

    def reference(self, volume: Volume) -> None:
        """See `UNetInput.reference`."""

    def describe(self) -> str:
        """See `UNetInput.describe`."""
        return f"nnU-Net's {self.configuration.preprocessor_name}, configuration {self._name}"

    @property
    def _name(self) -> str:
        given = self.config.preprocessing
        return given.configuration if isinstance(given, NnUNet) else ""
