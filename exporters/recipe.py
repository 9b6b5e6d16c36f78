"""What tells one way of exporting from another: the code of this package, and what of the processor it asks for."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from exporters.processor import has_vnni


@cache
def exporter_digest() -> str:
    """SHA-256 over the sources of `exporters`, in the order of their names, and whether the processor has VNNI.

    An export that another version of them wrote may take other inputs or lack a rewrite, and nothing in its weights or
    in the libraries' versions says so. Any change of the code changes it, also one that leaves the graphs as they are.
    """
    digest = hashlib.sha256(f"vnni={has_vnni()}\n".encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
