"""What an artifact is: its manifest, the hashes that protect it, and the check that nothing in it points elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_FILE = "manifest.json"

Gate = Literal["pass", "fail"]


class ExportError(Exception):
    """A module cannot be exported, or its export does not compute what PyTorch computes."""


class ArtifactChangedError(ExportError):
    """An artifact is not what its manifest says."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TensorSpec(BaseModel):
    """One named input or output. A dimension is a size, or the name of a dynamic one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dims: tuple[int | str, ...]
    dtype: str = "float32"


class Weights(BaseModel):
    """Where a module's weights came from.

    Attributes:
        source: a `checkpoint` that was named, the download `cache`, the model's own `package`, or `random`.
        file: the checkpoint's file name; the end of its path, where it belongs to a folder.
        sha256: of the checkpoint file; with what it takes besides to build the network, if it is not in there.
        published: whether that is the file that the model's authors publish; None where there is no such file.
        seed: of random weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["checkpoint", "cache", "package", "random"]
    file: str | None = None
    sha256: str | None = None
    published: bool | None = None
    seed: int | None = None

    @property
    def random(self) -> bool:
        """Whether they are random: good for latency, worthless for accuracy."""
        return self.source == "random"

    @property
    def key(self) -> str:
        """Changes with the weights."""
        return self.sha256 or f"random weights, seed {self.seed}"


RANDOM_WEIGHTS = "random weights: latency alone means something, accuracy does not"
"""Why there is no accuracy where `Weights.random`."""


class ExternalFile(_Model):
    """A file of weights beside an ONNX file that is too large to hold them."""

    file: str
    sha256: str
    bytes: int


class FileEntry(_Model):
    """One ONNX file of an artifact, as it was when it was verified."""

    file: str
    sha256: str
    bytes: int = Field(description="of the ONNX file and its external data together")
    external: list[ExternalFile] = []
    precision: str = Field(default="fp32", description="of this file; a part of an int8 artifact may stay in fp32")
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: dict[str, int] = Field(description="how often each operator stands in the graph")
    parameters: int = Field(description="of the PyTorch module")
    flops: int | None = Field(description="of one call with `flops_shapes`, a multiply-add counted as two")
    flops_shapes: dict[str, tuple[int, ...]]
    max_abs_error: dict[str, float | None] = Field(description="per output, against PyTorch's; null: NaN or infinity")
    tolerance: dict[str, float] | None = Field(description="per output; null for a reduced precision, which is gated")
    export_seconds: float


class KindParity(_Model):
    """One kind of prompt: the artifact against PyTorch's fp32, each with its own encoder, over all samples."""

    prompts: int
    low_res_max_error: float | None = Field(description="largest difference of low-resolution logits; null: not finite")
    mask_dice: float = Field(description="mean Dice between the two sides' masks")
    pixels_differing: float = Field(description="share of all mask pixels on which the two sides differ")
    dice: float | None = Field(description="the artifact's mean Dice against the labels")
    dice_pytorch: float | None = Field(description="PyTorch's")
    reason: str | None = Field(default=None, description="why there is no Dice against labels")
    gate: Gate
    gate_reason: str | None = None


class Ladder(_Model):
    """The parity ladder: from the embedding to the logits to the mask to Dice."""

    samples: list[str] = Field(description="the slices it was measured on")
    embedding_cosine: float | None = Field(description="smallest between the two sides' embeddings; null: not finite")
    embedding_max_error: float | None
    kinds: dict[str, KindParity]
    gate: Gate = Field(description="of all the kinds of prompt that the model was trained on")
    gate_reason: str | None = None


class LabelParity(_Model):
    """One label of a UNet, over all cases in which it stands; null where it stands in none."""

    mask_dice: float | None = Field(description="mean Dice between the two sides' masks")
    dice: float | None = Field(description="the artifact's mean Dice against the reference labels")
    dice_pytorch: float | None = Field(description="PyTorch's")


