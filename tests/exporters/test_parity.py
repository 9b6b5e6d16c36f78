"""The parity ladder, with answers made by hand: what is measured, and what decides the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from exporters import parity
from exporters.manifest import RANDOM_WEIGHTS, Ladder
from exporters.parity import Answer, Prompts, Sample, climb, gate_failure, masks_on_slice, pytorch_answers

SIZE = (8, 16)
PIXELS = SIZE[0] * SIZE[1]
LOW = 4

Arrays = dict[str, np.ndarray]


def square(columns: int = 8, rows: int = 4, start: int = 0) -> np.ndarray:
    """A mask on the slice: `rows` × `columns`, moved to the right by `start`."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[:rows, start : start + columns] = True
    return mask


def outputs(*masks: np.ndarray, scores: Sequence[float] = (0.9,), low: float = 1.0) -> Arrays:
    """Of a decoder: one prompt with M masks."""
    logits = np.where(np.stack(masks), 5.0, -5.0).astype(np.float32)[None]
    return {
        "masks": logits,
        "iou_predictions": np.array([scores], dtype=np.float32),
        "low_res_masks": np.full((1, len(masks), LOW, LOW), low, dtype=np.float32),
    }


def prompts(needs: str = "box", truth: np.ndarray | None = None) -> Prompts:
    coords, labels = np.zeros((1, 2, 2), dtype=np.float32), np.array([[2, 3]], dtype=np.float32)
    return Prompts(coords, labels, frozenset({needs}), truth=None if truth is None else truth[None])


EMBEDDING = np.arange(1, 9, dtype=np.float32).reshape(1, 2, 2, 2)


def answer(theirs: Mapping[str, Arrays], truth: np.ndarray | None = None, name: str = "slice") -> Answer:
    """PyTorch's: kind → outputs. Which kind a feed is of is written into it, so that the fake decoder can tell."""
    kinds = {kind: prompts("point" if kind.startswith("point") else "box", truth) for kind in theirs}
    sample = Sample(name, np.zeros((1, 3, 8, 8), np.float32), SIZE, kinds)
    return Answer(sample, EMBEDDING, {kind: {"kind": np.array(kind)} for kind in theirs}, dict(theirs))


Climb = Callable[..., Ladder]


@pytest.fixture
def ladder(monkeypatch: pytest.MonkeyPatch) -> Climb:
    """Climbs with an artifact that gives `ours` (one mapping of kind → outputs for each answer) and `embedding`."""

    def run(
        answers: Sequence[Answer], ours: Sequence[Mapping[str, Arrays]], embedding: np.ndarray = EMBEDDING,
        trained_on: Sequence[str] = ("box",), no_dice: str | None = None, fit: Any = "pad",
    ) -> Ladder:  # fmt: skip
        seen: list[int] = []

        class Encoder:
            def run(self, names: Sequence[str], feed: Mapping[str, Any]) -> list[np.ndarray]:
                assert names == ["image_embeddings"]
                seen.append(1)
                return [embedding]

        class Decoder:
            def run(self, names: Sequence[str], feed: Mapping[str, Any]) -> list[np.ndarray]:
                assert feed["image_embeddings"] is embedding, "the artifact's own embedding goes on, not PyTorch's"
                given = ours[len(seen) - 1][str(feed["kind"])]
                return [given[name] for name in names]

        monkeypatch.setattr(parity, "cpu_session", lambda path: Encoder() if path.name == "encoder.onnx" else Decoder())
        return climb(Path("folder"), answers, trained_on, fit, no_dice)

    return run


