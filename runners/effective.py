"""Which precision a network effectively ran in: told by its products, not by what was asked for."""

from __future__ import annotations

from collections.abc import Mapping

FULL = "fp32"
MIXED = "mixed"
"""Neither full precision nor mostly a reduced one: it matches no request."""

MOST = 0.5
"""Beyond this share of its products a network counts as reduced; a few are often kept in fp32 for accuracy. It is the
share by which a file counts as fp16, too (`runners.onnx_precision`)."""


def effective_precision(products: Mapping[str, int]) -> str | None:
    """The precision of a network.

    Args:
        products: precision → matrix products, convolutions and attentions that ran in it.

    Returns:
        `fp32` only where every product is; a reduced precision where more than `MOST` of them are; `mixed` between
        the two; None where there is no product.
    """
    counted = {name: count for name, count in products.items() if count}
    total = sum(counted.values())
    if not total:
        return None
    if set(counted) <= {FULL}:
        return FULL
    name, count = max(((n, c) for n, c in counted.items() if n != FULL), key=lambda item: item[1])
    return name if count / total > MOST else MIXED


def products_note(products: Mapping[str, int]) -> str | None:
    """`of 43 products 40 ran in bf16, 3 in fp32`; None where all ran in one precision."""
    counted = sorted(((count, name) for name, count in products.items() if count), reverse=True)
    if len(counted) < 2:
        return None
    return f"of {sum(products.values())} products " + ", ".join(
        f"{count} {'ran ' if not number else ''}in {name}" for number, (count, name) in enumerate(counted)
    )
