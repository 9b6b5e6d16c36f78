"""Prompt strategies: how a prompt is derived from a reference mask, and what it would cost a person.

A strategy is a function from a `Target` to a `Prompt` and a row in `catalogue.py`. A `Prompter` applies a run's
strategies to its cases.
"""

from benchmark.prompts.base import (
    BOX_CORNER,
    BOX_OPPOSITE,
    NEGATIVE,
    PADDING,
    POSITIVE,
    Effort,
    Mask,
    ObjectPrompt,
    Prompt,
    Strategy,
    Target,
    join,
)
from benchmark.prompts.boxes import tight_box
from benchmark.prompts.catalogue import STRATEGY_FORMS, find_strategy
from benchmark.prompts.corrections import Click, next_click
from benchmark.prompts.points import deepest_point
from benchmark.prompts.prompter import CasePrompter, Prompter

__all__ = [
    "BOX_CORNER",
    "BOX_OPPOSITE",
    "NEGATIVE",
    "PADDING",
    "POSITIVE",
    "STRATEGY_FORMS",
    "CasePrompter",
    "Click",
    "Effort",
    "Mask",
    "ObjectPrompt",
    "Prompt",
    "Prompter",
    "Strategy",
    "Target",
    "deepest_point",
    "find_strategy",
    "join",
    "next_click",
    "tight_box",
]
