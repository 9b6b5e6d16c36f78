"""`sambench export`: a mistake is one sentence and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

from benchmark.samples import SLICES
from exporters.fetch import Published
from exporters.manifest import MANIFEST_FILE, Ladder, WindowLadder, load_manifest, sha256_file
from exporters.sam import SAM_MODELS
from exporters.unet import build_unet, load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, UNetConfig, monai_unet
from tests.benchmark.conftest import MakeTask, Sambench
from tests.conftest import MSD_REAL

Refused = Callable[..., str]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where --out is to be; must stay empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache: what is on this machine must not matter."""
    folder = tmp_path / "cache"
    (folder / "checkpoints").mkdir(parents=True)
    monkeypatch.setenv("SAMBENCH_CACHE", str(folder))
    return folder / "checkpoints"


@pytest.fixture
def refused(sambench: Sambench, work: Path) -> Refused:
    """Runs `sambench export sam`, which must fail as a user's mistake does; returns the sentence."""

    def run(*words: object) -> str:
        code, out, err = sambench("export", "sam", "--out", work / "artifact", *words)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        *steps, sentence = err.splitlines()
        assert not [line for line in steps if not line.startswith("export ")]
        assert sentence.startswith("error: ")
        assert list(work.iterdir()) == []
        return sentence.removeprefix("error: ")

    return run


