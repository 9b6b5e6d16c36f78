"""Checkpoints are files from strangers: whatever they hold, the answer is weights or one sentence."""

from __future__ import annotations

import contextlib
import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporters.checkpoint import load_checkpoint, load_state
from exporters.manifest import ExportError
from exporters.sam import SAM_MODELS, load_sam

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

# Making files takes longer on a busy machine, which is no fault of what is tested.
UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2), "more": {"epoch": 3, "names": ["a", "b"]}}


def saved(content: Any, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


ZIPPED, LEGACY = saved(STATE), saved(STATE, zipped=False)


class Malicious:
    """Unpickling it creates a file: what an attacker's checkpoint does with a command of his choice."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sentinel,))


@pytest.mark.parametrize("data", [ZIPPED, LEGACY], ids=["zip", "legacy"])
def test_tensors_and_plain_values_come_back(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["weight"], STATE["weight"])
    assert loaded["more"] == STATE["more"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"gone\.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "gone.pt")
    with pytest.raises(ExportError, match="no such checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_pickled_code_is_refused_and_not_executed(form: str, tmp_path: Path) -> None:
    sentinel, path = tmp_path / "executed", tmp_path / "model.pt"
    content = {"weight": torch.ones(2), "evil": Malicious(sentinel)}
    data = pickle.dumps(content["evil"]) if form == "bare pickle" else saved(content, zipped=form == "zip")
    path.write_bytes(data)
    with pytest.raises(ExportError, match=r"model\.pt: refused.*pickled code"):
        load_checkpoint(path)
    assert not sentinel.exists()
    pickle.loads(pickle.dumps(content["evil"]))  # noqa: S301  # shows that the sentinel works
    assert sentinel.exists()


@pytest.mark.parametrize("data", [ZIPPED, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_in_one_sentence(data: bytes, share: float, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ExportError, match=r"model\.pt: (truncated|refused)") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None, suppress_health_check=UNCHECKED)
@given(data=st.binary(max_size=400))
@example(data=b"\x80\x02")
@example(data=b"\x80\x02}q\x00.")
def test_random_bytes_never_raise_anything_but_an_export_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with contextlib.suppress(ExportError):
        load_checkpoint(path)


@settings(max_examples=200, deadline=None, suppress_health_check=UNCHECKED)
@given(
    zipped=st.booleans(),
    changes=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes_never_raise_anything_but_an_export_error(
    zipped: bool, changes: list[tuple[float, int]], tmp_path: Path
) -> None:
    """PyTorch's reader answers damage with IndexError, struct.error, AssertionError and others."""
    data = bytearray(ZIPPED if zipped else LEGACY)
    for place, value in changes:
        data[int(place * len(data))] = value
    path = tmp_path / "model.pt"
    path.write_bytes(bytes(data))
    with contextlib.suppress(ExportError):
        load_checkpoint(path)


def test_another_models_weights_are_refused_with_the_first_difference(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for state, told in (
        (torch.nn.Linear(4, 2).state_dict(), "size mismatch for weight"),
        (torch.nn.Conv2d(1, 1, 1).state_dict(), "size mismatch"),
        ({"weight": "text", "bias": torch.ones(2)}, "expected torch.Tensor"),
        ({"weight": torch.ones(2, 3)}, 'Missing key.*"bias"'),
        ({**network.state_dict(), "extra": torch.ones(1)}, 'Unexpected key.*"extra"'),
    ):
        with pytest.raises(ExportError, match=rf"x\.pt: the weights are of another model: .*{told}"):
            load_state(network, state, tmp_path / "x.pt")
    assert set(network.state_dict()) == set(before)


@pytest.mark.parametrize("state", [None, [1, 2], torch.ones(3), "weights", {1: torch.ones(2, 3)}])
def test_something_else_than_a_state_dict_is_refused(state: Any) -> None:
    with pytest.raises(ExportError, match="holds no state dict"):
        load_state(torch.nn.Linear(3, 2), state, Path("x.pt"))


def test_a_sam_checkpoint_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(SAM_MODELS["litemedsam"], build=lambda: torch.nn.Conv2d(1, 2, 3))
    monkeypatch.setattr("exporters.sam.SAM_MODELS", {"litemedsam": entry})

    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ExportError, match=r"other\.pt: the weights are of another model"):
        load_sam("litemedsam", tmp_path / "other.pt")
