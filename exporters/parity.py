"""The parity ladder of a SAM: from the embedding to the logits to the mask to Dice, per kind of prompt.

Each side runs its own encoder and decoder, so that an error of the encoder is carried to the masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from exporters.exportable import Arrays, Feed
from exporters.hold import cpu_session, run_session
from exporters.manifest import KindParity, Ladder

if TYPE_CHECKING:
    import torch

GATE = 0.999
"""The share of the reference's Dice that must be kept: MLPerf's stricter gate for 3D-UNet."""

Fit = Literal["pad", "stretch"]

MASKS_OF: Mapping[Fit, str] = {"pad": "masks", "stretch": "low_res_masks"}
"""The output of the decoder that the masks on the slice are made of."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Prompts:
    """P prompts of one kind on one slice, as the decoder takes them.

    Attributes:
        coords: [P, N, 2], x and y in pixels of the encoder's square.
        labels: [P, N], SAM's point labels.
        needs: what a model must have been trained on for its answer to mean anything: `point`, `box`, `mask`.
        refines: the kind whose logits are the mask prompt; None without a mask prompt.
        truth: [P, H, W], the reference masks; None where there are none.
    """

    coords: Floats
    labels: Floats
    needs: frozenset[str]
    refines: str | None = None
    truth: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Sample:
    """One slice.

    Attributes:
        name: where it is from.
        image: [1, 3, S, S] as the encoder takes it.
        size: rows and columns of the slice.
        kinds: kind → prompts; one that refines another stands after it.
    """

    name: str
    image: Floats
    size: tuple[int, int]
    kinds: Mapping[str, Prompts]


@dataclass(frozen=True)
class Answer:
    """What PyTorch computed for a sample, and what the decoder was fed for it."""

    sample: Sample
    embedding: Floats
    feeds: Mapping[str, Feed]
    outputs: Mapping[str, Arrays]


def pytorch_answers(encoder: Any, decoder: Any, samples: Sequence[Sample]) -> list[Answer]:
    """Runs the modules over every sample and kind.

    Args:
        encoder: `SamEncoder`.
        decoder: `SamDecoder`.
        samples: the slices.
    """
    import torch

    answers = []
    for sample in samples:
        with torch.inference_mode():
            embedding = encoder(image=torch.from_numpy(sample.image)).numpy()
        feeds: dict[str, Feed] = {}
        outputs: dict[str, Arrays] = {}
        for kind, prompts in sample.kinds.items():
            feed = _feed(prompts, sample.size, 4 * embedding.shape[-1], outputs)
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(np.array(value)) for name, value in feed.items()}
                result = decoder(image_embeddings=torch.from_numpy(embedding), **tensors)
            feeds[kind] = feed
            names = ("masks", "iou_predictions", "low_res_masks")
            outputs[kind] = {name: value.numpy() for name, value in zip(names, result, strict=True)}
        answers.append(Answer(sample, embedding, feeds, outputs))
    return answers


def _feed(prompts: Prompts, size: tuple[int, int], low: int, earlier: Mapping[str, Arrays]) -> Arrays:
    mask = np.zeros((1, 1, low, low), dtype=np.float32)
    if prompts.refines is not None:
        # Both sides get PyTorch's logits: what is compared is this pass, not the one before.
        mask = earlier[prompts.refines]["low_res_masks"][:, :1]
    return {
        "point_coords": prompts.coords,
        "point_labels": prompts.labels,
        "mask_input": mask,
        "has_mask_input": np.full(1, float(prompts.refines is not None), dtype=np.float32),
        "orig_im_size": np.array(size, dtype=np.float32),
    }


def masks_on_slice(outputs: Mapping[str, NDArray[Any]], size: tuple[int, int], fit: Fit) -> NDArray[Any]:
    """The decoder's masks as logits on the slice's own grid, [P, M, H, W].

    The decoder undoes SAM's padding, as the official one does. A model that was shown stretched slices (MedSAM) has
    none; its own code resizes the low-resolution logits straight to the slice (bowang-lab/MedSAM, MedSAM_Inference.py).

    Args:
        outputs: of the decoder.
        size: H and W.
        fit: how the slice was put into the encoder's square.
    """
    if fit == "pad":
        return outputs[MASKS_OF[fit]]
    import torch

    low_res = torch.from_numpy(np.ascontiguousarray(outputs[MASKS_OF[fit]]))
    resized: NDArray[Any] = tensor_on_slice(low_res, size, fit).numpy()
    return resized


def tensor_on_slice(masks: torch.Tensor, size: tuple[int, int], fit: Fit) -> torch.Tensor:
    """What `masks_on_slice` does, on the device where the masks are.

    Args:
        masks: the decoder's output `MASKS_OF[fit]`, [P, M, h, w].
        size: H and W.
        fit: how the slice was put into the encoder's square.
    """
    if fit == "pad":
        return masks
    from torch.nn import functional

    return functional.interpolate(masks, size, mode="bilinear", align_corners=False)


