"""What tells one way of exporting from another: the code of this package."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


@cache
def exporter_digest() -> str:
    """SHA-256 over the sources of `exporters`, in the order of their names.

    An export that another version of them wrote may take other inputs or lack a rewrite, and nothing in its weights or
    in the libraries' versions says so. Any change of the code changes it, also one that leaves the graphs as they are.
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
