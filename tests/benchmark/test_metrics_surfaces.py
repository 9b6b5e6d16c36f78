"""NSD and HD95 against brute force, MONAI and numbers worked out by hand; and the rules for empty masks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_surface_dice
from scipy.spatial.distance import cdist

from benchmark import metrics
from benchmark.metrics import CaseSurfaces, Scale, Surface, surface_distances

SPACING = (2.5, 0.7, 0.8)  # a CT's: slices farther apart than rows and columns
FACES = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two masks that both hold something, up to the border of the volume."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    pair = []
    for _ in range(2):
        mask = draw(arrays(np.bool_, shape, fill=st.just(False)))
        mask[tuple(draw(st.integers(0, side - 1)) for side in shape)] = True
        pair.append(mask)
    return pair[0], pair[1]


def box(*ranges: tuple[int, int], shape: tuple[int, int, int] = (8, 24, 24)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*span) for span in ranges)] = True
    return mask


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Positions in mm of the voxels with a face towards something else, found voxel by voxel."""
    inside = {tuple(voxel) for voxel in np.argwhere(mask)}
    found = [voxel for voxel in inside if any(tuple(np.add(voxel, step)) not in inside for step in FACES)]
    return np.array(sorted(found)) * SPACING


@given(masks())
@settings(deadline=None)
def test_hd95_is_the_larger_percentile_of_the_distances_between_all_pairs_of_surface_voxels(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    distances = cdist(*map(surface_voxels, pair))
    expected = max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))
    found = surface_distances(*pair, Scale(SPACING, 1.0)).hd95_mm
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(masks(), st.sampled_from([0.3, 0.8, 1.5, 2.6, 5.0]))
@settings(deadline=None)
def test_nsd_is_monais_and_so_the_decathlons(pair: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
    ours, theirs = (torch.from_numpy(mask)[None, None] for mask in pair)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = compute_surface_dice(
            ours, theirs, [tolerance], include_background=True, spacing=SPACING, use_subvoxels=True
        )
    found = surface_distances(*pair, Scale(SPACING, tolerance)).nsd
    assert found == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize(("tolerance", "expected"), [(0.0, 0.0), (2.49, 0.0), (2.5, 0.5), (4.99, 0.5), (5.0, 1.0)])
def test_two_voxels_that_lie_apart_by_hand(tolerance: float, expected: float) -> None:
    """A voxel has a surface at its eight corners. Two slices apart, four are 2.5 mm and four 5 mm from the other's."""
    one, other = box((2, 3), (5, 6), (5, 6)), box((4, 5), (5, 6), (5, 6))
    found = surface_distances(one, other, Scale(SPACING, tolerance))
    assert found == Surface(pytest.approx(expected), pytest.approx(5.0))


def test_surfaces_count_by_area_and_not_by_voxels() -> None:
    """A slab's faces are what lies apart; its thin rim of tall voxels is little area, and so is the loss of it."""
    spacing = (1.0, 1.0, 1.0)
    thick, thin = box((1, 7), (2, 22), (2, 22)), box((1, 4), (2, 22), (2, 22))
    found = surface_distances(thick, thin, Scale(spacing, 0.0)).nsd
    # Both have one face of 400 mm² in the same place, and of the sides 80 mm a slice for the slices they share. Of the
    # rest, 3 slices of sides and 2 faces lie apart. Bevelled edges make it inexact.
    same, apart = 2 * 400 + 2 * 80 * 3, 2 * 400 + 80 * 3
    assert found == pytest.approx(same / (same + apart), abs=0.03)


def test_a_shift_is_found_in_millimetres_along_each_axis() -> None:
    organ = box((2, 5), (4, 20), (4, 20))
    for axis, step in enumerate(SPACING):
        found = surface_distances(np.roll(organ, 1, axis), organ, Scale(SPACING, step))
        assert found == Surface(pytest.approx(1.0), pytest.approx(step))


@given(masks(), st.floats(0, 20))
@settings(deadline=None)
def test_which_of_two_is_the_reference_does_not_matter_and_a_mask_matches_itself(
    pair: tuple[np.ndarray, np.ndarray], tolerance: float
) -> None:
    scale = Scale(SPACING, tolerance)
    there, back = surface_distances(*pair, scale), surface_distances(*pair[::-1], scale)
    assert there == Surface(pytest.approx(back.nsd), pytest.approx(back.hd95_mm))
    assert there.nsd is not None and 0 <= there.nsd <= 1
    assert surface_distances(pair[0], pair[0], scale) == Surface(1.0, 0.0)


def test_empty_masks_follow_the_rules() -> None:
    organ, nothing = box((2, 5), (4, 20), (4, 20)), box((0, 0))
    scale = Scale(SPACING, 1.0)
    assert surface_distances(nothing, organ, scale) == Surface(0.0, None), "missed: NSD 0, and HD95 infinite"
    assert surface_distances(organ, nothing, scale) == Surface(None, None), "nothing to find, though found"
    assert surface_distances(nothing, nothing, scale) == Surface(None, None)
    none = np.zeros((0, 0, 0), dtype=bool)
    assert surface_distances(none, none, scale) == Surface(None, None)


def test_each_label_of_a_case_is_measured_by_itself() -> None:
    reference = (box((2, 5), (4, 20), (4, 20)) + 3 * box((6, 7), (4, 9), (4, 9))).astype(np.uint8)
    predicted = np.where(reference == 1, 1, 0).astype(np.uint8)
    case = CaseSurfaces(reference, {1: "liver", 2: "cancer", 3: "spleen"}, Scale(SPACING, 1.0))
    assert case.measure(predicted) == {
        "liver": Surface(1.0, 0.0),
        "cancer": Surface(None, None),
        "spleen": Surface(0.0, None),
    }


def test_backends_that_agree_share_the_work_and_those_that_do_not_keep_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(*arguments: object) -> Surface:
        calls.append(1)
        return surface_distances(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(metrics, "surface_distances", counted)
    organ = box((2, 5), (4, 20), (4, 20)).astype(np.uint8)
    case = CaseSurfaces(organ, {1: "liver"}, Scale(SPACING, 1.0))
    assert case.measure(organ) == case.measure(organ.copy())
    assert len(calls) == 1
    assert case.measure(np.roll(organ, 1, axis=0))["liver"].hd95_mm == pytest.approx(2.5)
    assert len(calls) == 2


def test_a_stray_voxel_in_a_corner_changes_little() -> None:
    """It stretches the box around both masks over the whole volume, which must cost no accuracy."""
    organ = box((2, 5), (4, 20), (4, 20))
    stray = organ.copy()
    stray[0, 0, 0] = True
    found = surface_distances(stray, organ, Scale(SPACING, 1.0))
    assert found.nsd is not None and 0.99 < found.nsd < 1.0
    assert found.hd95_mm == 0.0
