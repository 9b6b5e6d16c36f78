"""What a library's error says, in one line: without places in its source, with what counts wherever it stands."""

from __future__ import annotations

import re

MOST_TOLD = 300
"""Characters of an error that are kept, paths not counted."""

NO_NEWS = re.compile(
    # What ONNX Runtime puts before its words: `[ONNXRuntimeError] : 1 : FAIL : `.
    r"\[ONNXRuntimeError\] : \d+ : (?:[A-Z_]+ : )?"
    # And amid them, the place in its source, as `/onnxruntime_src/….h:91 onnxruntime::F::F(const T&, bool) `.
    r"|/\S+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ (?:[\w:~<>*&, ]+\([^()]*\)(?: const)? )?"
)
PATH = re.compile(r"/(?:[^\s/]+/)+\S*")


def words_of(error: BaseException) -> str:
    """The first `MOST_TOLD` characters of what an error says; empty where it says nothing."""
    text = NO_NEWS.sub("", " ".join(str(error).split()))
    return text[: MOST_TOLD + sum(map(len, PATH.findall(text)))]
