"""The stable units of both stages under pytest-benchmark, one per backend, warmed up.

They time and assert nothing about time: compare two runs with `pytest-benchmark compare`, as ratios on one machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.lanes import module_source
from exporters.base import export_artifact
from exporters.unet import load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, monai_unet
from runners.device import Device
from runners.registry import REAL_BACKENDS, make_runner

pytestmark = pytest.mark.slow

ROUNDS = 5


def check_and_time(benchmark: Any, backend: str, part: Any, folder: Path, feed: dict[str, np.ndarray]) -> None:
    """Times one part and holds its outputs against their shapes, so that a broken runner cannot look fast."""
    source = module_source(part, folder)
    with make_runner(backend, source, Device("cpu")) as runner:
        outputs = benchmark.pedantic(runner.run, (feed,), rounds=ROUNDS, warmup_rounds=1)
        attested = runner.attest()
    benchmark.extra_info.update(version=attested.version, providers=list(attested.providers), threads=attested.threads)
    assert attested.backend == backend
    assert all(np.isfinite(output.numpy()).all() for output in outputs.values())


@pytest.mark.parametrize("backend", sorted(REAL_BACKENDS))
def test_litemedsam_encoder(benchmark: Any, backend: str, litemedsam: Any, litemedsam_folder: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)
    check_and_time(benchmark, backend, litemedsam.encoder, litemedsam_folder, {"image": image})


@pytest.mark.parametrize("prompts", [1, 16])
@pytest.mark.parametrize("backend", sorted(REAL_BACKENDS))
def test_litemedsam_decoder(
    benchmark: Any, backend: str, prompts: int, litemedsam: Any, litemedsam_folder: Path, embedding: np.ndarray
) -> None:
    rng = np.random.default_rng(0)
    feed = {
        "image_embeddings": embedding,
        "point_coords": np.sort(256 * rng.random((prompts, 2, 2), dtype=np.float32), axis=1),
        "point_labels": np.tile(np.array([2, 3], dtype=np.float32), (prompts, 1)),
        "mask_input": np.zeros((prompts, 1, 256, 256), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
        "orig_im_size": np.array([512, 512], dtype=np.float32),
    }
    check_and_time(benchmark, backend, litemedsam.decoder, litemedsam_folder, feed)


@pytest.mark.parametrize("backend", sorted(REAL_BACKENDS))
def test_unet_batch_of_8(benchmark: Any, backend: str, tmp_path: Path) -> None:
    import torch

    from exporters.unet import build_unet

    config = monai_unet({1: "liver", 2: "spleen"}, SlidingWindow(patch=(128, 128)))
    torch.save(unet_checkpoint(config, build_unet(config)), tmp_path / "unet.pt")
    loaded = load_unet(tmp_path / "unet.pt")
    export_artifact(tmp_path / "artifact", "unet", loaded.weights, (loaded.unet,), {})
    feed = {"image": np.random.default_rng(0).random((8, 1, 128, 128), dtype=np.float32)}
    check_and_time(benchmark, backend, loaded.unet, tmp_path / "artifact", feed)
