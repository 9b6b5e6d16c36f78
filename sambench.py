"""sambench: the command, and the Python interface that scripts and notebooks use.

```python
import sambench

results = sambench.run("spec.yaml", "runs/spleen")
results.to_pandas()
```

The names of sambench's own packages are common words, and another `benchmark` or `reports` may lie on the path: beside
a notebook, in PYTHONPATH, in somebody else's distribution. Importing this module makes these names mean sambench's,
whatever the path says. The command, `python -m sambench` and the processes that sambench starts all begin here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark import __version__
    from benchmark.errors import InputError
    from benchmark.interface import RunResults, export_sam, export_unet, label, load_results, phantom, run
    from exporters.manifest import ExportError
    from runners.base import RunnerError

__all__ = [
    "ExportError", "InputError", "RunResults", "RunnerError", "__version__",
    "export_sam", "export_unet", "label", "load_results", "phantom", "run",
]  # fmt: skip

_OFFERED = {
    "__version__": "benchmark",
    "InputError": "benchmark.errors",
    "ExportError": "exporters.manifest",
    "RunnerError": "runners.base",
    **dict.fromkeys(
        ("RunResults", "export_sam", "export_unet", "label", "load_results", "phantom", "run"), "benchmark.interface"
    ),
}
"""Name → the module that has it, imported at its first use: this module stays light for the command."""

PACKAGES = ("benchmark", "exporters", "reports", "runners")

_FILE = Path(__file__).resolve()
# An installation keeps the packages in a folder of their own, where no other distribution can write over them; in the
# repository they lie beside this file.
_INSTALLED = _FILE.with_name("sambench_packages")
HOME = _INSTALLED if _INSTALLED.is_dir() else _FILE.parent


class _Finder:
    """Finds sambench's packages and this module itself, before the path is asked; of all else it knows nothing."""

    home = HOME

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python's import asks for a module of this name."""
        if name in PACKAGES:
            folder = HOME / name
            return spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
        return spec_from_file_location(name, _FILE) if name == "sambench" else None


def _claim() -> None:
    """Makes the names mean sambench's packages from now on.

    Raises:
        ImportError: one of them means something else already, here or in what was imported before.
    """
    for name in PACKAGES:
        other = sys.modules.get(name)
        place = None if other is None else _place(other)
        if other is not None and place != HOME / name:
            raise ImportError(
                f"sambench has a package {name!r}, and {place or 'another module'} was imported under this name "
                "before; rename that one, or import sambench in a process without it"
            )
    if not any(getattr(finder, "home", None) == HOME for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)


def _place(module: ModuleType) -> Path | None:
    """The folder of a package, or the file of a module."""
    for folder in getattr(module, "__path__", ()):
        return Path(folder).resolve()
    return Path(module.__file__).resolve() if module.__file__ else None


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module 'sambench' has no attribute {name!r}")
    return getattr(importlib.import_module(_OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})


def main() -> None:
    """The command `sambench`."""
    from benchmark.cli import main as command

    command()


_claim()

if __name__ == "__main__":
    main()
