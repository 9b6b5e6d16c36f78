"""Slices and prompts → SAM → label maps. The same code for every backend; only the runners differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.slices import Slice
from benchmark.prompts import NEGATIVE, POSITIVE, CasePrompter, Click, Effort, ObjectPrompt, Prompt, next_click
from benchmark.sections import LaneSpec
from benchmark.stages.base import Labels, Outcome, PhaseClock, Unit, require_finite
from benchmark.stages.batches import batches, fastest
from benchmark.stages.overlay import Overlay
from benchmark.stages.sam_input import SamInput, decoder_inputs, preprocess
from exporters.parity import MASKS_OF, masks_on_slice
from runners.base import Runner, Value


def units(chosen: Iterable[Slice], prompter: CasePrompter) -> Iterator[Unit]:
    """One unit a slice that holds an object; slices without any get no prompt, because prompts come from the reference.

    Args:
        chosen: slices of one case.
        prompter: of that case.
    """
    corrections = {strategy.name: strategy.corrections for strategy in prompter.prompter.strategies}
    for piece in chosen:
        prompts = prompter.on(piece)
        if prompts:
            yield Unit((piece,), prompts, corrections)


@dataclass(frozen=True)
class Prepared:
    """A unit whose slice is ready for the encoder.

    Attributes:
        unit: the unit.
        image: [1, 3, S, S].
        clock: what getting it ready took.
    """

    unit: Unit
    image: NDArray[np.float32]
    clock: PhaseClock


@dataclass(frozen=True)
class _Embedded:
    """A slice that the encoder has seen."""

    embeddings: Value
    shape: tuple[int, int]


@dataclass
class _Masks:
    """The decoder's answer to P prompts, of several masks each the one with the highest predicted IoU.

    Attributes:
        logits: float32 [P, H, W] on the slice as displayed.
        low_res: float32 [P, 1, 4h, 4w], what a correction feeds back; None where there are no corrections.
    """

    logits: NDArray[np.float32]
    low_res: NDArray[np.float32] | None


def with_click(prompt: Prompt, click: Click) -> Prompt:
    """The prompt with one click more, before its box if it has one, as SAM's prompt encoder orders them."""
    at = int(np.count_nonzero(np.isin(prompt.labels, (NEGATIVE, POSITIVE))))
    return Prompt(
        np.insert(prompt.coords, at, (click.x, click.y), axis=0),
        np.insert(prompt.labels, at, click.label),
        prompt.effort + Effort(clicks=1),
    )


@dataclass(frozen=True)
class Pseudolabelling:
    """Makes a pipeline of loaded runners, encoder and decoder; it can be sent to another process.

    Attributes:
        sam: the variant's input.
        prompts_per_call: see `PseudolabelPipeline`.
    """

    sam: SamInput
    prompts_per_call: int | None = None

    def __call__(self, runners: Sequence[Runner]) -> PseudolabelPipeline:
        """The pipeline."""
        encoder, decoder = runners
        return PseudolabelPipeline(encoder, decoder, self.sam, self.prompts_per_call)

    def for_lane(self, own: LaneSpec) -> Pseudolabelling:
        """With the lane's own number of prompts in a call, where it has one."""
        return replace(self, prompts_per_call=own.prompts_per_call or self.prompts_per_call)


