from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.prompts import ObjectPrompt, Prompter, Target, tight_box
from benchmark.prompts.base import Per
from tests.benchmark.prompts.drawn import box_of, brief, check, slice_of, volumes

LABELS = {1: "liver", 2: "tumour", 3: "vessel"}
NAMES = ("box", "box-jitter20", "point", "points3+neg2", "box+points2", "iterative4", "box-every1", "box-every3")
pers = st.sampled_from(["object", "component"])


def prompter(
    *names: str, labels: dict[int, str] | None = None, per: Per = "object", min_pixels: int = 1, seed: int = 0
) -> Prompter:
    return Prompter.of(names or NAMES, LABELS if labels is None else labels, per, min_pixels, seed)


def lesions() -> np.ndarray:
    """A liver with two lesions side by side, the second larger; both end at different heights."""
    label = np.zeros((30, 24, 8), np.uint8)
    label[2:28, 2:22] = 1
    label[5:8, 6:10, 1:4] = 2
    label[15:21, 10:16, 2:7] = 2
    return label


def same(one: dict[str, tuple[ObjectPrompt, ...]], other: dict[str, tuple[ObjectPrompt, ...]]) -> bool:
    return list(one) == list(other) and all(
        (a.value, a.prompt.effort) == (b.value, b.prompt.effort)
        and np.array_equal(a.prompt.coords, b.prompt.coords)
        and np.array_equal(a.prompt.labels, b.prompt.labels)
        and np.array_equal(a.target, b.target)
        for name in one
        for a, b in zip(one[name], other[name], strict=True)
    )


# What is prompted for.


def test_an_object_is_all_of_a_label_in_a_slice() -> None:
    label = lesions()
    found = prompter("box", "point").case("case", label).on(slice_of(label, 2))
    assert list(found) == ["box", "point"]
    assert [one.value for one in found["box"]] == [1, 2]
    np.testing.assert_array_equal(found["point"][1].target, label[:, :, 2].T == 2)
    assert box_of(found["box"][1].prompt) == [5, 6, 21, 16]


def test_components_have_prompts_of_their_own_the_largest_first() -> None:
    label = lesions()
    found = prompter("box", "box-every9", per="component").case("case", label).on(slice_of(label, 2))
    for name in ("box", "box-every9"):
        assert [(one.value, np.count_nonzero(one.target)) for one in found[name]] == [(1, 472), (2, 36), (2, 12)]
        assert [box_of(one.prompt) for one in found[name]] == [[2, 2, 28, 22], [15, 10, 21, 16], [5, 6, 8, 10]]


def test_components_of_one_size_keep_their_order_in_every_strategy() -> None:
    label = np.zeros((9, 9, 3), np.uint8)
    label[5:7, 0:2, 1:] = 1  # first in its slice
    label[1:3, 5:7] = 1  # first in the volume, by slice as by column
    found = prompter("box", "box-every2", per="component").case("case", label).on(slice_of(label, 1))
    assert [box_of(one.prompt) for one in found["box"]] == [[5, 0, 7, 2], [1, 5, 3, 7]]
    assert [box_of(one.prompt) for one in found["box-every2"]] == [[5, 0, 7, 2], [1, 5, 3, 7]]


def test_a_lesion_is_followed_from_slice_to_slice() -> None:
    """Per object, the box between slices 1 and 6 of the tumour mixes both lesions; per component it does not."""
    label = lesions()
    one = {
        per: prompter("box-every5", labels={2: "tumour"}, per=per).case("case", label)
        for per in ("object", "component")
    }
    (whole,) = one["object"].on(slice_of(label, 3))["box-every5"]
    # 2/5 of the way from slice 1, (5, 6, 8, 10), to slice 6, (15, 10, 21, 16).
    assert box_of(whole.prompt) == pytest.approx([9, 7.6, 13.2, 12.4])
    assert whole.prompt.effort.boxes == pytest.approx(2 / 6)
    larger, smaller = one["component"].on(slice_of(label, 3))["box-every5"]
    assert box_of(larger.prompt) == [15, 10, 21, 16]
    assert larger.prompt.effort.boxes == pytest.approx(2 / 5)
    assert smaller.prompt.effort.boxes == pytest.approx(2 / 3)


def test_a_slice_with_nothing_to_prompt_for_gives_nothing() -> None:
    label = lesions()
    assert prompter(labels={3: "vessel"}).case("case", label).on(slice_of(label, 2)) == {}
    assert prompter(labels={2: "tumour"}).case("case", label).on(slice_of(label, 0)) == {}
    assert prompter(labels={2: "tumour"}, min_pixels=13).case("case", label).on(slice_of(label, 1)) == {}
    assert prompter(labels={2: "tumour"}, min_pixels=12).case("case", label).on(slice_of(label, 1)) != {}


