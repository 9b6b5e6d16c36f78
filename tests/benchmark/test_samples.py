"""Slices for the parity ladder: prompts, truth and image lie on each other whatever is done to the slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.data.msd import open_task
from benchmark.errors import InputError
from benchmark.samples import MIN_PIXELS, phantom_samples, task_samples
from benchmark.stages.sam_input import resized
from exporters.parity import Prompts, Sample
from exporters.sam import SAM_MODELS, SamModel
from tests.benchmark.conftest import MakeTask

KINDS = ["point", "points", "box", "box+point", "box+mask"]
LABELS = {
    "point": [1, -1],
    "points": [1, 0, -1],
    "box": [2, 3],
    "box+point": [1, 2, 3],
    "box+mask": [2, 3],
}
WIDE = (64, 40, 5)
TALL = (40, 64, 5)

# One of each way to put a slice into the square, at a size that is quick.
MODELS = {name: SAM_MODELS[name] for name in ("vit_b", "medsam", "litemedsam")}


def drawn(shape: tuple[int, int, int], label: bool) -> np.ndarray:
    """An L of bone in air, far from the middle and without any symmetry: no turn or mirroring maps it onto itself."""
    volume = np.zeros(shape, dtype=np.int16)
    volume[4:20, 6:12] = 1
    volume[4:9, 6:30] = 1
    return volume.astype(np.uint8) if label else (2000 * volume - 1000).astype(np.int16)


@pytest.fixture(params=[WIDE, TALL], ids=["wide", "tall"])
def task(request: pytest.FixtureRequest, make_task: MakeTask) -> Any:
    return open_task(make_task(image=drawn(request.param, False), label=drawn(request.param, True)))


@pytest.fixture(params=MODELS, ids=str)
def model(request: pytest.FixtureRequest) -> SamModel:
    return MODELS[request.param]


def content(sample: Sample, model: SamModel) -> tuple[int, int]:
    """Rows and columns of the square that the slice fills."""
    square = (model.image_size, model.image_size)
    return square if model.fit == "stretch" else resized(*sample.size, model.image_size)


def bright(sample: Sample) -> np.ndarray:
    """Where the encoder's image shows the object: the one thing that is seen of it, and so what prompts must fit to."""
    image = sample.image[0, 0]
    shown: np.ndarray = image > (image.min() + image.max()) / 2  # the padding's 0 is below that of vit_b, too
    return shown


def in_square(truth: np.ndarray, size: tuple[int, int], side: int) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(truth))[None, None].float()
    small = functional.interpolate(tensor, size, mode="nearest-exact")
    padded: np.ndarray = functional.pad(small, (0, side - size[1], 0, side - size[0]))[0, 0].numpy() > 0.5
    return padded


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.count_nonzero(first & second) / np.count_nonzero(first | second))


def points(prompts: Prompts, label: int) -> list[tuple[float, float]]:
    (labels,), (coords,) = prompts.labels, prompts.coords
    return [tuple(coords[index].tolist()) for index in np.flatnonzero(labels == label)]


def test_the_truth_is_turned_with_the_image(task: Any, model: SamModel) -> None:
    (sample,) = task_samples(task, model, 1)
    size, shown = content(sample, model), bright(sample)
    for prompts in sample.kinds.values():
        assert prompts.truth is not None
        assert prompts.truth.dtype == bool
        assert prompts.truth.shape == (1, *sample.size)
        assert overlap(in_square(prompts.truth[0], size, model.image_size), shown) > 0.9
        turned = in_square(prompts.truth[0, ::-1, ::-1], size, model.image_size)
        assert overlap(turned, shown) < 0.1, "the drawing would not tell"


def test_a_slice_lies_as_its_model_was_trained(task: Any) -> None:
    as_displayed, turned = (task_samples(task, MODELS[name], 1)[0] for name in ("vit_b", "litemedsam"))
    first, second = (sample.kinds["box"].truth for sample in (as_displayed, turned))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, np.rot90(second, 2, axes=(1, 2)))


