"""Runs the documented commands and cuts what they print to what a page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.docs.outputs.blocks import MSD_REAL, RECIPES, REPOSITORY, Cut, Recipe

ELLIPSIS = "…"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class CommandFailedError(Exception):
    """A documented command did not end as the page says."""


@dataclass(frozen=True)
class Printed:
    """What a command printed.

    Attributes:
        text: without the paths of this machine.
        seconds: that it took.
    """

    text: str
    seconds: float


class Workshop:
    """A folder in which the recipes run, each once, as a new user would: with an empty cache and nothing beside it.

    Args:
        folder: an empty one; the commands run in `work` within it, and `msd` beside that holds the real scans.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.work = self.folder / "work"
        self.work.mkdir()
        if MSD_REAL.is_dir():
            (self.folder / "msd").symlink_to(MSD_REAL)
        self._printed: dict[str, Printed] = {}

    def printed(self, name: str) -> Printed:
        """What a recipe prints; what it needs runs before.

        Raises:
            CommandFailedError: it ended otherwise than the recipe says.
        """
        if name not in self._printed:
            recipe = RECIPES[name]
            if recipe.after is not None:
                self.printed(recipe.after)
            self._printed[name] = self._run(name, recipe)
        return self._printed[name]

    def _run(self, name: str, recipe: Recipe) -> Printed:
        for file, source in recipe.files.items():
            (self.work / file).write_text(yaml_named(REPOSITORY / source, Path(file).stem), encoding="utf-8")
        sys.stderr.write(f"  sambench {recipe.command}\n")
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "sambench", *recipe.command.split()],
            cwd=self.work,
            env=self._environment(recipe),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if recipe.progress else subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        seconds = time.monotonic() - began
        if done.returncode not in recipe.exit_codes:
            last = "\n".join(f"{done.stdout}\n{done.stderr or ''}".strip().splitlines()[-20:])
            raise CommandFailedError(f"{name}: `sambench {recipe.command}` ended with {done.returncode}:\n{last}")
        return Printed(self.without_paths(done.stdout), seconds)

    def _environment(self, recipe: Recipe) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAMBENCH_", "PYTEST_"))}
        return kept | {
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",  # so that both streams keep their order
            "SAMBENCH_CACHE": str(self.folder / "cache"),
            "COLUMNS": str(recipe.width),
            "NO_COLOR": "1",
            "TERM": "dumb",
        }

    def without_paths(self, text: str) -> str:
        """An output as any machine prints it: no colours, no folder of this one."""
        text = ESCAPES.sub("", text).replace("\r\n", "\n").replace(f"{self.work}/", "")
        # Run as a module it names itself so; the command that people type has the plain name.
        text = re.sub(r"^( *Usage: )(?:python -m sambench|sambench\.py)\b", r"\1sambench", text, flags=re.MULTILINE)
        places = {self.work: ".", self.folder: "..", MSD_REAL.resolve(): "../msd", REPOSITORY: ".", Path.home(): "~"}
        for path, said in places.items():
            text = text.replace(str(path), said)
        return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def yaml_named(source: Path, name: str) -> str:
    """A specification: a YAML file's text, or of a page the block whose `name` it is.

    Raises:
        CommandFailedError: the page has no such block.
    """
    text = source.read_text(encoding="utf-8")
    if source.suffix != ".md":
        return text
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        content = yaml.safe_load(block)
        if isinstance(content, dict) and content.get("name") == name:
            return str(block)
    raise CommandFailedError(f"{source.name}: has no YAML block with `name: {name}`")


def cut(text: str, cuts: tuple[Cut, ...]) -> str:
    """What a page shows of an output; `…` stands for what is left out.

    Raises:
        CommandFailedError: a cut finds no line, so the output has another form than it was written for.
    """
    if not cuts:
        return text
    lines = text.splitlines()
    shown: list[str] = []
    place = 0
    for one in cuts:
        first = _find(lines, one.first, place)
        end = len(lines) if one.last is None else _find(lines, one.last, first + 1) + one.with_last
        shown += [ELLIPSIS] * (first > place) + lines[first:end]
        place = end
    return "\n".join(shown + [ELLIPSIS] * (place < len(lines)))


def _find(lines: list[str], pattern: str, begin: int) -> int:
    for index in range(begin, len(lines)):
        if re.search(pattern, lines[index]):
            return index
    raise CommandFailedError(f"no line matches “{pattern}”, so the output has a new form; adapt its cuts in blocks.py")
