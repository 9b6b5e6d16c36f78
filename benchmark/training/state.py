"""What an interrupted training needs to go on as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import InputError
from benchmark.files import atomic_path
from benchmark.results import Validation
from benchmark.training.settings import TrainingSettings
from benchmark.training.validate import as_state, better
from exporters.unet import build_unet
from exporters.unet_config import UNetConfig

POWER = 0.9
"""Of the learning rate's decay; nnU-Net's."""


@dataclass
class History:
    """What happened so far.

    Attributes:
        loss: the mean of each epoch.
        validations: in the order of epochs.
        best: the one whose weights are taken; None where nothing validates.
        seconds: spent on training and validating.
    """

    loss: list[float] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    best: Validation | None = None
    seconds: float = 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are taken, counted from 1; without validation the last."""
        return len(self.loss) if self.best is None else self.best.epoch


class Learner:
    """The network with everything that changes while it learns, on its device."""

    def __init__(self, config: UNetConfig, settings: TrainingSettings) -> None:
        torch.manual_seed(settings.seed)
        self.device = torch.device(str(settings.device))
        self.amp = settings.amp
        self.network: torch.nn.Module = build_unet(config).to(self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.PolynomialLR(self.optimizer, settings.epochs, POWER)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.amp)
        self.history = History()
        self.best_weights: dict[str, Any] | None = None

    @property
    def _stateful(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "scaler": self.scaler,
        }

    def keep_if_better(self, validation: Validation) -> None:
        """Records a validation, and the weights if they are the best so far."""
        self.history.validations.append(validation)
        if better(validation, self.history.best):
            self.history.best = validation
            self.best_weights = as_state(self.network)

    def take_best(self) -> None:
        """Puts the best epoch's weights into the network."""
        if self.best_weights is not None:
            self.network.load_state_dict(self.best_weights)
        self.network.to("cpu").eval()

    def save(self, path: Path) -> None:
        """Writes the whole state or nothing: plain values and tensors only."""
        history = self.history
        content = {
            **{name: part.state_dict() for name, part in self._stateful.items()},
            "best_weights": self.best_weights,
            "loss": history.loss,
            "validations": [validation.model_dump() for validation in history.validations],
            "best_epoch": None if history.best is None else history.best.epoch,
            "seconds": history.seconds,
        }
        with atomic_path(path) as temporary:
            torch.save(content, temporary)

    def restore(self, path: Path) -> None:
        """Goes back to a state that `save` wrote, if there is one.

        Raises:
            InputError: the file is damaged or of another version.
        """
        if not path.is_file():
            return
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            for name, part in self._stateful.items():
                part.load_state_dict(content[name])
            validations = [Validation.model_validate(entry) for entry in content["validations"]]
            best = next((found for found in validations if found.epoch == content["best_epoch"]), None)
            self.history = History(list(content["loss"]), validations, best, float(content["seconds"]))
            self.best_weights = content["best_weights"]
        except Exception as error:  # whatever PyTorch, pickle and zip say of a damaged file
            raise InputError(
                f"{path}: is no state of this training ({type(error).__name__}); remove it to train from the start"
            ) from error