class WindowLadder(_Model):
    """The parity ladder of a UNet: from the logits to the mask to Dice."""

    samples: list[str] = Field(description="the cases it was measured on")
    windows: int = Field(description="of all cases together")
    logit_max_error: float | None = Field(description="largest difference from PyTorch's logits; null: not finite")
    voxels_differing: float = Field(description="share of all voxels that get another label than PyTorch gives them")
    labels: dict[str, LabelParity]
    mask_dice: float | None = Field(description="mean over labels; null: no mask on either side")
    dice: float | None = Field(description="mean over labels, against the reference labels")
    dice_pytorch: float | None
    reason: str | None = Field(default=None, description="why there is no Dice, or why it says little")
    gate: Gate
    gate_reason: str | None = None


class Manifest(_Model):
    """What an artifact is and how it was made."""

    model: str
    weights: Weights
    opset: int
    precision: str
    precision_notes: list[str] = []
    versions: dict[str, str]
    settings: dict[str, Any]
    files: dict[str, FileEntry]
    parity: Ladder | WindowLadder | None = None
    gate: Gate | None = Field(default=None, description="whether enough of PyTorch's Dice is kept; null: not measured")
    gate_reason: str | None = None
    export_seconds: float = Field(description="all of it, verification included")


def load_manifest(folder: Path) -> Manifest:
    """Reads an artifact's manifest, checks its files' hashes and that no file lies outside the folder.

    Raises:
        ExportError: there is none, or it is damaged.
        ArtifactChangedError: a file changed since it was verified, or lies outside the folder.
    """
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise ExportError(f"{folder}: no such folder; name the folder of an artifact")
    if not path.is_file():
        raise ExportError(f"{path}: no readable manifest, so {folder} is no artifact; export a model there first")
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or pydantic's ValidationError
        raise ExportError(f"{path}: no readable manifest ({type(error).__name__}); export the model again") from None
    for entry in manifest.files.values():
        for name, sha256 in [(entry.file, entry.sha256), *((part.file, part.sha256) for part in entry.external)]:
            file = folder / require_plain_name(name, path)
            if not _is_whole(file, sha256):
                raise ArtifactChangedError(f"{file}: missing or changed since it was verified; export the model again")
        require_external_inside(folder / entry.file, [part.file for part in entry.external])
    return manifest


def _is_whole(file: Path, sha256: str) -> bool:
    try:
        return not file.is_symlink() and file.is_file() and sha256_file(file) == sha256
    except OSError:  # unreadable, or a name that the system does not take
        return False


def require_plain_name(name: str, source: Path) -> str:
    """Refuses a file name that could lead out of the artifact's folder.

    Raises:
        ArtifactChangedError: it is absolute, has a folder in it, or is `..`.
    """
    if not name or name in {".", ".."} or "\\" in name or ":" in name or PurePosixPath(name).name != name:
        raise ArtifactChangedError(
            f"{source}: names the file {name!r}, which is not inside the artifact's folder; refused"
        )
    return name


def external_locations(onnx_path: Path) -> list[str]:
    """The files that a graph takes weights from, as it names them.

    Raises:
        ArtifactChangedError: it is no ONNX file.
    """
    import onnx

    try:
        model = onnx.load(str(onnx_path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError; that package is onnx's own affair
        raise ArtifactChangedError(
            f"{onnx_path}: is no ONNX file ({type(error).__name__}); export the model again"
        ) from None
    found = (entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location")
    return list(dict.fromkeys(found))


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor within a protobuf message.

    onnx's own list leaves out sparse initializers and the branches inside local functions.
    """
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in [value] if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield part
            else:
                yield from _tensors(part)


def require_external_inside(onnx_path: Path, listed: list[str]) -> None:
    """Refuses a graph that takes weights from a file which the manifest does not list.

    ONNX Runtime opens whatever path a graph names: a foreign artifact could name any file of the machine.

    Raises:
        ArtifactChangedError: it does.
    """
    for location in external_locations(onnx_path):
        if require_plain_name(location, onnx_path) not in listed:
            raise ArtifactChangedError(
                f"{onnx_path}: takes weights from {location!r}, which its manifest does not list; refused"
            )


def sha256_file(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_files(paths: Sequence[Path]) -> str:
    """Changes with any of several files: the SHA-256 of their SHA-256, in hexadecimal, in this order."""
    return hashlib.sha256("".join(map(sha256_file, paths)).encode()).hexdigest()
