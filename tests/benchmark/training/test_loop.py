"""A training learns, keeps its best epoch, can be interrupted without a trace, and writes weights alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.errors import InputError
from benchmark.results import Validation
from benchmark.training import loop, state
from benchmark.training.cases import TrainingCase, write_training_case
from benchmark.training.loop import train_unet
from benchmark.training.settings import TrainingSettings
from benchmark.training.state import History
from exporters.unet import build_unet, load_unet
from tests.benchmark.training.synthetic import CONFIG, PATCH, VOLUMES, ball, discs

SETTINGS = TrainingSettings(epochs=4, batch_size=2, learning_rate=0.01, seed=5, validate_every=2)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state_dict: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state_dict


def identical(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def train(folder: Path, settings: TrainingSettings = SETTINGS, **extra: Any) -> History:
    """Trains on two cases and validates on a third; the network goes to `folder`/unet.pt."""
    cases = [discs(folder / "data", name, 2, seed) for seed, name in enumerate(("a", "b", "v"))]
    return train_unet(cases[:2], cases[2:], CONFIG, settings, folder / "unet.pt", **extra)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, History]:
    folder = tmp_path_factory.mktemp("train")
    history = train(folder)
    assert history.seconds > 0
    return folder / "unet.pt", history


def test_a_short_training_lowers_the_loss_and_finds_the_objects(tmp_path: Path) -> None:
    history = train(tmp_path, TrainingSettings(25, 2, 0.03, 0))
    assert len(history.loss) == 25
    assert np.mean(history.loss[-3:]) < 0.6 * np.mean(history.loss[:3])
    assert history.best is not None and history.best.dice is not None and history.best.dice > 0.7
    # The same by other means: PyTorch alone, and Dice as it is defined.
    module = load_unet(tmp_path / "unet.pt").unet.module
    images, labels = (np.array(array) for array in discs(tmp_path / "other", seed=9).open())
    with torch.inference_mode():
        channels = module(torch.from_numpy(images)).argmax(1).numpy()
    for channel in (1, 2):
        predicted, true = channels == channel, labels == channel
        assert 2 * (predicted & true).sum() / (predicted.sum() + true.sum()) > 0.7, f"channel {channel}"


def test_a_3d_training_finds_a_small_object_that_random_windows_would_miss(tmp_path: Path) -> None:
    cases = [ball(tmp_path, name, seed) for seed, name in enumerate(("a", "b", "v"))]
    settings = TrainingSettings(12, 2, 0.03, 0, validate_every=4, windows_per_case=4)
    history = train_unet(cases[:2], cases[2:], VOLUMES, settings, tmp_path / "unet.pt")
    assert [found.epoch for found in history.validations] == [4, 8, 12]
    assert history.best is not None and history.best.dice is not None and history.best.dice > 0.7
    assert load_unet(tmp_path / "unet.pt").config.spatial_dims == 3


def test_the_same_seed_gives_the_same_network_and_another_seed_another(
    undisturbed: tuple[Path, History], tmp_path: Path
) -> None:
    torch.rand(3)  # the state of the process's generator must not matter
    history = train(tmp_path)
    assert history.loss == undisturbed[1].loss
    assert identical(weights(tmp_path / "unet.pt"), weights(undisturbed[0]))
    assert train(tmp_path / "other", replace(SETTINGS, seed=6)).loss != history.loss


def assert_goes_on_as_if_nothing_had_happened(folder: Path, undisturbed: tuple[Path, History], left: int) -> None:
    assert not (folder / "unet.pt").exists(), "an unfinished network must not pass for a trained one"
    torch.manual_seed(99)
    epochs: list[int] = []
    history = train(folder, on_epoch=lambda epoch, loss, found: epochs.append(epoch))
    assert epochs == list(range(SETTINGS.epochs - left + 1, SETTINGS.epochs + 1))
    expected = undisturbed[1]
    assert (history.loss, history.validations) == (expected.loss, expected.validations)
    assert history.best_epoch == expected.best_epoch
    assert identical(weights(folder / "unet.pt"), weights(undisturbed[0]))
    assert sorted(file.name for file in folder.iterdir()) == ["data", "unet.pt"]


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
def test_a_training_interrupted_between_epochs_equals_an_undisturbed_one_to_the_bit(
    killed_after: int, undisturbed: tuple[Path, History], tmp_path: Path
) -> None:
    def kill(epoch: int, loss: float, found: Validation | None) -> None:
        if epoch == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, on_epoch=kill)
    assert_goes_on_as_if_nothing_had_happened(tmp_path, undisturbed, SETTINGS.epochs - killed_after)


@pytest.mark.parametrize("killed_at", [1, 4, 5])
def test_a_training_interrupted_within_an_epoch_equals_an_undisturbed_one_to_the_bit(
    killed_at: int, undisturbed: tuple[Path, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps an epoch: the half-done epoch is done again from its start."""
    steps, step = 0, loop._step

    def kill(learner: Any, loss: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == killed_at:
            raise KeyboardInterrupt
        step(learner, loss)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_step", kill)
        train(tmp_path)
    assert_goes_on_as_if_nothing_had_happened(tmp_path, undisturbed, SETTINGS.epochs - (killed_at - 1) // 2)


def test_a_kill_while_the_state_is_written_leaves_the_one_before(
    undisturbed: tuple[Path, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves, save = 0, torch.save

    def kill(content: Any, path: Path) -> None:
        nonlocal saves
        saves += 1
        if saves == 3:
            path.write_bytes(b"half of it")
            raise KeyboardInterrupt
        save(content, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(state.torch, "save", kill)
        train(tmp_path)
    assert_goes_on_as_if_nothing_had_happened(tmp_path, undisturbed, left=2)


def test_the_weights_of_the_best_validated_epoch_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = {2: 0.4, 4: 0.8, 6: 0.8, 7: 0.1}  # of equals the earlier stays; the last epoch is always validated
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def judge(network: torch.nn.Module, cases: Any, config: Any, device: Any, batch: int, epoch: int) -> Validation:
        seen[epoch] = {name: value.clone() for name, value in network.state_dict().items()}
        return Validation(epoch=epoch, dice=dice[epoch], labels={})

    monkeypatch.setattr(loop, "validate", judge)
    history = train(tmp_path, replace(SETTINGS, epochs=7))
    assert [found.epoch for found in history.validations] == list(dice)
    assert history.best_epoch == 4
    taken = weights(tmp_path / "unet.pt")
    assert identical(taken, seen[4]) and not identical(taken, seen[7])


def test_without_a_case_to_validate_or_a_label_in_it_the_last_epoch_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = discs(tmp_path)
    history = train_unet([case], [], CONFIG, SETTINGS, tmp_path / "none.pt")
    assert (history.validations, history.best_epoch) == ([], 4)
    empty = write_training_case(
        tmp_path, "empty", np.zeros((1, 1, 40, 40), np.float32), np.zeros((1, 40, 40), np.uint8)
    )
    history = train_unet([case], [empty], CONFIG, SETTINGS, tmp_path / "empty.pt")
    assert [found.dice for found in history.validations] == [None, None]
    assert history.best_epoch == 4
    assert identical(weights(tmp_path / "none.pt"), weights(tmp_path / "empty.pt"))


def test_validation_does_not_change_what_is_learned(tmp_path: Path) -> None:
    losses = [train(tmp_path / str(every), replace(SETTINGS, validate_every=every)).loss for every in (1, 4)]
    assert losses[0] == losses[1]


def test_the_checkpoint_is_weights_and_plain_values_and_loads_as_a_network(undisturbed: tuple[Path, History]) -> None:
    content = torch.load(undisturbed[0], weights_only=True)
    assert set(content) == {"format", "config", "state_dict"}
    assert load_unet(undisturbed[0]).config == CONFIG
    torch.manual_seed(SETTINGS.seed)
    start = build_unet(CONFIG).state_dict()
    assert not all(torch.equal(start[name], value) for name, value in content["state_dict"].items())


def test_a_loss_that_is_no_number_names_the_learning_rate_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    bad = discs(tmp_path)
    images = np.load(bad.image)
    images[:] = np.inf
    np.save(bad.image, images)
    with pytest.raises(InputError, match=r"learning_rate: the loss is nan in epoch 1, so 0\.01 is too high"):
        train_unet([bad], [], CONFIG, SETTINGS, tmp_path / "unet.pt")
    assert not list(tmp_path.glob("*.pt*"))


def test_a_damaged_state_is_named_and_not_trained_over(tmp_path: Path) -> None:
    (tmp_path / "unet.pt.partial").write_bytes(b"nothing that PyTorch wrote")
    with pytest.raises(InputError, match=r"unet\.pt\.partial: is no state of this training .*; remove it"):
        train(tmp_path)


@pytest.mark.parametrize("shape", [(1, 1, 20, 25), (3, 1, 64, 32), (1, 1, 32, 32)])
def test_slices_smaller_than_the_patch_and_a_single_slice_can_be_learnt_from(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, shape).astype(np.float32)
    case = write_training_case(tmp_path, "x", image, np.ones((shape[0], *shape[2:]), np.uint8), PATCH)
    history = train_unet([case], [case], CONFIG, replace(SETTINGS, epochs=2, batch_size=8), tmp_path / "unet.pt")
    assert np.isfinite(history.loss).all()


def test_cases_of_different_sizes_train_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def noise(name: str, shape: tuple[int, int]) -> TrainingCase:
        image = rng.uniform(0, 1, (2, 1, *shape)).astype(np.float32)
        return write_training_case(tmp_path, name, image, rng.integers(0, 2, (2, *shape), np.uint8), PATCH)

    cases = [noise("a", (20, 50)), noise("b", (64, 32))]
    history = train_unet(cases, [], CONFIG, replace(SETTINGS, epochs=1), tmp_path / "unet.pt")
    assert np.isfinite(history.loss).all()
