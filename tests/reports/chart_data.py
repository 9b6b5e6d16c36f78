"""What a chart's specification shows, for tests."""

from __future__ import annotations

from typing import Any


def rows(spec: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    """The data of a layer, which may be that of the whole chart."""
    source = spec["layer"][layer].get("data") or spec["data"]
    return list(spec["datasets"][source["name"]])