def test_positive_points_lie_on_the_object_and_negative_ones_beside_it(task: Any, model: SamModel) -> None:
    (sample,) = task_samples(task, model, 1)
    shown, (height, width) = bright(sample), content(sample, model)
    voxel = max(height / sample.size[0], width / sample.size[1])
    rows, columns = np.nonzero(shown)
    seen = 0
    for prompts in sample.kinds.values():
        for x, y in points(prompts, 1):
            assert shown[round(y), round(x)]
            seen += 1
        for x, y in points(prompts, 0):
            assert not shown[round(y), round(x)]
            assert 0 <= x < width
            assert 0 <= y < height
            assert 1.5 * voxel < np.hypot(columns - x, rows - y).min() < 5 * voxel, "just beside it"
            seen += 1
    assert seen == 4


def test_boxes_are_the_objects_outline(task: Any, model: SamModel) -> None:
    (sample,) = task_samples(task, model, 1)
    rows, columns = np.nonzero(bright(sample))
    outline = [columns.min(), rows.min(), columns.max(), rows.max()]
    height, width = content(sample, model)
    voxel = max(height / sample.size[0], width / sample.size[1])
    for kind in ("box", "box+point", "box+mask"):
        (first,), (opposite,) = (points(sample.kinds[kind], corner) for corner in (2, 3))
        assert first < opposite
        # Half a voxel, which is what interpolation blurs the outline by.
        np.testing.assert_allclose([*first, *opposite], outline, atol=0.75 * voxel)


def test_every_kind_says_what_it_needs_and_refines_one_before_it(task: Any, model: SamModel) -> None:
    (sample,) = task_samples(task, model, 1)
    assert list(sample.kinds) == KINDS
    assert {kind: prompts.labels[0].tolist() for kind, prompts in sample.kinds.items()} == LABELS
    for number, (kind, prompts) in enumerate(sample.kinds.items()):
        assert prompts.needs == {"points": {"point"}}.get(kind, set(kind.split("+")))
        assert prompts.refines is None or prompts.refines in KINDS[:number]
        assert prompts.coords.shape == (1, len(LABELS[kind]), 2)
        assert prompts.coords.dtype == prompts.labels.dtype == np.float32
    assert [kind for kind, prompts in sample.kinds.items() if prompts.refines] == ["box+mask"]
    assert sample.image.shape == (1, 3, model.image_size, model.image_size)
    assert sample.image.dtype == np.float32


def test_each_object_of_a_slice_has_its_prompt_in_the_order_of_its_truth(make_task: MakeTask) -> None:
    label = drawn(WIDE, True)
    label[40:52, 20:34] = 2
    label[60:62, 0:3] = 1  # belongs to the first object's mask
    task = open_task(make_task(image=drawn(WIDE, False), label=label))
    (sample,) = task_samples(task, MODELS["vit_b"], 1)
    for prompts in sample.kinds.values():
        assert prompts.truth is not None
        assert len(prompts.coords) == len(prompts.labels) == len(prompts.truth) == 2
        for number, kind_of_label in ((0, 1), (1, 2)):
            assert np.count_nonzero(prompts.truth[number]) == np.count_nonzero(label[:, :, 2] == kind_of_label)
    scale = 1024 / 64
    for number in range(2):
        truth = sample.kinds["point"].truth
        assert truth is not None
        x, y = sample.kinds["point"].coords[number, 0]
        assert truth[number, int((y + 0.5) / scale), int((x + 0.5) / scale)]


def test_a_speck_gets_no_prompt(make_task: MakeTask) -> None:
    label = drawn(WIDE, True)
    label[50, 20 : 20 + MIN_PIXELS - 1] = 2
    (sample,) = task_samples(open_task(make_task(image=drawn(WIDE, False), label=label)), MODELS["litemedsam"], 1)
    assert {len(prompts.coords) for prompts in sample.kinds.values()} == {1}
    label[50, 20 : 20 + MIN_PIXELS] = 2
    (sample,) = task_samples(open_task(make_task(image=drawn(WIDE, False), label=label)), MODELS["litemedsam"], 1)
    assert {len(prompts.coords) for prompts in sample.kinds.values()} == {2}


