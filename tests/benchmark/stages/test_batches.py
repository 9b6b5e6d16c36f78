"""Prompts in calls of the decoder: each once, alike within a call, and never more than asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.prompts import Effort, ObjectPrompt, Prompt
from benchmark.stages.batches import DEFAULT_PROMPTS_PER_CALL, PROMPTS_PER_CALL, batches, fastest


def asked(points: int) -> ObjectPrompt:
    prompt = Prompt(np.zeros((points, 2), np.float32), np.ones(points, np.float32), Effort())
    return ObjectPrompt(1, prompt, np.ones((1, 1), np.bool_))


@settings(max_examples=200, deadline=None)
@given(points=st.lists(st.integers(1, 4), max_size=40), size=st.integers(1, 12))
def test_every_prompt_goes_once_among_its_like(points: list[int], size: int) -> None:
    prompts = [asked(number) for number in points]
    groups = [list(group) for group in batches(prompts, size)]
    assert sorted(id(given) for group in groups for given in group) == sorted(map(id, prompts))
    for group in groups:
        assert 1 <= len(group) <= size
        assert len({len(given.prompt.labels) for given in group}) == 1
    # As few calls as can be, and in the prompts' own order among those alike.
    assert len(groups) == sum(-(-points.count(number) // size) for number in set(points))
    for number in set(points):
        kept = [given for group in groups for given in group if len(given.prompt.labels) == number]
        assert [id(given) for given in kept] == [id(given) for given in prompts if len(given.prompt.labels) == number]


def test_no_prompts_make_no_call() -> None:
    assert list(batches([], 4)) == []


@pytest.mark.parametrize("pair", PROMPTS_PER_CALL)
def test_the_measured_size_is_taken(pair: tuple[str, str]) -> None:
    assert fastest(*pair) == PROMPTS_PER_CALL[pair] >= 1


def test_what_was_not_measured_gets_the_default() -> None:
    assert fastest("pytorch", "cuda") == fastest("no such backend", "cpu") == DEFAULT_PROMPTS_PER_CALL