def test_the_same_answers_are_perfect(ladder: Climb) -> None:
    theirs = {"box": outputs(square()), "point": outputs(square(6))}
    found = ladder([answer(theirs, square(7), "a"), answer(theirs, square(7), "b")], [theirs, theirs])
    assert found.samples == ["a", "b"]
    assert found.embedding_cosine == pytest.approx(1, abs=1e-12)
    assert found.embedding_max_error == 0
    assert (found.gate, found.gate_reason) == ("pass", None)
    for kind in found.kinds.values():
        assert (kind.prompts, kind.low_res_max_error, kind.mask_dice, kind.pixels_differing) == (2, 0, 1, 0)
        assert (kind.gate, kind.gate_reason, kind.reason) == ("pass", None, None)
    # 4 × 8 against 4 × 7, and 4 × 6 against 4 × 7.
    assert found.kinds["box"].dice == found.kinds["box"].dice_pytorch == pytest.approx(2 * 28 / (32 + 28))
    assert found.kinds["point"].dice == pytest.approx(2 * 24 / (24 + 28))


def test_a_planted_shift_gives_what_one_computes_by_hand(ladder: Climb) -> None:
    """Shifted by 2 of 8 columns: 6 overlap, 2 · 4 rows are only here and as many only there."""
    theirs, ours = {"box": outputs(square(), low=1.0)}, {"box": outputs(square(start=2), low=-0.5)}
    found = ladder([answer(theirs, square())], [ours], embedding=EMBEDDING + np.float32(0.25))
    kind = found.kinds["box"]
    assert kind.mask_dice == pytest.approx(2 * 24 / (32 + 32))
    assert kind.pixels_differing == pytest.approx(16 / PIXELS)
    assert kind.low_res_max_error == pytest.approx(1.5)
    assert (kind.dice, kind.dice_pytorch) == (pytest.approx(0.75), pytest.approx(1.0))
    sentence = "Dice 0.7500 is below 99.9% of pytorch's 1.0000"
    assert (kind.gate, kind.gate_reason) == ("fail", sentence)
    assert (found.gate, found.gate_reason) == ("fail", f"box: {sentence}")
    assert found.embedding_max_error == pytest.approx(0.25)
    flat = EMBEDDING.ravel()
    cosine = flat @ (flat + 0.25) / (np.linalg.norm(flat) * np.linalg.norm(flat + 0.25))
    assert found.embedding_cosine == pytest.approx(cosine, abs=1e-6)
    assert found.embedding_cosine < 1


def test_worst_and_mean_are_over_all_slices(ladder: Climb) -> None:
    theirs = {"box": outputs(square())}
    answers = [answer(theirs, square(), "good"), answer(theirs, square(), "bad")]
    found = ladder(answers, [theirs, {"box": outputs(square(start=2), low=4.0)}])
    kind = found.kinds["box"]
    assert kind.low_res_max_error == pytest.approx(3)
    assert kind.mask_dice == pytest.approx((1 + 0.75) / 2)
    assert kind.dice == pytest.approx((1 + 0.75) / 2)
    assert kind.pixels_differing == pytest.approx(16 / (2 * PIXELS))
    assert kind.prompts == 2


def test_a_better_answer_than_pytorchs_passes(ladder: Climb) -> None:
    """The gate is about the labels where there are any: agreement with PyTorch is only told."""
    found = ladder([answer({"box": outputs(square(start=2))}, square())], [{"box": outputs(square())}])
    assert found.kinds["box"].mask_dice == pytest.approx(0.75)
    assert (found.gate, found.kinds["box"].gate) == ("pass", "pass")


def test_a_kind_that_the_model_was_not_trained_on_does_not_decide(ladder: Climb) -> None:
    theirs = {"box": outputs(square()), "point": outputs(square())}
    ours = {"box": outputs(square()), "point": outputs(square(start=8))}
    answers = [answer(theirs, square())]
    found = ladder(answers, [ours], trained_on=("box",))
    assert (found.kinds["point"].gate, found.kinds["point"].mask_dice) == ("fail", 0)
    assert (found.gate, found.gate_reason) == ("pass", None)
    found = ladder(answers, [ours], trained_on=("box", "point"))
    assert found.gate == "fail"
    assert found.gate_reason is not None
    assert found.gate_reason.startswith("point: Dice 0.0000")


