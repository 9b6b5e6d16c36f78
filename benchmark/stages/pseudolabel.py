"""Slices and prompts → SAM → label maps. The same code for every backend; only the runners differ."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.slices import Slice
from benchmark.prompts import NEGATIVE, POSITIVE, CasePrompter, Click, Effort, ObjectPrompt, Prompt, next_click
from benchmark.sections import LaneSpec, OnOutOfMemory
from benchmark.stages.base import Labels, Outcome, PhaseClock, Unit, require_finite
from benchmark.stages.batches import PROMPTS_ADVICE, Batch, batches, fastest
from benchmark.stages.on_device import Wait, as_value, device_memory, tensor_of, waiting_for
from benchmark.stages.overlay import Overlay
from benchmark.stages.sam_input import SamInput, decoder_inputs, preprocess
from exporters.parity import MASKS_OF, tensor_on_slice
from runners.base import OutOfDeviceMemoryError, Runner, Value


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
        logits: float32 [P, H, W] on the slice as the model sees it, where the backend left them.
        low_res: float32 [P, 1, 4h, 4w], what a correction feeds back; None where there are no corrections.
    """

    logits: torch.Tensor
    low_res: torch.Tensor | None


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
        on_out_of_memory: as well.
        advice: as well.
    """

    sam: SamInput
    prompts_per_call: int | None = None
    on_out_of_memory: OnOutOfMemory = "fail"
    advice: str = PROMPTS_ADVICE

    def __call__(self, runners: Sequence[Runner]) -> PseudolabelPipeline:
        """The pipeline."""
        encoder, decoder = runners
        return PseudolabelPipeline(
            encoder, decoder, self.sam, self.prompts_per_call, self.on_out_of_memory, self.advice
        )

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
        on_out_of_memory: whether fewer prompts are tried when the device's memory does not hold so many.
        advice: what the user can do then, see `Batch`.
        wait: for the device at the end of each phase; by default as the decoder's device needs it.
    """

    def __init__(
        self, encoder: Runner, decoder: Runner, sam: SamInput, prompts_per_call: int | None = None,
        on_out_of_memory: OnOutOfMemory = "fail", advice: str = PROMPTS_ADVICE, wait: Wait | None = None,
    ) -> None:  # fmt: skip
        self.encoder = encoder
        self.decoder = decoder
        self.sam = sam
        size = prompts_per_call or fastest(decoder.backend, decoder.device.kind)
        self._batch = Batch(size, "prompts", on_out_of_memory, advice)
        self._wait = wait or waiting_for(decoder.device)

    @property
    def prompts_per_call(self) -> int:
        """How many prompts go through the decoder at once, after what was lowered."""
        return self._batch.size

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say of how it ran."""
        return self._batch.notes

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
        ready, clock = prepared.clock.ms, PhaseClock(self.encoder, wait=self._wait)
        with clock("encode"):
            embeddings = self.encoder.run({"image": prepared.image})["image_embeddings"]
        slice_ = _Embedded(embeddings, (piece.label.shape[0], piece.label.shape[1]))
        labels: dict[str, Labels] = {}
        own: dict[str, Mapping[str, float]] = {}
        own_device: dict[str, float] = {}
        efforts: dict[str, Effort] = {}
        for strategy, asked in prepared.unit.prompts.items():
            mine = PhaseClock(self.decoder, wait=self._wait)
            overlay, efforts[strategy] = self._label(asked, slice_, prepared.unit.corrections.get(strategy, 0), mine)
            with mine("postprocess"):
                labels[strategy] = overlay.on_host(self.sam.half_turn)[None]
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
        waiting = deque(batches(asked, self._batch.size))
        while waiting:
            batch = waiting.popleft()
            try:
                with device_memory():
                    prompts, masks = self._answer(batch, slice_, corrections, clock)
                    with clock("postprocess"):
                        overlay.add(masks.logits, [given.value for given in batch])
            except OutOfDeviceMemoryError as error:
                self._batch.lower(len(batch), error)
                # A pass in which something was tried in vain is no warm time, as one that compiled is none.
                self.decoder.set_ups += 1
                left = (batch, *waiting)
                waiting = deque(part for some in left for part in batches(some, self._batch.size))
                continue
            effort = sum((prompt.effort for prompt in prompts), effort)
        return overlay, effort

    def _answer(
        self, batch: Sequence[ObjectPrompt], slice_: _Embedded, corrections: int, clock: PhaseClock
    ) -> tuple[list[Prompt], _Masks]:
        """The prompts of a batch with the clicks that were added, and the last answer to them."""
        prompts = [given.prompt for given in batch]
        masks = self._decode(prompts, slice_, clock, corrections > 0)
        for _ in range(corrections):
            if not self._correct(batch, prompts, masks, slice_, clock):
                break
        return prompts, masks

    def _correct(
        self, batch: Sequence[ObjectPrompt], prompts: list[Prompt], masks: _Masks, slice_: _Embedded, clock: PhaseClock
    ) -> bool:
        """One further click for every object that is not yet exactly right; False if all are.

        Finding the click is a person's work and not on the clock.
        """
        if masks.low_res is None:
            raise ValueError("what is corrected needs the logits that it starts from")
        predicted = zip(batch, self._bits(masks.logits), strict=True)
        clicks = [next_click(given.target, given.counted(mask)) for given, mask in predicted]
        wrong = [index for index, click in enumerate(clicks) if click is not None]
        if not wrong:
            return False
        for index in wrong:
            click = clicks[index]
            assert click is not None  # noqa: S101 - `wrong` holds those alone
            prompts[index] = with_click(prompts[index], click)
        better = self._decode([prompts[index] for index in wrong], slice_, clock, True, masks.low_res[wrong])
        masks.logits[wrong] = better.logits
        if better.low_res is not None:
            masks.low_res[wrong] = better.low_res
        return True

    def _bits(self, logits: torch.Tensor) -> NDArray[np.bool_]:
        """What is object, on the slice as displayed, in host memory: bits, not floats."""
        bits: NDArray[np.bool_] = (logits > 0).cpu().numpy()
        return bits[:, ::-1, ::-1] if self.sam.half_turn else bits

    def _decode(
        self,
        prompts: Sequence[Prompt],
        slice_: _Embedded,
        clock: PhaseClock,
        corrected: bool,
        low_res: torch.Tensor | None = None,
    ) -> _Masks:
        with clock("preprocess"):
            fed_back = None if low_res is None else as_value(low_res)
            inputs = decoder_inputs(prompts, slice_.shape, slice_.embeddings, self.sam, fed_back)
        with clock("decode"):
            outputs = self.decoder.run(inputs)
            # Only what is needed is asked for: low-resolution logits are for corrections and stretched slices.
            answer = tensor_of(outputs[MASKS_OF[self.sam.fit]])
            scores = tensor_of(outputs["iou_predictions"])
            low = tensor_of(outputs["low_res_masks"]) if corrected else None
        with clock("postprocess"):
            best = scores.argmax(dim=1)
            logits = tensor_on_slice(_chosen(answer, best, corrected), slice_.shape, self.sam.fit)[:, 0]
            require_finite(logits)
            chosen = None if low is None else _chosen(low, best, corrected)
        return _Masks(logits, chosen)


def _chosen(masks: torch.Tensor, best: torch.Tensor, own: bool) -> torch.Tensor:
    """Of several masks [P, M, h, w] the best of each prompt, [P, 1, h, w].

    Args:
        masks: of which to choose.
        best: [P], which.
        own: whether it is going to be written to, and so must not be the backend's memory.
    """
    if masks.shape[1] == 1:
        return masks.clone() if own else masks
    return masks[torch.arange(len(masks), device=masks.device), best.to(masks.device)][:, None]
