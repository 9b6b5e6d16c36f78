"""Which of the many errors of the libraries mean that memory ran out. Pure: an error's class and words decide."""

from __future__ import annotations

import re
from collections.abc import Mapping

CLASSES = frozenset({"OutOfMemoryError"})
"""PyTorch's (`torch.OutOfMemoryError`); by name, so that it is not imported to ask. Not Python's `MemoryError`: that
is of the host's memory, outside the libraries."""

WORDS = re.compile(
    "|".join(
        (
            # ONNX Runtime's arena (`onnxruntime/core/framework/bfc_arena.cc`), on every device.
            r"Failed to allocate memory for requested buffer of size",
            r"Available memory of \S+ is smaller than requested bytes",
            # Without the arena: the C++ library's own.
            r"std::bad_alloc",
            # CUDA's and its libraries', as either framework quotes them.
            r"CUDA (?:failure|error)[^\n]{0,12}: out of memory",
            r"cudaErrorMemoryAllocation",
            r"CUDA out of memory",
            r"CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED",
            # PyTorch's allocator of host memory, plain and pinned.
            r"can't allocate memory: you tried to allocate",
            # TensorRT's builder and engine.
            r"OutOfMemory|Out of memory|out of memory",
        )
    )
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or on the host.

    Args:
        error: of any library.
    """
    return type(error).__name__ in CLASSES or WORDS.search(str(error)) is not None


def advice(module: str, device: str, shapes: Mapping[str, tuple[int, ...]], error: BaseException) -> str:
    """What ran out, for what, and what to lower, in one sentence.

    Args:
        module: that was called or loaded.
        device: it runs on.
        shapes: of the call's inputs; empty where it was being loaded.
        error: of the library.
    """
    what = "its weights" if not shapes else "a call with " + ", ".join(_told(*one) for one in shapes.items())
    lower = "use a smaller model" if not shapes else "lower prompts_per_call or windows_per_batch"
    return (
        f"{module}: the memory of device {device} does not hold {what} ({_line_with_the_words(error)}); {lower}, or "
        "end what else uses the device"
    )


def _told(name: str, shape: tuple[int, ...]) -> str:
    return f"{name} {' × '.join(str(size) for size in shape)}" if shape else name


def _line_with_the_words(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if WORDS.search(line)), lines[0]).strip()[:300]
