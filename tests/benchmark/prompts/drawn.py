"""Masks, targets and cases that hypothesis draws, and small things to look at prompts with."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmark.data.slices import Slice
from benchmark.prompts import BOX_CORNER, NEGATIVE, POSITIVE, Prompt, Target

# No deadline: the machine may be busy.
brief = settings(max_examples=50, deadline=None)

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any)

_boxes = array_shapes(min_dims=3, max_dims=3, max_side=5)
volumes = st.one_of(
    arrays(np.uint8, _boxes, elements=st.sampled_from([0, 0, 0, 1, 1, 2, 3]), fill=st.nothing()),
    # Mostly empty: many components, and slices without any.
    arrays(np.uint8, _boxes, elements=st.integers(0, 3), fill=st.just(0)),
)

seeds = st.integers(0, 2**32)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """An object and more of its label, near or far from it."""
    mask = draw(masks)
    other = draw(arrays(np.bool_, mask.shape))
    return Target(mask, mask | other)


def voxels(prompt: Prompt, label: int) -> list[tuple[int, int]]:
    """Row and column of each click; it must lie in the middle of its voxel."""
    coords = prompt.coords[prompt.labels == label]
    assert (coords % 1 == 0.5).all()
    return [(int(y), int(x)) for x, y in coords]


def box_of(prompt: Prompt) -> list[float]:
    """x0, y0, x1, y1 of a prompt whose last two points are a box."""
    assert prompt.labels[-2:].tolist() == [BOX_CORNER, 3]
    found: list[float] = prompt.coords[-2:].ravel().tolist()
    return found


def check(prompt: Prompt, target: Target) -> None:
    """What holds for every prompt."""
    assert prompt.coords.dtype == prompt.labels.dtype == np.float32
    assert prompt.coords.shape == (len(prompt.labels), 2)
    assert len(prompt.labels) > 0
    assert set(prompt.labels.tolist()) <= {0, 1, 2, 3}, "padding is added with the decoder's inputs"
    positive, negative = voxels(prompt, POSITIVE), voxels(prompt, NEGATIVE)
    assert all(target.mask[voxel] for voxel in positive)
    height, width = target.mask.shape
    assert all(0 <= row < height and 0 <= column < width and not target.label[row, column] for row, column in negative)
    assert len({*positive, *negative}) == len(positive) + len(negative), "nobody clicks twice on a voxel"
    has_box = BOX_CORNER in prompt.labels
    if has_box:
        x0, y0, x1, y1 = box_of(prompt)
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    assert len(prompt.labels) == len(positive) + len(negative) + 2 * has_box


def slice_of(label: np.ndarray, k: int, case: str = "case") -> Slice:
    """An axial slice of a label volume [X, Y, Z], as `benchmark.data.slices` cuts it."""
    drawn = label[:, :, k].T.copy(order="C")
    return Slice(case, k, np.zeros(drawn.shape, np.float32), drawn, (1.0, 1.0))
