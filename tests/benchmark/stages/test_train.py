"""A training learns, can be interrupted without a trace, and writes a checkpoint that is only weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.stages.train import TrainingCase, TrainingSettings, train_unet, write_training_case
from exporters.unet import build_unet, load_unet
from exporters.unet_config import SlidingWindow, monai_unet

CONFIG = monai_unet({1: "disc", 4: "bar"}, SlidingWindow(patch=(32, 32)), (4, 8), (2,), 1)
SETTINGS = TrainingSettings(epochs=4, batch_size=2, learning_rate=0.01, seed=5)


def synthetic(folder: Path, name: str = "case", slices: int = 3, extra: int | None = None) -> TrainingCase:
    """A bright disc and a grey bar on noise; `extra` is a label value that no network knows."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:36, :40]
    images = rng.uniform(0, 20, (slices, 36, 40)).astype(np.float32)
    labels = np.zeros((slices, 36, 40), np.uint8)
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(12, 24, 2)
        label[(rows - y) ** 2 + (columns - x) ** 2 < 64] = 1
        label[2:6] = 4
        image[...] += 200 * (label == 1) + 100 * (label == 4)
        if extra is not None:
            label[30:] = extra
    return write_training_case(folder, name, images, labels)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def assert_identical(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("train")
    case = synthetic(folder)
    losses, seconds = train_unet([case], CONFIG, SETTINGS, folder / "unet.pt")
    assert seconds > 0
    return folder / "unet.pt", losses


def test_a_short_training_lowers_the_loss_and_finds_the_objects(tmp_path: Path) -> None:
    case = synthetic(tmp_path, slices=2)
    checkpoint = tmp_path / "unet.pt"
    losses, _ = train_unet([case], CONFIG, TrainingSettings(25, 2, 0.03, 0), checkpoint)
    assert len(losses) == 25
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])
    module = load_unet(checkpoint).unet.module
    images, labels = np.load(case.image), np.load(case.label)
    with torch.inference_mode():
        channels = module(torch.from_numpy(images[:, None]) / 255).argmax(1).numpy()
    for channel, value in ((1, 1), (2, 4)):
        predicted, true = channels == channel, labels == value
        assert 2 * (predicted & true).sum() / (predicted.sum() + true.sum()) > 0.7, f"label {value}"


def test_the_same_seed_gives_the_same_network_and_another_seed_another(
    undisturbed: tuple[Path, list[float]], tmp_path: Path
) -> None:
    case = synthetic(tmp_path)
    torch.rand(3)  # the state of the process's generator must not matter
    losses, _ = train_unet([case], CONFIG, SETTINGS, tmp_path / "same.pt")
    assert losses == undisturbed[1]
    assert_identical(weights(tmp_path / "same.pt"), weights(undisturbed[0]))
    other, _ = train_unet([case], CONFIG, TrainingSettings(4, 2, 0.01, 6), tmp_path / "other.pt")
    assert other != losses


@pytest.mark.parametrize("killed_after", [2, 4])
def test_a_resumed_training_equals_an_undisturbed_one_to_the_bit(
    killed_after: int, undisturbed: tuple[Path, list[float]], tmp_path: Path
) -> None:
    case, checkpoint = synthetic(tmp_path), tmp_path / "unet.pt"

    def kill(epoch: int, loss: float) -> None:
        if epoch == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_unet([case], CONFIG, SETTINGS, checkpoint, kill)
    assert not checkpoint.exists(), "an unfinished network must not pass for a trained one"
    torch.manual_seed(99)
    epochs: list[int] = []
    losses, seconds = train_unet([case], CONFIG, SETTINGS, checkpoint, lambda epoch, loss: epochs.append(epoch))
    assert epochs == list(range(killed_after + 1, 5))
    assert losses == undisturbed[1]
    assert seconds > 0
    assert_identical(weights(checkpoint), weights(undisturbed[0]))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["case_image.npy", "case_label.npy", "unet.pt"]


def test_the_checkpoint_is_weights_and_plain_values_and_loads_as_a_network(
    undisturbed: tuple[Path, list[float]],
) -> None:
    content = torch.load(undisturbed[0], weights_only=True)
    assert set(content) == {"format", "config", "state_dict"}
    assert load_unet(undisturbed[0]).config == CONFIG
    torch.manual_seed(SETTINGS.seed)
    start = build_unet(CONFIG).state_dict()
    assert not all(torch.equal(start[name], value) for name, value in content["state_dict"].items())


def test_label_values_that_the_network_does_not_know_become_background(tmp_path: Path) -> None:
    """Value 2 must not be taken for channel 2, which is value 4."""
    with_extra, without = synthetic(tmp_path / "a", extra=2), synthetic(tmp_path / "b")
    cleaned = np.load(with_extra.label)
    assert (cleaned == 2).any()
    cleaned[cleaned == 2] = 0
    np.save(without.label, cleaned)
    results = [train_unet([case], CONFIG, SETTINGS, case.image.with_suffix(".pt"))[0] for case in (with_extra, without)]
    assert results[0] == results[1]


def test_slices_smaller_than_the_patch_and_a_single_slice_can_be_learnt_from(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = write_training_case(
        tmp_path, "small", rng.uniform(0, 255, (1, 20, 25)).astype(np.float32), np.ones((1, 20, 25), np.uint8)
    )
    losses, _ = train_unet([small], CONFIG, TrainingSettings(2, 8, 0.01, 0), tmp_path / "unet.pt")
    assert np.isfinite(losses).all()


def test_cases_of_different_sizes_train_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases = [
        write_training_case(
            tmp_path,
            name,
            rng.uniform(0, 255, (2, *shape)).astype(np.float32),
            rng.integers(0, 2, (2, *shape), np.uint8),
        )
        for name, shape in (("a", (20, 50)), ("b", (64, 32)))
    ]
    losses, _ = train_unet(cases, CONFIG, TrainingSettings(1, 2, 0.01, 0), tmp_path / "unet.pt")
    assert np.isfinite(losses).all()


def test_a_training_case_comes_back_as_written(tmp_path: Path) -> None:
    case = synthetic(tmp_path / "new" / "folder", "liver_1")
    assert (case.image.name, case.label.name) == ("liver_1_image.npy", "liver_1_label.npy")
    assert (np.load(case.image).dtype, np.load(case.label).dtype) == (np.float32, np.uint8)
    assert sorted(file.name for file in case.image.parent.iterdir()) == ["liver_1_image.npy", "liver_1_label.npy"]
