"""Derives the prompts of all strategies of a run, slice by slice."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from benchmark.data.slices import Slice
from benchmark.prompts.base import ObjectPrompt, Per, Prompt, Strategy, Target
from benchmark.prompts.catalogue import find_strategy
from benchmark.prompts.pieces import number_pieces, objects
from benchmark.prompts.tracks import Section, boxes_every, find_tracks, section_mask


@dataclass(frozen=True)
class Prompter:
    """The strategies of a run, and which objects they prompt for.

    Attributes:
        strategies: of different names.
        labels: value → name of the labels to prompt for.
        per: `object`, all voxels of a label in a slice together, or `component`, each connected component of them: in
            the slice (8 neighbours), but for `box-every<k>` in the volume (26 neighbours), where a person follows it.
        min_pixels: an object or component with fewer voxels in a slice is not prompted for there; at least 1.
        seed: of the strategies that draw at random.
    """

    strategies: tuple[Strategy, ...]
    labels: Mapping[int, str]
    per: Per = "object"
    min_pixels: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.min_pixels < 1:
            raise ValueError(
                f"min_pixels must be 1 or more, not {self.min_pixels}: an empty object cannot be prompted for"
            )
        if self.per not in get_args(Per):
            raise ValueError(f"per must be one of {', '.join(get_args(Per))}, not {self.per!r}")

    @classmethod
    def of(
        cls, names: Iterable[str], labels: Mapping[int, str], per: Per = "object", min_pixels: int = 1, seed: int = 0
    ) -> Prompter:
        """A prompter of strategies by name.

        Raises:
            ValueError: a name is not understood.
        """
        return cls(tuple(find_strategy(name) for name in names), labels, per, min_pixels, seed)

    def case(self, case: str, label: NDArray[np.uint8]) -> CasePrompter:
        """Looks at a whole case, for the strategies that follow objects through it.

        Args:
            case: the volume's.
            label: [X, Y, Z] in LPS, as in `Volume`. It is not kept.
        """
        return CasePrompter(self, case, self._follow(label))

    def _follow(self, label: NDArray[np.uint8]) -> dict[str, dict[int, list[_Followed]]]:
        """Strategy → slice index → what it prompts for there, of the strategies that do not look at slices alone."""
        following = [strategy for strategy in self.strategies if strategy.every > 1]
        tracks = find_tracks(label, self.labels, self.per, self.min_pixels) if following else {}
        followed: dict[str, dict[int, list[_Followed]]] = {strategy.name: defaultdict(list) for strategy in following}
        for strategy, (value, objects_of) in product(following, tracks.items()):
            for track in objects_of:
                for index, prompt in boxes_every(track, strategy.every).items():
                    followed[strategy.name][index].append(_Followed(value, prompt, track[index]))
        return followed


@dataclass(frozen=True, eq=False)
class _Followed:
    """An object in one of its slices, with its box there."""

    value: int
    prompt: Prompt
    section: Section


@dataclass(frozen=True, eq=False)
class CasePrompter:
    """The prompts of one case; made by `Prompter.case`.

    Attributes:
        prompter: what to prompt for, and how.
        case: the volume's.
        followed: strategy → slice index → prompts that came from the whole volume.
    """

    prompter: Prompter
    case: str
    followed: Mapping[str, Mapping[int, Sequence[_Followed]]]

    def on(self, piece: Slice) -> dict[str, tuple[ObjectPrompt, ...]]:
        """The prompts of one slice. They do not depend on which slices were asked for before.

        Args:
            piece: of this case.

        Returns:
            Strategy → prompts, at least one of each strategy: labels by rising value, components of a label by falling
            size. Empty if the slice holds nothing to prompt for.

        Raises:
            ValueError: the slice is of another case.
        """
        if piece.case != self.case:
            raise ValueError(f"slice {piece.index} is of case {piece.case}, the prompts are for {self.case}")
        labels = {value: piece.label == value for value in sorted(self.prompter.labels)}
        targets = [
            (value, component, Target(mask, label))
            for value, label in labels.items()
            for component, mask in enumerate(objects(label, self.prompter.per, self.prompter.min_pixels))
        ]
        if not targets:
            return {}
        numbered = {value: number_pieces(label) for value, label in labels.items()} if self.followed else {}
        return {
            strategy.name: self._across(strategy, piece.index, numbered)
            if strategy.name in self.followed
            else self._within(strategy, piece.index, targets)
            for strategy in self.prompter.strategies
        }

    def _within(
        self, strategy: Strategy, index: int, targets: Sequence[tuple[int, int, Target]]
    ) -> tuple[ObjectPrompt, ...]:
        """The prompts of a strategy that looks at one slice alone."""
        return tuple(
            ObjectPrompt(
                value,
                strategy.first(target, self._randomness(index, value, component, strategy)),
                target.mask,
                None if self.prompter.per == "object" else target.label & ~target.mask,
            )
            for value, component, target in targets
        )

    def _across(
        self, strategy: Strategy, index: int, numbered: Mapping[int, NDArray[np.int32]]
    ) -> tuple[ObjectPrompt, ...]:
        """The prompts of a strategy that has looked at the volume."""
        found = [
            (one, ObjectPrompt(one.value, one.prompt, section_mask(numbered[one.value], one.section)))
            for one in self.followed[strategy.name].get(index, ())
        ]
        found.sort(key=lambda pair: (pair[0].value, -np.count_nonzero(pair[1].target), pair[0].section.pieces))
        return tuple(prompt for _, prompt in found)

    def _randomness(self, index: int, value: int, component: int, strategy: Strategy) -> np.random.Generator:
        """A generator of this prompt's own: the prompt is the same whatever was asked for before, in any process."""
        key = json.dumps([self.prompter.seed, self.case, index, value, component, strategy.name])
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest(), "big"))