def test_a_slice_of_another_case_is_refused() -> None:
    label = lesions()
    with pytest.raises(ValueError, match="slice 2 is of case other, the prompts are for case"):
        prompter().case("case", label).on(slice_of(label, 2, "other"))


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="min_pixels must be 1 or more"):
        prompter(min_pixels=0)
    with pytest.raises(ValueError, match="per must be one of object, component, not 'organ'"):
        prompter(per="organ")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompt strategy 'blob'"):
        prompter("box", "blob")


@brief
@given(volumes, pers, st.integers(1, 4))
def test_every_strategy_prompts_for_the_same_labels_of_the_same_slices(
    label: np.ndarray, per: Per, min_pixels: int
) -> None:
    case = prompter(per=per, min_pixels=min_pixels).case("case", label)
    for k in range(label.shape[2]):
        piece = slice_of(label, k)
        found = case.on(piece)
        assert list(found) in ([], list(NAMES))
        assert len({frozenset(one.value for one in prompts) for prompts in found.values()}) <= 1
        for prompts in found.values():
            assert prompts
            order = [(one.value, -np.count_nonzero(one.target)) for one in prompts]
            assert order == sorted(order)
            for one in prompts:
                check(one.prompt, Target(one.target, piece.label == one.value))
                assert np.count_nonzero(one.target) >= min_pixels
                assert (piece.label[one.target] == one.value).all()


@brief
@given(volumes, pers, st.integers(1, 3))
def test_a_box_in_every_slice_is_box(label: np.ndarray, per: Per, min_pixels: int) -> None:
    case = prompter("box", "box-every1", per=per, min_pixels=min_pixels).case("case", label)
    for k in range(label.shape[2]):
        found = case.on(slice_of(label, k))
        if found:
            assert same({"_": found["box"]}, {"_": found["box-every1"]})


@brief
@given(volumes, st.integers(2, 5), st.integers(1, 3))
def test_a_cases_effort_is_the_boxes_drawn(label: np.ndarray, every: int, min_pixels: int) -> None:
    """Counted here for each label from its slices."""
    name = f"box-every{every}"
    case = prompter(name, min_pixels=min_pixels).case("case", label)
    spent = sum(
        one.prompt.effort.boxes for k in range(label.shape[2]) for one in case.on(slice_of(label, k)).get(name, ())
    )
    drawn = 0
    for value in LABELS:
        present = np.flatnonzero(np.count_nonzero(label == value, axis=(0, 1)) >= min_pixels)
        if len(present):
            drawn += len({k for k in present if (k - present[0]) % every == 0} | {present[-1]})
    assert spent == pytest.approx(drawn)


# Randomness.


@brief
@given(volumes, pers, st.randoms())
def test_prompts_do_not_depend_on_order_neighbours_or_process(
    label: np.ndarray, per: Per, shuffle: st.DataObject
) -> None:
    """One strategy alone, slices in any order, and a copy in another process: always the same prompts."""
    case = prompter(per=per).case("case", label)
    in_order = {k: case.on(slice_of(label, k)) for k in range(label.shape[2])}
    order = list(in_order)
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(prompter(per=per).case("case", label)))  # noqa: S301 – written here
    assert all(same(again.on(slice_of(label, k)), in_order[k]) for k in order)
    alone = prompter("points3+neg2", labels={2: "tumour"}, per=per).case("case", label)
    for k in order:
        ours = alone.on(slice_of(label, k)).get("points3+neg2", ())
        theirs = tuple(one for one in in_order[k].get("points3+neg2", ()) if one.value == 2)
        assert same({"_": ours}, {"_": theirs})


def test_a_seed_repeats_in_another_process() -> None:
    """Python's own hash of a string differs between processes."""
    code = (
        "import numpy as np; from benchmark.data.slices import Slice; from benchmark.prompts import Prompter;"
        "label = np.kron(np.eye(4, dtype=np.uint8), np.ones((9, 9), np.uint8));"
        "case = Prompter.of(['points4+neg4', 'box-jitter9'], {1: 'a'}).case('case', label[:, :, None]);"
        "found = case.on(Slice('case', 0, label, label, (1, 1)));"
        "print([one.prompt.coords.tolist() for prompts in found.values() for one in prompts])"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert len(answers.pop()) > 100


def test_everything_that_tells_a_prompt_from_another_changes_its_randomness() -> None:
    label = np.zeros((40, 20, 2), np.uint8)
    label[2:14, 4:16] = 1
    label[20:32, 4:16] = 1
    square = label.copy()
    square[square == 1] = 2

    def errors(
        volume: np.ndarray, k: int = 0, case: str = "case", name: str = "box-jitter30", seed: int = 0
    ) -> list[bytes]:
        found = prompter(name, per="component", seed=seed).case(case, volume).on(slice_of(volume, k, case))[name]
        return [(one.prompt.coords - tight_box(one.target).coords).tobytes() for one in found]

    drawn = [
        *errors(label),
        *errors(label, k=1),
        *errors(label, case="other"),
        *errors(label, seed=1),
        *errors(label, name="box-jitter31"),
        *errors(square),
    ]
    assert len(drawn) == 12
    assert len(set(drawn)) == 12
    assert errors(label) == errors(label)
