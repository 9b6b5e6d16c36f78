"""`sambench train` killed by the system: the same command ends in the same network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.benchmark.conftest import Sambench

EPOCHS = 20
SETTINGS = [f"epochs={EPOCHS}", "patch=[16, 16]", "channels=[4, 8]", "strides=[2]", "res_units=0", "validate_every=3"]
ROOT = Path(__file__).parents[3]

HELD = """
import time
from benchmark import cli
from benchmark.training import loop

one_epoch = loop._one_epoch

def held(learner, data, settings, epoch):
    loss = one_epoch(learner, data, settings, epoch)
    while epoch == 3:
        time.sleep(1)
    return loss

loop._one_epoch = held
cli.main()
"""
"""`sambench`, but that the third epoch does not end: however late the kill comes, something is left to be done."""


def start(task: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-c", HELD, "train", "--data", str(task), "--out", str(out), *words]
    silent, threads = subprocess.DEVNULL, {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env={**os.environ, **threads}, cwd=ROOT, stdout=silent, stderr=silent)


def train(task: Path, out: Path, sambench: Sambench) -> None:
    """The same in this process, which has long imported what takes a new one ten seconds."""
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    torch.set_num_threads(1)
    code, _, err = sambench("train", "--data", task, "--out", out, *words)
    assert code == 0, err


def kill_after_a_further_epoch(process: subprocess.Popen[bytes], state: Path) -> None:
    """Waits until the state is written anew, whatever that takes, and sends SIGKILL."""
    before = state.stat().st_mtime_ns if state.exists() else None
    while process.poll() is None:
        found = state.stat().st_mtime_ns if state.exists() else None
        if found not in (None, before):
            process.kill()
        time.sleep(0.01)


def weights(out: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(out / "unet.pt", weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_in_the_same_network(
    organ_task: Path, sambench: Sambench, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    train(organ_task, whole, sambench)
    process = start(organ_task, out)
    kill_after_a_further_epoch(process, out / "unet.pt.partial")
    assert process.returncode == -signal.SIGKILL
    (out / ".99.unet.pt.partial").write_bytes(b"half of a state, as a kill while it is written leaves it")
    train(organ_task, out, sambench)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    one, other = weights(whole), weights(out)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (out / "test.csv").read_bytes() == (whole / "test.csv").read_bytes()