@pytest.fixture
def one_layer(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """LiteMedSAM and vit_b are a network of one layer, so that checkpoints for them are small."""
    network = nn.Linear(3, 2)
    for name in ("litemedsam", "vit_b"):
        monkeypatch.setitem(SAM_MODELS, name, replace(SAM_MODELS[name], build=lambda: nn.Linear(3, 2)))  # type: ignore[index]
    return network


# Words that do not go together.


def test_an_unknown_model_is_refused_with_the_known_ones(refused: Refused) -> None:
    assert refused("--model", "sam3") == f"model 'sam3' is not known; choose from {', '.join(SAM_MODELS)}"


def test_a_seed_without_random_weights_is_refused(refused: Refused) -> None:
    assert refused("--seed", "1") == "--seed: belongs to --random-weights; give both or neither"


def test_a_checkpoint_and_random_weights_exclude_each_other(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"anything")
    told = refused("--checkpoint", tmp_path / "a.pt", "--random-weights", "--slices", "0")
    assert told == "model litemedsam: a checkpoint and random weights exclude each other; give one of them"


def test_static_int8_without_slices_is_refused(refused: Refused) -> None:
    told = refused("--precision", "int8-static", "--slices", "0")
    assert told == "--slices: int8-static calibrates on slices; give 1 or more"


@pytest.mark.parametrize(
    "words", [("--precision", "fp8"), ("--masks", "four"), ("--slices", "-1"), ("--random-weights", "--seed", "-1")]
)
def test_a_value_that_no_option_has_is_refused_with_the_usage(
    words: tuple[str, ...], sambench: Sambench, work: Path
) -> None:
    code, _, err = sambench("export", "sam", "--out", work / "artifact", *words)
    assert code == 2
    assert "sambench export sam [OPTIONS]" in err
    assert "Traceback" not in err
    assert list(work.iterdir()) == []


# Data.


def test_a_folder_that_is_no_task_is_refused_before_weights_are_loaded(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporters.sam.load_sam", lambda *_: pytest.fail("weights were loaded"))
    (tmp_path / "empty").mkdir()
    assert refused("--data", tmp_path / "empty").endswith("empty: is not a task folder: it has no dataset.json.")
    assert "there is no such task folder" in refused("--data", tmp_path / "gone")


def test_a_task_without_labels_is_refused(refused: Refused, make_task: MakeTask) -> None:
    import numpy as np

    folder = make_task(image=np.zeros((16, 16, 2), np.int16), label=np.zeros((16, 16, 2), np.uint8))
    assert "no slice has a label of 20 pixels or more" in refused("--data", folder)


# Weights.


def test_weights_that_are_not_on_the_machine_are_told_with_the_ways_to_get_them(refused: Refused) -> None:
    assert refused("--model", "vit_b", "--slices", "0") == (
        "model vit_b: its weights are not here; run `sambench fetch sam vit_b`, give them with --checkpoint FILE, or "
        "take --random-weights where latency alone matters"
    )


def test_a_checkpoint_that_is_not_there_is_named(refused: Refused, tmp_path: Path) -> None:
    told = refused("--checkpoint", tmp_path / "gone.pt", "--slices", "0")
    assert told == f"{tmp_path / 'gone.pt'}: no such checkpoint file; give the path of the weights of litemedsam"
    assert "no such checkpoint file" in refused("--checkpoint", tmp_path, "--slices", "0")


class Malicious:
    """Unpickling it creates a file: what an attacker's checkpoint does with a command of his choice."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sentinel,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_is_refused_and_the_code_is_not_executed(
    zipped: bool, refused: Refused, one_layer: nn.Module, tmp_path: Path
) -> None:
    sentinel, path = tmp_path / "executed", tmp_path / "evil.pt"
    content = {**one_layer.state_dict(), "evil": Malicious(sentinel)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "evil.pt: refused" in refused("--checkpoint", path, "--slices", "0")
    assert not sentinel.exists()
    torch.load(path, weights_only=False)  # shows that the sentinel works
    assert sentinel.exists()


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(
    share: float, refused: Refused, one_layer: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "half.pt"
    torch.save(one_layer.state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    told = refused("--checkpoint", path, "--slices", "0")
    assert told.startswith(f"{path}: truncated or no PyTorch checkpoint")


@pytest.mark.parametrize("content", [[1, 2], "text", {1: 2}, None])
def test_a_file_that_holds_something_else_is_refused(
    content: Any, refused: Refused, one_layer: nn.Module, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "other.pt")
    told = refused("--checkpoint", tmp_path / "other.pt", "--slices", "0")
    assert told == f"{tmp_path / 'other.pt'}: holds no state dict; save the model's `state_dict()`"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(
    value: float, refused: Refused, one_layer: nn.Module, tmp_path: Path
) -> None:
    with torch.no_grad():
        one_layer.weight[1, 2] = value  # type: ignore[index]
    torch.save({"model": one_layer.state_dict()}, tmp_path / "nan.pt")
    told = refused("--checkpoint", tmp_path / "nan.pt", "--slices", "0")
    assert told == f"{tmp_path / 'nan.pt'}: weight holds NaN or infinity; get the checkpoint again or train it anew"


@pytest.mark.filterwarnings("ignore:.*meta parameter:UserWarning")
def test_litemedsams_weights_given_as_those_of_vit_b_are_refused(
    refused: Refused, litemedsam: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory() -> nn.Module:
        with torch.device("meta"):
            return vit_b.build()

    vit_b = SAM_MODELS["vit_b"]
    monkeypatch.setitem(SAM_MODELS, "vit_b", replace(vit_b, build=without_memory))  # type: ignore[index]
    path = SAM_MODELS["litemedsam"].packaged()  # type: ignore[misc]
    told = refused("--model", "vit_b", "--checkpoint", path, "--slices", "0")
    assert told.startswith(f"{path}: the weights are of another model: ")
    assert "image_encoder." in told


def test_a_cached_checkpoint_with_a_wrong_hash_is_refused(
    refused: Refused, one_layer: nn.Module, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache / SAM_MODELS["vit_b"].published.file
    torch.save(one_layer.state_dict(), path)
    told = refused("--model", "vit_b", "--slices", "0")
    assert told == (f"{path}: is not the published checkpoint (its hash differs); run `sambench fetch sam vit_b` again")
    # With the right hash the same file goes through the check, and the network of one layer fails only after it.
    here = Published("elsewhere", path.name, f"sha256:{sha256_file(path)}")
    monkeypatch.setitem(SAM_MODELS, "vit_b", replace(SAM_MODELS["vit_b"], published=here))  # type: ignore[index]
    from exporters.sam import find_model, find_weights

    weights, found = find_weights(find_model("vit_b"))
    assert (weights.source, weights.published, found) == ("cache", True, path)


def test_a_folder_of_somebody_elses_is_not_replaced(sambench: Sambench, work: Path) -> None:
    (work / "thesis.tex").write_text("years", encoding="utf-8")
    code, out, err = sambench("export", "sam", "--out", work, "--random-weights", "--slices", "0")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"error: {work}: not empty and no artifact of sambench; name a new folder"
    assert [file.name for file in work.iterdir()] == ["thesis.tex"]


# `export verify`, on a UNet, which is quick.


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An artifact and its checkpoint."""
    folder = tmp_path_factory.mktemp("unet")
    config = monai_unet({1: "spleen"}, SlidingWindow(patch=(16, 16)), (4, 8), (2,), 1)
    torch.save(unet_checkpoint(config, build_unet(config)), folder / "unet.pt")
    load_unet(folder / "unet.pt").export(folder / "artifact")
    return folder / "artifact", folder / "unet.pt"


def test_a_good_artifact_verifies_with_exit_code_0(sambench: Sambench, unet: tuple[Path, Path]) -> None:
    folder, checkpoint = unet
    code, out, err = sambench("export", "verify", folder, "--checkpoint", checkpoint, "--windows", 0)
    assert code == 0
    first, last = out.splitlines()
    assert first.startswith("unet: differs from PyTorch by at most logits ")
    assert last == f"{folder}: unchanged, and computes what its manifest says"
    assert "error" not in err


def test_a_unets_artifact_is_compared_on_windows_again(sambench: Sambench, work: Path, unet: tuple[Path, Path]) -> None:
    folder, checkpoint = work / "artifact", unet[1]
    code, out, err = sambench("export", "unet", "--checkpoint", checkpoint, "--windows", 2, "--out", folder)
    assert code == 0, err
    assert "Parity with PyTorch on 2 windows of 1 case" in out
    assert out.splitlines()[-2:] == ["gate: pass", f"written to {folder}"]
    ladder = load_manifest(folder).parity
    assert isinstance(ladder, WindowLadder)
    assert (ladder.windows, list(ladder.labels), ladder.gate) == (2, ["spleen"], "pass")
    code, out, err = sambench("export", "verify", folder, "--checkpoint", checkpoint, "--windows", 2)
    assert code == 0, err
    assert "Parity with PyTorch on 2 windows of 1 case" in out
    assert out.splitlines()[-1] == f"{folder}: unchanged, and computes what its manifest says"


def test_a_state_dict_is_described_by_options_and_verified_without_them(sambench: Sambench, work: Path) -> None:
    arguments = {"channels": [4, 8], "strides": [2], "num_res_units": 1}
    torch.save(nets.UNet(spatial_dims=2, in_channels=1, out_channels=3, **arguments).state_dict(), work / "state.pt")
    words = ["--checkpoint", work / "state.pt", "--windows", 0]
    options = [
        "--network",
        "UNet",
        "--arguments",
        json.dumps(arguments),
        "--patch",
        "16,24",
        "--labels",
        "liver, spleen",
    ]
    code, _, err = sambench("export", "unet", *words, *options, "--out", work / "artifact")
    assert code == 0, err
    config = UNetConfig.model_validate(load_manifest(work / "artifact").settings)
    assert (config.labels, config.windows.patch) == ({1: "liver", 2: "spleen"}, (16, 24))
    assert sambench("export", "verify", work / "artifact", *words)[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--patch", "16,16"), "--network: missing; --arguments, --patch, --labels and --in-channels describe one"),
        (("--network", "UNet", "--labels", "a"), "--patch: missing; a state dict does not tell it"),
        (("--network", "UNet", "--patch", "16,16"), "--labels: missing; a state dict does not tell it"),
        (("--network", "UNet", "--arguments", "{"), "--arguments: { is no JSON"),
        (("--network", "UNet", "--patch", "a,b", "--labels", "a"), "options: patch.0: Input should be a valid integer"),
        (("--network", "UNet", "--patch", "16,16", "--labels", "a"), "unet.pt says itself what network it is"),
        (("--precision", "int8-static", "--windows", "0"), "--windows: int8-static calibrates on windows"),
        (("--data", "gone"), "gone: there is no such task folder"),
    ],
)
def test_options_of_a_unet_that_do_not_go_together_are_refused(
    words: tuple[str, ...], told: str, sambench: Sambench, work: Path, unet: tuple[Path, Path]
) -> None:
    code, out, err = sambench("export", "unet", "--checkpoint", unet[1], "--out", work / "artifact", *words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert told in err.splitlines()[-1]
    assert list(work.iterdir()) == []


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_changed_file_is_exit_code_1_and_one_sentence(
    sambench: Sambench, unet: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(unet[0], tmp_path / "artifact"))
    change_a_byte(folder / "unet.onnx")
    code, out, err = sambench("export", "verify", folder, "--checkpoint", unet[1])
    assert (code, out) == (1, "")
    assert err == (f"error: {folder / 'unet.onnx'}: missing or changed since it was verified; export the model again\n")


def test_what_cannot_be_verified_is_exit_code_2(sambench: Sambench, unet: tuple[Path, Path], tmp_path: Path) -> None:
    """It says nothing against the artifact, so it must not look like a changed one."""
    code, out, err = sambench("export", "verify", unet[0], "--windows", 0)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith("was made from unet.pt; give that file with --checkpoint")
    code, _, err = sambench("export", "verify", tmp_path / "gone")
    assert code == 2
    assert "no such folder" in err


@pytest.mark.slow
@pytest.mark.usefixtures("traced_once")
def test_an_export_is_gated_published_and_verifiable_from_end_to_end(
    litemedsam: Any, sambench: Sambench, work: Path
) -> None:
    """On a slice with one organ: that many prompts at once are answered as PyTorch does, `test_sam.py` holds."""
    folder = work / "artifact"
    task = MSD_REAL / "Task09_Spleen"
    words = ["--slices", "1", *(["--data", task] if task.is_dir() else [])]
    code, out, err = sambench("export", "sam", "--model", "litemedsam", "--out", folder, *words)
    assert code == 0, err
    assert out.splitlines()[-2:] == ["gate: pass", f"written to {folder}"]
    assert sorted(file.name for file in folder.iterdir()) == ["decoder.onnx", "encoder.onnx", MANIFEST_FILE]
    manifest = load_manifest(folder)
    assert (manifest.model, manifest.precision, manifest.gate) == ("litemedsam", "fp32", "pass")
    assert (manifest.weights.source, manifest.weights.published) == ("package", True)
    assert manifest.weights.sha256 == sha256_file(SAM_MODELS["litemedsam"].packaged())  # type: ignore[misc]
    assert isinstance(manifest.parity, Ladder)
    assert list(manifest.parity.kinds) == ["point", "points", "box", "box+point", "box+mask"]
    assert len(manifest.parity.samples) == 1 < SLICES
    assert manifest.parity.embedding_cosine is not None
    assert manifest.parity.embedding_cosine > 0.999999
    for kind in manifest.parity.kinds.values():
        assert kind.prompts >= 1
        assert kind.low_res_max_error is not None
        assert kind.low_res_max_error < 1e-2
        assert kind.mask_dice > 0.999
        assert kind.dice == pytest.approx(kind.dice_pytorch, abs=1e-3)
    assert manifest.parity.kinds["box"].dice_pytorch is not None
    assert manifest.parity.kinds["box"].dice_pytorch > 0.5, "the slice, its prompts and its truth do not fit together"

    code, out, err = sambench("export", "verify", folder, *words)
    assert code == 0, err
    assert out.splitlines()[-1] == f"{folder}: unchanged, and computes what its manifest says"
    assert [line.split(":")[0] for line in out.splitlines()[:2]] == ["encoder", "decoder"]

    change_a_byte(folder / "decoder.onnx")
    code, out, err = sambench("export", "verify", folder, *words)
    assert (code, out) == (1, "")
    assert "decoder.onnx: missing or changed since it was verified" in err
    content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    assert content["weights"]["published"] is True
