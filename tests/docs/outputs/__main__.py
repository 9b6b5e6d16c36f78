"""Makes the outputs shown in README.md and docs/ again: `make docs-outputs`, in some 20 minutes on two idle cores.

    python -m tests.docs.outputs [--only ID …] [--check]

Each block is written as soon as its command has ended, so that an interruption loses one. --check runs nothing: it
lists the blocks that are older than the code that prints them, and ends with 1 if there are any.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

from benchmark import __version__
from benchmark.measure.environment import available_cores, environment
from tests.docs.outputs.age import code_of, old_blocks
from tests.docs.outputs.blocks import BLOCKS, MSD_REAL, RECIPES, REPOSITORY, Block
from tests.docs.outputs.making import CommandFailedError, Workshop, cut
from tests.docs.outputs.marked import MarkerError, Record, minutes, with_output


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BLOCKS), metavar="ID", help=f"of {', '.join(BLOCKS)}")
    parser.add_argument("--check", action="store_true", help="list old blocks, run nothing")
    asked = parser.parse_args()
    if asked.check:
        return _check()
    return _make(asked.only or list(BLOCKS))


def _check() -> int:
    found = old_blocks()
    for line in found:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{len(found)} of {len(BLOCKS)} blocks are older than the code that prints them\n")
    return 1 if found else 0


def _make(names: list[str]) -> int:
    processor = _processor()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sambench-docs-") as folder:
        workshop = Workshop(Path(folder))
        for place, name in enumerate(names, 1):
            block = BLOCKS[name]
            sys.stderr.write(f"[{place}/{len(names)}] {name}\n")
            if _needs_real_data(block.recipe) and not MSD_REAL.is_dir():
                sys.stderr.write(f"  left as it is: it needs real scans in {MSD_REAL.relative_to(REPOSITORY.parent)}\n")
                continue
            try:
                _write(name, block, workshop, processor)
            except (CommandFailedError, MarkerError) as error:
                failed += 1
                sys.stderr.write(f"  left as it is: {error}\n")
    sys.stderr.write(f"{len(names) - failed} done or left, {failed} failed\n")
    return 1 if failed else 0


def _write(name: str, block: Block, workshop: Workshop, processor: str) -> None:
    printed = workshop.printed(block.recipe)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    record = Record(name, f"sambench {__version__}", today, processor, code_of(block))
    page = REPOSITORY / block.page
    seconds = printed.seconds if RECIPES[block.recipe].timed else None
    output = cut(printed.text, block.cuts)
    page.write_text(with_output(page.read_text(encoding="utf-8"), record, output, seconds), encoding="utf-8")
    sys.stderr.write(f"  {block.page} written; its command took {minutes(printed.seconds)}\n")


def _needs_real_data(recipe: str | None) -> bool:
    while recipe is not None:
        if RECIPES[recipe].real_data:
            return True
        recipe = RECIPES[recipe].after
    return False


def _processor() -> str:
    cores = available_cores()
    found = environment(cores)
    gpu = f" and {found.gpu}" if found.gpu else ""
    return f"{cores} core{'s' * (cores != 1)} ({found.cpu}{gpu})".replace(";", ",")


if __name__ == "__main__":
    sys.exit(main())