def climb(folder: Path, answers: Sequence[Answer], trained_on: Sequence[str], fit: Fit, no_dice: str | None) -> Ladder:
    """Holds an artifact against PyTorch's answers.

    Args:
        folder: with encoder.onnx and decoder.onnx.
        answers: PyTorch's.
        trained_on: the kinds of prompt the model has seen in training; others do not decide the gate.
        fit: how slices are put into the encoder's square.
        no_dice: why Dice against labels would mean nothing; None if it does.

    Raises:
        ExportError: a file cannot be loaded or run.
    """
    encoder_path, decoder_path = folder / "encoder.onnx", folder / "decoder.onnx"
    encoder, decoder = cpu_session(encoder_path), cpu_session(decoder_path)
    names = ("masks", "iou_predictions", "low_res_masks")
    cosines, errors = [], []
    pairs: dict[str, list[tuple[Answer, Arrays]]] = {}
    for answer in answers:
        (embedding,) = run_session(encoder, encoder_path, ["image_embeddings"], {"image": answer.sample.image})
        cosines.append(_cosine(embedding, answer.embedding))
        errors.append(_max_error(embedding, answer.embedding))
        for kind, feed in answer.feeds.items():
            values = run_session(decoder, decoder_path, names, {"image_embeddings": embedding, **feed})
            pairs.setdefault(kind, []).append((answer, dict(zip(names, values, strict=True))))
    kinds = {kind: _kind_parity(kind, of_kind, fit, no_dice) for kind, of_kind in pairs.items()}
    needs = {kind: of_kind[0][0].sample.kinds[kind].needs for kind, of_kind in pairs.items()}
    gated = [kind for kind in kinds if needs[kind] <= set(trained_on)]
    failed = [f"{kind}: {kinds[kind].gate_reason}" for kind in gated if kinds[kind].gate == "fail"]
    return Ladder(
        samples=[answer.sample.name for answer in answers],
        embedding_cosine=_finite(float(np.min(cosines))),
        embedding_max_error=_finite(float(np.max(errors))),
        kinds=kinds,
        gate="fail" if failed else "pass",
        gate_reason="; ".join(failed) or None,
    )


def _kind_parity(kind: str, pairs: Sequence[tuple[Answer, Arrays]], fit: Fit, no_dice: str | None) -> KindParity:
    error, differing, pixels, prompts, finite = 0.0, 0, 0, 0, True
    mask_dice: list[float] = []
    dice: list[tuple[float, float]] = []
    for answer, ours in pairs:
        theirs, sample = answer.outputs[kind], answer.sample
        truth = sample.kinds[kind].truth
        error = float(np.maximum(error, _max_error(ours["low_res_masks"], theirs["low_res_masks"])))  # keeps NaN
        binary = [masks_on_slice(side, sample.size, fit) > 0 for side in (ours, theirs)]
        differing += int(np.count_nonzero(binary[0] != binary[1]))
        pixels += binary[0].size
        prompts += len(binary[0])
        finite = finite and all(np.isfinite(values).all() for values in ours.values())
        mask_dice += _dice(*(side.reshape(-1, *sample.size) for side in binary))
        if truth is not None and no_dice is None:
            chosen = [_best(side, scores) for side, scores in zip(binary, (ours, theirs), strict=True)]
            dice += zip(*(_dice(side, truth) for side in chosen), strict=True)
    means = [float(np.mean(values)) for values in zip(*dice, strict=True)] if dice else [None, None]
    agreement = float(np.mean(mask_dice))
    # NaN is not above 0 either: as background it agrees with background.
    failure = gate_failure(means[0], means[1], agreement) if finite else "its answers hold NaN or infinity"
    return KindParity(
        prompts=prompts,
        low_res_max_error=_finite(error),
        mask_dice=agreement,
        pixels_differing=differing / pixels,
        dice=means[0],
        dice_pytorch=means[1],
        reason=None if dice else no_dice or "the slices have no reference labels",
        gate="fail" if failure else "pass",
        gate_reason=failure,
    )


def gate_failure(
    dice: float | None, reference_dice: float | None, mask_dice: float | None, reference: str = "pytorch"
) -> str | None:
    """Why answers are not good enough to be timed; None if they are. A fast wrong answer is no answer.

    Args:
        dice: against the labels; None where there are none that mean anything. Then the masks themselves decide.
        reference_dice: the reference's.
        mask_dice: between the two sides' masks.
        reference: whose answers they are held against.
    """
    if dice is not None and reference_dice is not None and reference_dice > 0:
        if not dice >= GATE * reference_dice:
            return f"Dice {dice:.4f} is below {GATE:.1%} of {reference}'s {reference_dice:.4f}"
        return None
    if mask_dice is not None and not mask_dice >= GATE:
        return f"its masks overlap {reference}'s with Dice {mask_dice:.4f}, below {GATE}"
    return None


def _best(binary: NDArray[np.bool_], outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """The mask with the highest predicted IoU of each prompt, [P, H, W]."""
    best: NDArray[np.bool_] = binary[np.arange(len(binary)), outputs["iou_predictions"].argmax(axis=1)]
    return best


def _dice(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> list[float]:
    """Dice of each mask; 1 where both are empty, since then they agree."""
    import torch
    from monai.metrics import compute_dice

    pair = [torch.from_numpy(np.ascontiguousarray(side))[:, None].float() for side in (ours, theirs)]
    scores = compute_dice(pair[0], pair[1], ignore_empty=False).numpy()[:, 0]
    return [float(score) for score in scores]


def _cosine(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    left, right = ours.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


def _max_error(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    return float(np.abs(ours - theirs).max())


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
