"""A MONAI bundle's configuration, read and never run.

To MONAI such a file is a program: `$…` is evaluated as Python, `%…` reads other files, and `_target_` calls anything by
its name. Here `@…` is looked up, and everything else of that kind is refused with the field it stands in.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from exporters.manifest import ExportError
from exporters.mapping import read_mapping

REFERENCE = re.compile(r"@[\w:#]+")


class BundleConfig:
    """One configuration file.

    Args:
        path: of a JSON or YAML file.

    Raises:
        ExportError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        from monai.bundle.config_parser import ConfigParser

        self.path = path
        # Nothing is parsed in MONAI's sense: its parser finds the items by their ids, as `a::b` or `a#b`.
        self._items = ConfigParser(read_mapping(path), globals=False)

    def has(self, field: str) -> bool:
        """Whether there is such an item."""
        return field in self._items

    def value(self, field: str, default: Any = None) -> Any:
        """An item with its references resolved.

        Args:
            field: its id.
            default: of an item that is not there.

        Raises:
            ExportError: it holds an expression, or a reference to what is not there.
        """
        field = field.replace("#", "::")  # MONAI's older way to write it, which relative references are not resolved in
        return self._resolve(self._items[field], field, ()) if self.has(field) else default

    def resolved(self, value: Any, where: str) -> Any:
        """A part of the configuration with its references resolved; see `value`."""
        return self._resolve(value, where, ())

    def raw(self, field: str) -> Any:
        """An item as it stands; None if it is not there. References to whole items are followed."""
        seen: set[str] = set()
        while self.has(field) and field not in seen:
            seen.add(field)
            value = self._items[field]
            if not (isinstance(value, str) and REFERENCE.fullmatch(value)):
                return value
            field = self._target(value, field)
        return None

    def _target(self, reference: str, where: str) -> str:
        return str(self._items.resolve_relative_ids(where, reference)).removeprefix("@")

    def _resolve(self, value: Any, where: str, above: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: self._resolve(part, f"{where}::{key}", above) for key, part in value.items()}
        if isinstance(value, list):
            return [self._resolve(part, f"{where}::{index}", above) for index, part in enumerate(value)]
        if not isinstance(value, str) or not value.startswith(("$", "%", "@")):
            return value
        if not REFERENCE.fullmatch(value):
            raise ExportError(
                f"{self.path}: {where} is {value!r}, which MONAI would run; sambench runs nothing of a bundle, so "
                "write the value itself there"
            )
        field = self._target(value, where)
        if field in above or not self.has(field):
            why = "leads back to itself" if field in above else "is not there"
            raise ExportError(f"{self.path}: {where} refers to {field}, which {why}; write the value itself there")
        return self._resolve(self._items[field], field, (*above, field))
