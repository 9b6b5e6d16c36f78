from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.prompts import STRATEGY_FORMS, Target, find_strategy
from benchmark.prompts.catalogue import _FORMS
from tests.benchmark.prompts.drawn import brief, check, seeds, targets

FORMS = [
    "box",
    "box-margin<n>",
    "box-jitter<p>",
    "box-every<k>",
    "point",
    "points<n>",
    "points<n>+neg<m>",
    "box+point",
    "box+points<n>",
    "iterative<n>",
]

EXAMPLES = {
    "box": [2, 3],
    "box-margin0": [2, 3],
    "box-margin1000": [2, 3],
    "box-jitter10": [2, 3],
    "box-every5": [2, 3],
    "point": [1],
    "points1": [1],
    "points4": [1, 1, 1, 1],
    "points3+neg2": [1, 1, 1, 0, 0],
    "box+point": [1, 2, 3],
    "box+points2": [1, 1, 2, 3],
    "iterative3": [1],
}

MASK = np.zeros((20, 20), bool)
MASK[6:14, 6:14] = True


@st.composite
def names(draw: st.DrawFn) -> str:
    """A name of any form, with numbers in their ranges."""
    form, row = draw(st.sampled_from(sorted(_FORMS.items())))
    for key, allowed in row.numbers.items():
        form = form.replace(f"<{key}>", str(draw(st.sampled_from(allowed))))
    return form


def test_every_form_of_the_issue_is_there_and_explained() -> None:
    assert list(STRATEGY_FORMS) == FORMS
    assert all(says and "\n" not in says for says in STRATEGY_FORMS.values())


@pytest.mark.parametrize(("name", "labels"), EXAMPLES.items())
def test_a_name_says_what_sam_is_given(name: str, labels: list[int]) -> None:
    strategy = find_strategy(name)
    assert strategy.name == name
    assert strategy.first(Target(MASK, MASK), np.random.default_rng(0)).labels.tolist() == labels
    kinds = {"point": bool({0, 1} & set(labels)), "box": 2 in labels, "mask": name.startswith("iterative")}
    assert strategy.needs == {kind for kind, needed in kinds.items() if needed}


def test_numbers_arrive_where_they_belong() -> None:
    assert find_strategy("iterative5").corrections == 4
    assert find_strategy("iterative1").corrections == 0
    assert find_strategy("box-every7").every == 7
    wide = find_strategy("box-margin2").first(Target(MASK, MASK), np.random.default_rng(0))
    assert wide.coords.tolist() == [[4, 4], [16, 16]]
    for name in EXAMPLES:
        strategy = find_strategy(name)
        assert (strategy.corrections > 0) == name.startswith("iterative")
        assert (strategy.every > 1) == name.startswith("box-every")


@pytest.mark.parametrize(
    "name",
    [
        *("", "blob", "Box", "box ", " box", "box\n", "box-", "boxes", "points", "point3", "iterative", "box-margin"),
        *("points0", "points01", "points-1", "points+3", "points1.5", "points٣", "points101", f"points{'9' * 5000}"),
        *("points3+neg0", "points0+neg3", "points3+neg", "neg3", "points3+neg2+neg2", "points3 + neg2"),
        *("box-margin-1", "box-margin01", "box-margin1001", "box-jitter0", "box-jitter101", "box-jitter10%"),
        *("box-every0", "box-every1001", "iterative0", "iterative101", "box+points0", "point+box", "box|points2"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_the_forms(name: str) -> None:
    with pytest.raises(ValueError, match="prompt strategy") as refused:
        find_strategy(name)
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 400
    assert all(form in message for form in FORMS)


def test_a_number_out_of_range_is_told_its_range() -> None:
    with pytest.raises(
        ValueError, match=r"'box-jitter0': p must be a whole number from 1 to 100, without leading zeros"
    ):
        find_strategy("box-jitter0")
    with pytest.raises(ValueError, match=r"'points3\+neg0': m must be"):
        find_strategy("points3+neg0")


@brief
@given(names(), targets(), seeds)
def test_any_strategy_prompts_for_any_object(name: str, target: Target, seed: int) -> None:
    strategy = find_strategy(name)
    before = target.mask.copy(), target.label.copy()
    first, again = (strategy.first(target, np.random.default_rng(seed)) for _ in range(2))
    check(first, target)
    np.testing.assert_array_equal(first.coords, again.coords)
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(before, (target.mask, target.label))
    assert first.effort.clicks == np.count_nonzero(first.labels <= 1)
    assert first.effort.boxes == np.count_nonzero(first.labels == 2)


@brief
@given(names())
def test_a_strategy_is_found_once_and_travels_to_a_worker(name: str) -> None:
    assert find_strategy(name) is find_strategy(name)
    assert pickle.loads(pickle.dumps(find_strategy(name))).name == name  # noqa: S301 – written here