def test_a_kind_that_needs_two_abilities_counts_only_where_both_were_trained(ladder: Climb) -> None:
    theirs, ours = {"box+point": outputs(square())}, {"box+point": outputs(square(start=8))}
    given = answer(theirs, square())
    both = Prompts(np.zeros((1, 3, 2), np.float32), np.zeros((1, 3), np.float32), frozenset({"box", "point"}))
    given = Answer(Sample("slice", given.sample.image, SIZE, {"box+point": both}), EMBEDDING, given.feeds, theirs)
    assert ladder([given], [ours], trained_on=("box",)).gate == "pass"
    assert ladder([given], [ours], trained_on=("box", "point", "mask")).gate == "fail"


def test_without_labels_that_mean_anything_there_is_no_dice_and_the_masks_decide(ladder: Climb) -> None:
    theirs = {"box": outputs(square())}
    answers = [answer(theirs, square())]
    same = ladder(answers, [theirs], no_dice=RANDOM_WEIGHTS).kinds["box"]
    assert (same.dice, same.dice_pytorch, same.reason, same.gate) == (None, None, RANDOM_WEIGHTS, "pass")
    found = ladder(answers, [{"box": outputs(square(start=2))}], no_dice=RANDOM_WEIGHTS)
    kind = found.kinds["box"]
    assert (kind.dice, kind.dice_pytorch, kind.reason, kind.gate) == (None, None, RANDOM_WEIGHTS, "fail")
    assert kind.gate_reason == "its masks overlap pytorch's with Dice 0.7500, below 0.999"


def test_slices_without_labels_say_so(ladder: Climb) -> None:
    theirs = {"box": outputs(square())}
    kind = ladder([answer(theirs)], [theirs]).kinds["box"]
    assert (kind.dice, kind.reason, kind.gate) == (None, "the slices have no reference labels", "pass")


def test_where_pytorch_finds_nothing_either_the_masks_decide(ladder: Climb) -> None:
    nothing = np.zeros(SIZE, dtype=bool)
    theirs = {"box": outputs(nothing)}
    kind = ladder([answer(theirs, square())], [theirs]).kinds["box"]
    assert (kind.dice, kind.dice_pytorch, kind.mask_dice, kind.gate) == (0, 0, 1, "pass")
    kind = ladder([answer(theirs, square())], [{"box": outputs(square(start=8))}]).kinds["box"]
    assert (kind.dice, kind.mask_dice, kind.gate) == (0, 0, "fail")


# Answers that are no numbers.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["low_res_masks", "masks", "iou_predictions"])
@pytest.mark.parametrize("pytorch_finds", ["something", "nothing"])
@pytest.mark.parametrize("no_dice", [None, "a reason"])
def test_an_answer_with_nan_or_infinity_never_passes(
    value: float, where: str, pytorch_finds: str, no_dice: str | None, ladder: Climb
) -> None:
    """NaN compares false with 0, so it looks like background: where PyTorch has background too, the masks agree."""
    mask = square() if pytorch_finds == "something" else np.zeros(SIZE, dtype=bool)
    theirs, ours = {"box": outputs(mask)}, {"box": outputs(mask)}
    ours["box"][where][..., -1] = value
    found = ladder([answer(theirs, square())], [ours], no_dice=no_dice)
    kind = found.kinds["box"]
    assert (kind.gate, found.gate) == ("fail", "fail")
    assert kind.gate_reason == "its answers hold NaN or infinity"
    assert found.gate_reason == "box: its answers hold NaN or infinity"
    assert (kind.low_res_max_error is None) == (where == "low_res_masks")


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_has_neither_cosine_nor_error(value: float, ladder: Climb) -> None:
    theirs = {"box": outputs(square())}
    embedding = EMBEDDING.copy()
    embedding[0, 0, 0, 0] = value
    found = ladder([answer(theirs, square())], [theirs], embedding=embedding)
    assert (found.embedding_cosine, found.embedding_max_error) == (None, None)
    assert Ladder.model_validate_json(found.model_dump_json()) == found, "NaN is no JSON"


