"""The precision a network ran in is that of its products, and a mixture passes for neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.effective import effective_precision, products_note


@pytest.mark.parametrize(
    ("products", "precision"),
    [
        ({}, None),
        ({"bf16": 0}, None),
        ({"fp32": 3}, "fp32"),
        ({"fp32": 3, "bf16": 0}, "fp32"),
        ({"bf16": 3}, "bf16"),
        ({"bf16": 3, "fp32": 2}, "bf16"),
        ({"bf16": 2, "fp32": 2}, "mixed"),
        ({"bf16": 1, "fp32": 9}, "mixed"),
        ({"int8": 5, "bf16": 1, "fp32": 1}, "int8"),
    ],
)
def test_by_hand(products: dict[str, int], precision: str | None) -> None:
    assert effective_precision(products) == precision


@given(st.integers(0, 100), st.integers(1, 100))
def test_a_single_reduced_product_never_passes_for_full_precision(full: int, reduced: int) -> None:
    """OpenVINO takes bf16 by itself on some processors; one such layer is enough to break fp32's parity."""
    assert effective_precision({"fp32": full, "bf16": reduced}) == ("bf16" if reduced > full else "mixed")


def test_a_mixture_is_told_with_its_counts() -> None:
    assert products_note({"bf16": 4}) is None
    assert products_note({"fp32": 3, "bf16": 40}) == "of 43 products 40 ran in bf16, 3 in fp32"
