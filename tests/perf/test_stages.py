"""The stable units of both stages, one test per backend, warmed up: what a change of sambench must not make slower.

They assert nothing about time by themselves. `--sambench-store FILE` keeps a session, `--sambench-baseline FILE` holds
another one against it (docs/regression.md); pytest-benchmark's own files have the same metrics in `extra_info`.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.lanes import module_source
from benchmark.metrics import dice_per_label, mean
from exporters.base import export_artifact
from exporters.unet import load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, monai_unet

pytestmark = pytest.mark.slow

BACKENDS = os.environ.get("SAMBENCH_PERF_BACKENDS", "pytorch onnxruntime").split()
"""Others as `SAMBENCH_PERF_BACKENDS="pytorch pytorch-compile onnxruntime openvino"`: compiling takes minutes."""

BUDGET_S = float(os.environ.get("SAMBENCH_PERF_BUDGET_S", "6"))
"""Of a test, in seconds: what it buys is narrower intervals. The least rounds that an interval needs are made in any
case, and of an encoder that takes a second those are all there are; `make test`, which compares nothing, gives 1 s."""

every_backend = pytest.mark.parametrize("backend", BACKENDS)
"""The reference first, so that the others' times are told against it."""


def check_finite(measured: Any) -> None:
    """So that a broken runner cannot look fast."""
    assert measured.outputs
    assert all(np.isfinite(output).all() for output in measured.outputs.values())


@every_backend
def test_litemedsam_encoder(sambench_runner: Any, backend: str, litemedsam: Any, litemedsam_folder: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)
    source = module_source(litemedsam.encoder, litemedsam_folder)
    check_finite(sambench_runner(backend, source=source, inputs={"image": image}, budget_s=BUDGET_S))


@pytest.mark.parametrize("prompts", [1, 16])
@every_backend
def test_litemedsam_decoder(
    sambench_runner: Any, backend: str, prompts: int, litemedsam: Any, litemedsam_folder: Path, embedding: np.ndarray
) -> None:
    rng = np.random.default_rng(0)
    feed = {
        "image_embeddings": embedding,
        "point_coords": np.sort(256 * rng.random((prompts, 2, 2), dtype=np.float32), axis=1),
        "point_labels": np.tile(np.array([2, 3], dtype=np.float32), (prompts, 1)),
        "mask_input": np.zeros((1, 1, 256, 256), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
        "orig_im_size": np.array([512, 512], dtype=np.float32),
    }
    source = module_source(litemedsam.decoder, litemedsam_folder)
    check_finite(sambench_runner(backend, source=source, inputs=feed, budget_s=BUDGET_S))


@every_backend
def test_unet_window_batch_of_8(sambench_runner: Any, backend: str, tmp_path: Path) -> None:
    import torch

    from exporters.unet import build_unet

    torch.manual_seed(0)
    config = monai_unet({1: "liver", 2: "spleen"}, SlidingWindow(patch=(128, 128)))
    torch.save(unet_checkpoint(config, build_unet(config)), tmp_path / "unet.pt")
    loaded = load_unet(tmp_path / "unet.pt")
    export_artifact(tmp_path / "artifact", "unet", loaded.weights, (loaded.unet,), {})
    feed = {"image": np.random.default_rng(0).random((8, 1, 128, 128), dtype=np.float32)}
    source = module_source(loaded.unet, tmp_path / "artifact")
    check_finite(sambench_runner(backend, source=source, inputs=feed, budget_s=BUDGET_S))


@every_backend
def test_slice_end_to_end(
    sambench_runner: Any, backend: str, litemedsam: Any, litemedsam_folder: Path, abdomen_slice: Any
) -> None:
    """A slice in memory to its label map in memory: encoder, decoder for a box an object, postprocessing; its Dice."""
    from benchmark.prompts.prompter import Prompter
    from benchmark.stages.pseudolabel import Pseudolabelling, units
    from benchmark.stages.sam_input import SamInput

    present = {int(value): str(value) for value in np.unique(abdomen_slice.label) if value}
    prompter = Prompter.of(("box",), present)
    (unit,) = units([abdomen_slice], prompter.case(abdomen_slice.case, abdomen_slice.label[..., None]))
    sources = [module_source(part, litemedsam_folder) for part in (litemedsam.encoder, litemedsam.decoder)]
    pipeline = Pseudolabelling(SamInput(256, 64, "minmax", half_turn=True))
    measured = sambench_runner.pipeline(
        backend,
        sources,
        lambda runners: partial(pipeline(runners).process, unit),
        inputs={"slice": abdomen_slice.image.shape, "objects": (len(unit.prompts["box"]),)},
        budget_s=BUDGET_S,
    )
    labels = measured.result.labels["box"][0]
    score = mean(dice_per_label(labels, abdomen_slice.label, present).values())
    assert score is not None
    measured.record(dice=score)