# Which slices.


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"a": 1}),
        (2, {"a": 1, "b": 1}),
        (3, {"a": 1, "b": 1, "c": 1}),
        (4, {"a": 2, "b": 1, "c": 1}),
        (8, {"a": 3, "b": 3, "c": 2}),
        (50, {"a": 5, "b": 5, "c": 5}),
    ],
)
def test_slices_are_spread_over_the_cases(count: int, expected: dict[str, int], make_task: MakeTask) -> None:
    """Two slices of one patient tell less than one of each of two."""
    folder = make_task(image=drawn(WIDE, False), label=drawn(WIDE, True), cases=("a", "b", "c"))
    names = [sample.name for sample in task_samples(open_task(folder), MODELS["litemedsam"], count)]
    assert len(set(names)) == len(names)
    assert {case: sum(f" {case} slice " in name for name in names) for case in expected} == expected
    assert len(names) == sum(expected.values())
    assert all(name.startswith("Task77_Test ") for name in names)


def test_only_labelled_slices_are_taken(make_task: MakeTask) -> None:
    label = drawn(WIDE, True)
    label[:, :, [0, 1, 2, 4]] = 0
    (sample,) = task_samples(open_task(make_task(image=drawn(WIDE, False), label=label)), MODELS["litemedsam"], 3)
    assert sample.name.endswith("slice 3")


@pytest.mark.parametrize("pixels", [0, MIN_PIXELS - 1])
def test_a_task_without_an_object_to_prompt_for_is_refused(pixels: int, make_task: MakeTask) -> None:
    label = np.zeros(WIDE, dtype=np.uint8)
    label[3, 3 : 3 + pixels] = 1
    folder = make_task(image=drawn(WIDE, False), label=label)
    with pytest.raises(InputError, match=rf"{folder.name}: no slice has a label of {MIN_PIXELS} pixels or more"):
        task_samples(open_task(folder), MODELS["litemedsam"], 2)


def test_the_phantom_gives_as_many_slices_as_asked_for_and_the_same_each_time() -> None:
    first, again = (phantom_samples(MODELS["litemedsam"], 3) for _ in range(2))
    assert [sample.name for sample in first] == [sample.name for sample in again]
    assert len({sample.name for sample in first}) == 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        for kind, prompts in one.kinds.items():
            np.testing.assert_array_equal(prompts.coords, other.kinds[kind].coords)


def test_on_real_slices_positive_points_are_inside_and_negative_ones_outside_the_truth(msd_real: Path) -> None:
    model = MODELS["litemedsam"]
    samples = task_samples(open_task(msd_real / "Task101_AbdomenCT"), model, 2)
    checked = 0
    for sample in samples:
        height, width = resized(*sample.size, model.image_size)
        for kind, prompts in sample.kinds.items():
            assert prompts.truth is not None
            for coords, labels, truth in zip(prompts.coords, prompts.labels, prompts.truth, strict=True):
                for (x, y), label in zip(coords, labels, strict=True):
                    row = int((y + 0.5) * sample.size[0] / height)
                    column = int((x + 0.5) * sample.size[1] / width)
                    if label in (0, 1):
                        assert truth[row, column] == (label == 1), kind
                        checked += 1
                if 2 in labels:
                    (x0, y0), (x1, y1) = coords[labels == 2][0], coords[labels == 3][0]
                    rows, columns = np.nonzero(truth)
                    scale = [width / sample.size[1], height / sample.size[0]]
                    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] * np.array(
                        2 * scale
                    ) - 0.5
                    np.testing.assert_allclose([x0, y0, x1, y1], expected, atol=1e-3)
    assert checked >= 8
