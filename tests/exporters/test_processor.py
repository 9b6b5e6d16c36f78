"""Whether int8 weights may use all of their 8 bits is asked of the processor that is there."""

from __future__ import annotations

import platform

import pytest
import torch

from exporters.processor import has_vnni


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx512_vnni": True}, True),
        ("AMD64", {"avx_vnni": True}, True),
        ("x86_64", {"avx2": True, "avx512_vnni": False, "avx_vnni": False}, False),
        ("x86_64", {}, False),
        ("aarch64", {}, True),
    ],
)
def test_vnni_is_what_the_processor_tells(
    machine: str, flags: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert has_vnni.__wrapped__() is expected


def test_an_older_pytorch_tells_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for told in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda told=told: told)
        assert has_vnni.__wrapped__() is told
