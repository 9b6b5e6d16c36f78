"""`python -m benchmark.doctor.phantom_task FOLDER`: the full demo's phantom, for `make gpu-check`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmark.data.phantom import write_phantom
from benchmark.demo import FULL_PHANTOM

if __name__ == "__main__":
    write_phantom(Path(sys.argv[1]), FULL_PHANTOM)