def test_nan_on_one_slice_is_not_hidden_by_another(ladder: Climb) -> None:
    theirs = {"box": outputs(square())}
    broken = {"box": outputs(square(), low=np.nan)}
    answers = [answer(theirs, square(), "a"), answer(theirs, square(), "b")]
    for ours in ([broken, theirs], [theirs, broken]):
        found = ladder(answers, ours)
        assert found.kinds["box"].low_res_max_error is None
        assert found.gate == "fail"


@pytest.mark.parametrize(
    ("dice", "reference", "agreement", "fails"),
    [
        (0.9, 0.9, 0.0, False),
        (0.8992, 0.9, 1.0, False),  # 99.91 %
        (0.8990, 0.9, 1.0, True),  # 99.89 %
        (1.0, 0.9, 0.0, False),
        (float("nan"), 0.9, 1.0, True),
        (0.0, 0.0, 1.0, False),
        (0.0, 0.0, 0.9, True),
        (None, None, 0.999, False),
        (None, None, 0.9989, True),
        (None, None, float("nan"), True),
        (None, None, None, False),
        (0.9, None, 0.5, True),
    ],
)
def test_the_gate(dice: float | None, reference: float | None, agreement: float | None, fails: bool) -> None:
    failure = gate_failure(dice, reference, agreement, "the baseline")
    assert (failure is not None) == fails
    assert failure is None or "the baseline's" in failure


# Masks on the slice, and which of several is scored.


@pytest.mark.parametrize("size", [(8, 16), (101, 61), (3, 3)])
def test_masks_of_a_stretched_slice_are_its_low_resolution_logits_resized_to_it(size: tuple[int, int]) -> None:
    low = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    decoders = np.zeros((2, 3, 5, 5), dtype=np.float32)
    expected = functional.interpolate(torch.from_numpy(low), size, mode="bilinear", align_corners=False).numpy()
    got = masks_on_slice({"low_res_masks": low[:, ::-1], "masks": decoders}, size, "stretch")
    np.testing.assert_array_equal(got, expected[:, ::-1])


def test_masks_of_a_padded_slice_are_the_decoders_own() -> None:
    given = outputs(square(), square(3))
    assert masks_on_slice(given, SIZE, "pad") is given["masks"]


def test_a_stretched_slice_is_judged_by_its_low_resolution_logits(ladder: Climb) -> None:
    theirs, ours = {"box": outputs(square(), low=1.0)}, {"box": outputs(square(), low=-1.0)}
    answers = [answer(theirs, np.ones(SIZE, dtype=bool))]
    assert ladder(answers, [ours], fit="pad").kinds["box"].mask_dice == 1
    stretched = ladder(answers, [ours], fit="stretch").kinds["box"]
    assert (stretched.mask_dice, stretched.pixels_differing) == (0, 1)
    assert (stretched.dice, stretched.dice_pytorch) == (0, 1)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_of_three_masks_the_one_with_the_highest_predicted_iou_is_scored(best: int, ladder: Climb) -> None:
    masks = [square(2), square(4), square(8)]
    scores = [0.1, 0.2, 0.3]
    scores[best] = 0.9
    theirs = {"box": outputs(*masks, scores=scores)}
    kind = ladder([answer(theirs, square(8))], [theirs]).kinds["box"]
    columns = [2, 4, 8][best]
    assert kind.dice == pytest.approx(2 * columns / (columns + 8))
    assert (kind.prompts, kind.mask_dice) == (1, 1)


