"""JSON and YAML files with named fields, from people who may have mistyped them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporters.manifest import ExportError


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a JSON or YAML file.

    Raises:
        ExportError: it cannot be read, or holds something else than named fields.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ExportError(f"{path}: cannot be read ({type(error).__name__}); mend it or get it again") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ExportError(f"{path}: holds no named fields; mend it or get it again")
    return content


def told(error: ValidationError) -> str:
    """The first of pydantic's complaints, as `field: what is wrong`."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
