"""How many prompts go through the decoder at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmark.prompts import ObjectPrompt

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