def test_each_side_is_scored_by_its_own_choice_and_all_masks_are_compared(ladder: Climb) -> None:
    """A graph that ranks the masks otherwise gives the user another mask, though all three are the same."""
    masks = [square(2), square(4), square(8)]
    theirs = {"box": outputs(*masks, scores=(0.1, 0.2, 0.9))}
    ours = {"box": outputs(*masks, scores=(0.9, 0.2, 0.1))}
    kind = ladder([answer(theirs, square(8))], [ours]).kinds["box"]
    assert (kind.dice, kind.dice_pytorch) == (pytest.approx(0.4), 1)
    assert (kind.mask_dice, kind.pixels_differing) == (1, 0)
    assert kind.gate == "fail"
    changed = {"box": outputs(square(2), square(4, start=2), square(8), scores=(0.1, 0.2, 0.9))}
    kind = ladder([answer(theirs, square(8))], [changed]).kinds["box"]
    assert kind.mask_dice == pytest.approx((1 + 0.5 + 1) / 3)
    assert kind.pixels_differing == pytest.approx(16 / (3 * PIXELS))
    assert kind.gate == "pass"


def test_several_prompts_are_chosen_for_and_scored_one_by_one(ladder: Climb) -> None:
    def two(first: Arrays, second: Arrays) -> Arrays:
        return {name: np.concatenate([first[name], second[name]]) for name in first}

    truth = np.stack([square(8), square(4)])
    both = two(outputs(square(8), square(4), scores=(0.9, 0.1)), outputs(square(8), square(4), scores=(0.1, 0.9)))
    given = Prompts(np.zeros((2, 2, 2), np.float32), np.zeros((2, 2), np.float32), frozenset({"box"}), truth=truth)
    sample = Sample("slice", np.zeros((1, 3, 8, 8), np.float32), SIZE, {"box": given})
    kind = ladder(
        [Answer(sample, EMBEDDING, {"box": {"kind": np.array("box")}}, {"box": both})], [{"box": both}]
    ).kinds["box"]
    assert (kind.prompts, kind.dice, kind.mask_dice) == (2, 1, 1)


# PyTorch's answers.


def test_a_kind_that_refines_another_gets_pytorchs_logits_of_that_one_as_its_mask_prompt() -> None:
    fed: list[dict[str, torch.Tensor]] = []

    def encoder(image: torch.Tensor) -> torch.Tensor:
        return torch.ones(1, 2, 3, 3)

    def decoder(image_embeddings: torch.Tensor, **given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fed.append(given)
        prompts = len(given["point_coords"])
        low = torch.full((prompts, 3, 12, 12), float(len(fed))) + torch.arange(3.0).view(1, 3, 1, 1)
        return torch.zeros(prompts, 3, *SIZE), torch.zeros(prompts, 3), low

    coords, labels = np.ones((2, 2, 2), np.float32), np.ones((2, 2), np.float32)
    kinds = {
        "point": Prompts(coords, labels, frozenset({"point"})),
        "box": Prompts(coords, labels, frozenset({"box"})),
        "box+mask": Prompts(coords, labels, frozenset({"box", "mask"}), refines="box"),
    }
    (found,) = pytorch_answers(encoder, decoder, [Sample("s", np.zeros((1, 3, 8, 8), np.float32), SIZE, kinds)])
    assert list(found.outputs) == list(found.feeds) == ["point", "box", "box+mask"]
    for feed in fed[:2]:
        assert feed["has_mask_input"].tolist() == [0]
        assert feed["mask_input"].shape == (1, 1, 12, 12), "none, once for all prompts"
        assert not feed["mask_input"].any()
    assert fed[2]["has_mask_input"].tolist() == [1]
    assert torch.equal(fed[2]["mask_input"], torch.full((2, 1, 12, 12), 2.0)), "the first mask of the second call"
    assert fed[0]["orig_im_size"].tolist() == list(SIZE)
    np.testing.assert_array_equal(found.feeds["box+mask"]["mask_input"], fed[2]["mask_input"].numpy())
