"""What a scan's file holds, told by a hash that is computed once for each version of a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from benchmark.files import write_text_atomically
from exporters.fetch import cache_dir
from exporters.manifest import sha256_file

DIGESTS = "digests.json"


def content_digests(paths: Iterable[Path]) -> list[str]:
    """SHA-256 of each file. One that has the size and time of an earlier look is not read again.

    Raises:
        OSError: a file cannot be read.
    """
    store = cache_dir() / DIGESTS
    known = _load(store)
    found, fresh = [], {}
    for path in paths:
        status = path.stat()
        version = [status.st_size, status.st_mtime_ns]
        place = str(path.resolve())
        earlier = known.get(place)
        if earlier is None or earlier[:2] != version:
            earlier = [*version, sha256_file(path)]
            fresh[place] = earlier
        found.append(str(earlier[2]))
    if fresh:
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            write_text_atomically(store, json.dumps({**_load(store), **fresh}))
    return found


def _load(store: Path) -> dict[str, list[int | str]]:
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {place: entry for place, entry in content.items() if isinstance(entry, list) and len(entry) == 3}
