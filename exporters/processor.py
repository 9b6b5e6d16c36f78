"""What the processor that exports, and on which the export is then run, can do with numbers of 8 bits."""

from __future__ import annotations

import platform
from functools import cache

X86 = ("x86_64", "amd64", "i386", "i686")


@cache
def has_vnni() -> bool:
    """Whether four products of 8-bit numbers are added in 32 bits at once: x86 with VNNI, and every Arm.

    Other x86 processors add two such products in 16 bits, which overflows (Intel, `VPMADDUBSW`), unless the weights
    have 7 bits. ONNX Runtime's documentation of `reduce_range` says the same.
    """
    if platform.machine().lower() not in X86:
        return True
    import torch

    told = getattr(torch.cpu, "get_capabilities", None)
    if told is None:  # PyTorch before 2.12
        return bool(torch.cpu._is_vnni_supported())
    found = told()
    return bool(found.get("avx512_vnni") or found.get("avx_vnni"))
