"""Our pseudo labels against those of a plain loop over Meta's `SamPredictor`, on real slices and both backends.

The loop is `tests/perf/plain_loop.py`: `set_image` once a slice, one `predict` a prompt, LiteMedSAM for SAM.
Ours shares an embedding, decodes in batches, and merges as it goes; none of that may move a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.msd import open_task
from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.data.slices import Slice, slices
from benchmark.data.volume import Volume, load_volume
from benchmark.lanes import Lane, LaneSettings, module_source, open_lanes
from benchmark.prompts import ObjectPrompt, Prompter, next_click
from benchmark.results import LaneKey
from benchmark.stages.base import Unit
from benchmark.stages.overlay import Overlay
from benchmark.stages.pseudolabel import PseudolabelPipeline, units, with_click
from benchmark.stages.sam_input import SamInput
from tests.conftest import MSD_REAL

pytest.importorskip("segment_anything", reason="the official implementation is not installed")
from tests.perf.plain_loop import label_slice, official_predictor, set_image, turned_prompt

pytestmark = pytest.mark.slow

CLICKS = 3
SAME, FEWEST_PIXELS = 0.999, 50
BACKENDS = ("pytorch", "onnxruntime")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, dict[int, str]]:
    folder = MSD_REAL / "Task101_AbdomenCT"
    if not folder.is_dir():
        folder = write_phantom(tmp_path_factory.mktemp("phantom"), PhantomSpec(cases=1, size=128, slices=6))
    task = open_task(folder)
    return load_volume(task, task.cases[0]), dict(task.labels)


@pytest.fixture(scope="module")
def chosen(case: tuple[Volume, dict[int, str]]) -> list[Slice]:
    """The two slices with the most labels."""
    found = sorted(slices(case[0], only_labelled=True), key=lambda piece: -len(np.unique(piece.label)))
    return found[:2]


@pytest.fixture(scope="module")
def lanes(litemedsam: Any, litemedsam_folder: Path) -> Iterator[Mapping[str, Lane]]:
    parts = [module_source(litemedsam.encoder, litemedsam_folder), module_source(litemedsam.decoder, litemedsam_folder)]
    keys = tuple(LaneKey(backend) for backend in BACKENDS)
    sam = SamInput.of(litemedsam.model)
    settings = LaneSettings(keys, "cpu", torch.get_num_threads())
    with open_lanes(settings, {"fp32": parts}, lambda pair: PseudolabelPipeline(pair[0], pair[1], sam)) as opened:
        yield opened


@pytest.fixture(scope="module")
def predictor(litemedsam: Any) -> Any:
    return official_predictor(litemedsam)


def units_of(case: tuple[Volume, dict[int, str]], chosen: list[Slice], per: Any, *strategies: str) -> list[Unit]:
    volume, labels = case
    return list(units(chosen, Prompter.of(strategies, labels, per).case(volume.case, volume.label)))


def assert_same(ours: np.ndarray, theirs: np.ndarray, what: str) -> int:
    """Every label alike; how many of them are large. LiteMedSAM answers points, which it never saw, with specks."""
    large = 0
    for value in np.union1d(np.unique(ours), np.unique(theirs)):
        mine, other = ours == value, theirs == value
        total = np.count_nonzero(mine) + np.count_nonzero(other)
        if total < 2 * FEWEST_PIXELS:
            assert np.count_nonzero(mine != other) <= 1, f"{what}: label {value}"
        elif value:
            large += 1
            assert 2 * np.count_nonzero(mine & other) / total >= SAME, f"{what}: label {value}"
    return large


@pytest.mark.parametrize(
    ("per", "strategies", "then"),
    [("object", ("box", "point", "box+point", "points3+neg3"), ("box",)), ("component", ("box", "points3+neg3"), ())],
)
def test_both_backends_give_the_masks_of_the_official_predictor_prompt_by_prompt(
    per: str, strategies: tuple[str, ...], then: tuple[str, ...], case: Any, chosen: list[Slice],
    lanes: Mapping[str, Lane], predictor: Any,
) -> None:  # fmt: skip
    """Every strategy on one slice, then boxes on another, to which the first one's embedding must not stay."""
    asked = units_of(case, chosen[:1], per, *strategies) + (units_of(case, chosen[1:], per, *then) if then else [])
    for unit in asked:
        (piece,) = unit.slices
        theirs = label_slice(predictor, piece, unit.prompts)
        for backend in BACKENDS:
            ours = lanes[backend].process(unit).labels
            for strategy in unit.prompts:
                large = assert_same(ours[strategy][0], theirs[strategy], f"slice {piece.index}, {strategy}, {backend}")
                assert large >= 3 or not strategy.startswith("box")
        # Both sides could agree and be wrong, in a slice that is turned the wrong way for instance.
        assert mean_dice(theirs["box"], piece.label) > 0.7


def mean_dice(found: np.ndarray, wanted: np.ndarray) -> float:
    """Over the labels that have pixels enough."""
    values = [value for value in np.unique(wanted) if value and np.count_nonzero(wanted == value) >= FEWEST_PIXELS]
    pairs = [(found == value, wanted == value) for value in values]
    return float(np.mean([2 * np.sum(mine & other) / (np.sum(mine) + np.sum(other)) for mine, other in pairs]))


def test_corrections_are_those_of_a_loop_that_clicks_looks_and_feeds_the_logits_back(
    case: Any, chosen: list[Slice], lanes: Mapping[str, Lane], predictor: Any
) -> None:
    """PyTorch alone: where a mask differs by a voxel, the next click may, and from there on everything."""
    strategy = f"iterative{CLICKS}"
    for unit in units_of(case, chosen[:1], "object", strategy):
        (piece,) = unit.slices
        outcome = lanes["pytorch"].process(unit)
        set_image(predictor, np.ascontiguousarray(piece.image[::-1, ::-1]))
        overlay, clicks = Overlay(piece.label.shape), 0
        for given in unit.prompts[strategy]:
            logits, number = click_and_look(predictor, given, piece.label.shape)
            overlay.add(torch.from_numpy(logits[None].copy()), [given.value])
            clicks += number
        assert_same(outcome.labels[strategy][0], overlay.on_host(), f"slice {piece.index}")
        assert outcome.effort[strategy].clicks == clicks


def click_and_look(predictor: Any, given: ObjectPrompt, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Logits on the slice as displayed after at most so many clicks, and how many there were."""
    prompt, mask_input = given.prompt, None
    for number in range(1, CLICKS + 1):
        answer, _, low_res = predictor.predict(
            **turned_prompt(prompt, shape), mask_input=mask_input, multimask_output=False, return_logits=True
        )
        logits: np.ndarray = answer[0, ::-1, ::-1]
        click = next_click(given.target, logits > 0)
        if click is None or number == CLICKS:
            return logits, number
        prompt, mask_input = with_click(prompt, click), low_res
    raise AssertionError("there is at least one click")
