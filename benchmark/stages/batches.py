"""How many prompts or windows go through a module at once, and what happens where memory does not hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmark.prompts import ObjectPrompt
from benchmark.sections import OnOutOfMemory
from benchmark.stages.on_device import give_memory_back
from runners.base import OutOfDeviceMemoryError

PROMPTS_PER_CALL: Mapping[tuple[str, str], int] = {
    ("pytorch", "cpu"): 2,
    ("onnxruntime", "cpu"): 8,
}
"""Backend and kind of device → the size that was fastest; `python -m tests.perf.decoder_batches` measures it and
docs/method.md has the numbers. It is fixed, not measured in each run, because another size rounds differently and a run
must repeat exactly."""

DEFAULT_PROMPTS_PER_CALL = 32
"""Where nothing was measured: a GPU is idle with few prompts."""


def fastest(backend: str, device: str) -> int:
    """The number of prompts in a call of the decoder.

    Args:
        backend: its registry name.
        device: `cpu` or `cuda`.
    """
    return PROMPTS_PER_CALL.get((backend, device), DEFAULT_PROMPTS_PER_CALL)


def batches(asked: Sequence[ObjectPrompt], size: int) -> Iterator[Sequence[ObjectPrompt]]:
    """The prompts in groups of at most `size` with one number of points, which a call of the decoder needs.

    More points as padding would be no way out: SAM's padding point is a token, and changes the mask of a box.
    """
    by_points: dict[int, list[ObjectPrompt]] = {}
    for given in asked:
        by_points.setdefault(len(given.prompt.labels), []).append(given)
    for alike in by_points.values():
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


PROMPTS_ADVICE = "set measure.on_out_of_memory: halve, or sam.prompts_per_call below {tried}"
WINDOWS_ADVICE = "set measure.on_out_of_memory: halve, or unet.windows_per_batch below {tried}"


class Batch:
    """How many go through a module at once. It is lowered only if that was asked for, and then it says so.

    Args:
        size: to begin with.
        of: `prompts` or `windows`.
        on_out_of_memory: what follows when the device's memory does not hold them.
        advice: what the user can do, with `{tried}` for the number that did not fit.

    Attributes:
        size: at once from now on.
    """

    def __init__(self, size: int, of: str, on_out_of_memory: OnOutOfMemory, advice: str) -> None:
        self.size = size
        self._asked = size
        self._of = of
        self._on_out_of_memory = on_out_of_memory
        self._advice = advice

    def lower(self, tried: int, error: OutOfDeviceMemoryError) -> None:
        """Half of what did not fit from now on.

        Args:
            tried: how many were in the call that failed.
            error: how it failed.

        Raises:
            OutOfDeviceMemoryError: one alone does not fit either, or the batch is to stay as it is.
        """
        if tried == 1:
            raise OutOfDeviceMemoryError(
                f"one of the {self._of} alone does not fit into the device's memory; take a smaller model, a smaller "
                f"precision or another device ({error})"
            ) from None
        if self._on_out_of_memory == "fail":
            advice = self._advice.format(tried=tried)
            raise OutOfDeviceMemoryError(
                f"{tried} {self._of} at once do not fit into the device's memory; {advice} ({error})"
            ) from None
        self.size = tried // 2
        give_memory_back()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say of it; empty where it stayed as it was."""
        if self.size == self._asked:
            return ()
        return (f"batch lowered from {self._asked} to {self.size} {self._of} because device memory ran out",)
