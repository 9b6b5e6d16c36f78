"""Slices to look at, saved while a case is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.slices import Slice
from benchmark.files import atomic_path
from benchmark.metrics import dice_per_label, mean
from benchmark.plan import Group
from benchmark.results import LaneKey, Picture

Labels = NDArray[np.uint8]


def save_pictures(
    run_dir: Path, group: Group, chosen: Sequence[Slice], predictions: Mapping[str, Mapping[str, Labels]], count: int
) -> list[Picture]:
    """Saves the slices worth a look: where the lanes disagree most, then where most of the organs is to be seen.

    Args:
        run_dir: the run's folder.
        group: what is shown.
        chosen: the case's slices.
        predictions: variant → lane → label maps [n, H, W] of those slices.
        count: pictures a variant.
    """
    pictures = []
    for variant, by_lane in predictions.items():
        if not by_lane:  # every lane failed: the cells say why
            continue
        for index in _worth_a_look(chosen, list(by_lane.values()), count):
            pictures.append(_save(run_dir, group, variant, chosen[index], {k: p[index] for k, p in by_lane.items()}))
    return pictures


def _worth_a_look(chosen: Sequence[Slice], predictions: Sequence[Labels], count: int) -> list[int]:
    area = np.array([np.count_nonzero(piece.label) for piece in chosen])
    disagreement = np.zeros(len(chosen), dtype=int)
    for other in predictions[1:]:
        disagreement += (other != predictions[0]).sum(axis=(1, 2))
    disagreement[area == 0] = 0
    by_area = [int(index) for index in np.argsort(-area, kind="stable")]
    ranked = ([int(disagreement.argmax())] if disagreement.any() else []) + by_area
    # Neighbours look alike: after the first, take slices at some distance from those already taken.
    distance = max(1, len(chosen) // (2 * count + 1))
    taken: list[int] = []
    for index in ranked:
        if area[index] and all(abs(index - other) >= distance for other in taken) and len(taken) < count:
            taken.append(index)
    return taken


def _save(run_dir: Path, group: Group, variant: str, piece: Slice, predictions: Mapping[str, Labels]) -> Picture:
    folder = Path("pictures") / group.folder
    stem = f"{piece.case}_{piece.index:03d}"
    labels = dict(group.planned.task.labels)

    def write(suffix: str, array: NDArray[np.uint8]) -> str:
        relative = folder / f"{stem}_{suffix}.png"
        _write_png(run_dir / relative, array)
        return relative.as_posix()

    return Picture(
        stage=group.stage,
        task=group.planned.name,
        model=group.model,
        prompt=variant,
        case=piece.case,
        slice=piece.index,
        spacing_mm=piece.spacing,
        image=write("image", np.rint(piece.image).astype(np.uint8)),
        reference=write("reference", piece.label),
        predictions={
            lane: write(f"{variant}_{LaneKey.parse(lane).file_name}", array) for lane, array in predictions.items()
        },
        labels=labels,
        dice={
            lane: None if group.no_dice else mean(dice_per_label(array, piece.label, labels).values())
            for lane, array in predictions.items()
        },
        dice_reason=group.no_dice,
        differing=_differing(list(predictions.values())),
    )


def _differing(predictions: Sequence[Labels]) -> int:
    """In how many pixels any lane differs from the first."""
    first, *others = predictions
    return int(np.count_nonzero(np.any([other != first for other in others], axis=0))) if others else 0


def _write_png(path: Path, array: NDArray[np.uint8]) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG")
