"""Kills `sambench label` at random moments, goes on, and compares the bytes with those of an undisturbed run.

    python -m tests.perf.kill_and_resume ../shared/msd-real/Task101_AbdomenCT --copies 4 --kills 10 --seed 0

Further options go to `sambench label`. It is the real command with the real model. Where it finishes before all kills
are spent, it begins again in an empty folder. Exit code 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tests.perf.copies import command, copies


def content(folder: Path) -> dict[str, bytes]:
    """What a trainer sees: every file outside the work folder but the images."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".sambench" not in path.parts and "imagesTr" not in path.parts
    }


def label(words: list[str], killed_after_s: float | None) -> int:
    """Runs the command, or kills it; its exit code, which is negative if the kill came in time."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(killed_after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def differing(found: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    """Files that are not there undisturbed, or not with these bytes."""
    return [name for name, data in found.items() if whole.get(name) != data]


def main() -> None:
    """Parses, kills, goes on, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given, options = parser.parse_known_args()
    console = Console(width=100)
    table = Table("killed after", "whole labels then", "differing files then", box=box.SIMPLE)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        data, out = copies(given.task, root / "Task90_Copies", given.copies), root / "out"
        undisturbed = command(data, root / "whole", options)
        if label(undisturbed, None) != 0:  # exports the model, too
            raise SystemExit("the undisturbed run failed; try it: sambench label " + " ".join(options))
        shutil.rmtree(root / "whole")
        started = time.perf_counter()
        label(undisturbed, None)
        seconds, whole = time.perf_counter() - started, content(root / "whole")
        console.print(f"undisturbed: {seconds:.1f} s, {len(whole)} files")
        moments, kills, wrong = np.random.default_rng(given.seed), 0, False
        while True:
            moment = moments.uniform(0, seconds) if kills < given.kills else None
            code = label(command(data, out, options), moment)
            found = content(out) if out.is_dir() else {}
            bad = differing(found, whole)
            if code < 0:
                kills += 1
                labels = sum(name.startswith("labelsTr/") for name in found)
                table.add_row(f"{moment:.1f} s", f"{labels} of {given.copies}", ", ".join(bad) or "none")
            elif code == 0:
                bad += sorted(set(whole) - set(found))
                table.add_row("finished", f"{given.copies} of {given.copies}", ", ".join(bad) or "none")
                if kills < given.kills:
                    shutil.rmtree(out)
            else:
                raise SystemExit(f"going on after {kills} kills ended with exit code {code}")
            wrong = wrong or bool(bad)
            if code == 0 and kills >= given.kills:
                break
    console.print(table)
    console.print("a byte differs" if wrong else f"{kills} kills, the same bytes as undisturbed")
    raise SystemExit(int(wrong))


if __name__ == "__main__":
    main()