class PseudolabelPipeline:
    """Encoder and decoder of one backend. One embedding a slice serves all strategies, labels and components.

    Args:
        encoder: loaded.
        decoder: loaded.
        sam: the variant's input.
        prompts_per_call: how many prompts go through the decoder at once; None takes the backend's fastest.
    """

    def __init__(self, encoder: Runner, decoder: Runner, sam: SamInput, prompts_per_call: int | None = None) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.sam = sam
        self.prompts_per_call = prompts_per_call or fastest(decoder.backend, decoder.device.kind)

    def process(self, unit: Unit) -> Outcome:
        """See `Pipeline.process`."""
        return self.finish(self.prepare(unit))

    def prepare(self, unit: Unit) -> Prepared:
        """The part that needs no runner, so that another thread can do it for the next slices."""
        clock = PhaseClock()
        with clock("preprocess"):
            image = preprocess(unit.slices[0].image, self.sam)
        return Prepared(unit, image, clock)

    def finish(self, prepared: Prepared) -> Outcome:
        """Encodes the slice once and decodes every strategy's prompts."""
        (piece,) = prepared.unit.slices
        ready, clock = prepared.clock.ms, PhaseClock(self.encoder)
        with clock("encode"):
            embeddings = self.encoder.run({"image": prepared.image})["image_embeddings"]
        slice_ = _Embedded(embeddings, (piece.label.shape[0], piece.label.shape[1]))
        labels: dict[str, Labels] = {}
        own: dict[str, Mapping[str, float]] = {}
        own_device: dict[str, float] = {}
        efforts: dict[str, Effort] = {}
        for strategy, asked in prepared.unit.prompts.items():
            mine = PhaseClock(self.decoder)
            overlay, efforts[strategy] = self._label(asked, slice_, prepared.unit.corrections.get(strategy, 0), mine)
            labels[strategy] = overlay.labels[None]
            own[strategy] = {**mine.ms, "preprocess": mine.ms.get("preprocess", 0.0) + ready["preprocess"]}
            own_device[strategy] = mine.device_ms
        return Outcome(
            labels, {**ready, **clock.ms}, own, efforts, shared_device_ms=clock.device_ms, own_device_ms=own_device
        )

    def _label(
        self, asked: Sequence[ObjectPrompt], slice_: _Embedded, corrections: int, clock: PhaseClock
    ) -> tuple[Overlay, Effort]:
        """One strategy's label map of the slice, and what its prompts cost."""
        overlay, effort = Overlay(slice_.shape), Effort()
        for batch in batches(asked, self.prompts_per_call):
            prompts = [given.prompt for given in batch]
            masks = self._decode(prompts, slice_, clock, corrections > 0)
            for _ in range(corrections):
                if not self._correct(batch, prompts, masks, slice_, clock):
                    break
            with clock("postprocess"):
                overlay.add(masks.logits, [given.value for given in batch])
            effort = sum((prompt.effort for prompt in prompts), effort)
        return overlay, effort

    def _correct(
        self, batch: Sequence[ObjectPrompt], prompts: list[Prompt], masks: _Masks, slice_: _Embedded, clock: PhaseClock
    ) -> bool:
        """One further click for every object that is not yet exactly right; False if all are.

        Finding the click is a person's work and not on the clock.
        """
        if masks.low_res is None:
            raise ValueError("what is corrected needs the logits that it starts from")
        predicted = zip(batch, masks.logits > 0, strict=True)
        clicks = [next_click(given.target, given.counted(mask)) for given, mask in predicted]
        wrong = [index for index, click in enumerate(clicks) if click is not None]
        if not wrong:
            return False
        for index in wrong:
            click = clicks[index]
            assert click is not None  # noqa: S101 - `wrong` holds those alone
            prompts[index] = with_click(prompts[index], click)
        better = self._decode([prompts[index] for index in wrong], slice_, clock, True, masks.low_res[wrong])
        masks.logits[wrong], masks.low_res[wrong] = better.logits, better.low_res
        return True

    def _decode(
        self,
        prompts: Sequence[Prompt],
        slice_: _Embedded,
        clock: PhaseClock,
        corrected: bool,
        low_res: NDArray[np.float32] | None = None,
    ) -> _Masks:
        with clock("preprocess"):
            inputs = decoder_inputs(prompts, slice_.shape, slice_.embeddings, self.sam, low_res)
        with clock("decode"):
            outputs = self.decoder.run(inputs)
            name = MASKS_OF[self.sam.fit]
            # Only what is needed leaves the device: low-resolution logits are for corrections and stretched slices.
            answer = {name: outputs[name].numpy()}
            scores = outputs["iou_predictions"].numpy()
            best = (np.arange(len(prompts)), scores.argmax(axis=1))
            chosen = outputs["low_res_masks"].numpy()[best][:, None] if corrected else None
        with clock("postprocess"):
            logits = masks_on_slice({name: answer[name][best][:, None]}, slice_.shape, self.sam.fit)[:, 0]
            require_finite(logits)
        return _Masks(self._as_displayed(logits), chosen)

    def _as_displayed(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits[:, ::-1, ::-1] if self.sam.half_turn else logits
