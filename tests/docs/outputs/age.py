"""Which blocks are older than the code that prints them: a hash over that code, blind to what changes no output."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

from tests.docs.outputs.blocks import BLOCKS, REPOSITORY, Block
from tests.docs.outputs.marked import NOT_MADE, records

DIGITS = 12


def code_hash(files: Iterable[Path], docstrings: bool = False) -> str:
    """Hash of what some files do.

    Comments, blank lines, imports and the files' places do not count, so that a moved module makes no output old.

    Args:
        files: Python or YAML.
        docstrings: whether they count; they do where a command's help is printed.
    """
    texts = sorted(_essence(file, docstrings) for file in files)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:DIGITS]


def _essence(file: Path, docstrings: bool) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    left_out = _left_out("\n".join(lines), docstrings) if file.suffix == ".py" else set()
    kept = (line.rstrip() for number, line in enumerate(lines, 1) if number not in left_out)
    return "\n".join(line for line in kept if line and not line.lstrip().startswith("#"))


def _left_out(source: str, docstrings: bool) -> set[int]:
    """Numbers of the lines that hold imports or, if they do not count, docstrings."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        said = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if isinstance(node, ast.Import | ast.ImportFrom) or (said and not docstrings):
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def code_of(block: Block) -> str:
    """Hash of the code that prints a block, as it is now."""
    return code_hash(block.code_files, block.docstrings)


def old_blocks() -> list[str]:
    """A line for each block that is old or was never made, with the command that makes it again."""
    found = []
    for name, block in BLOCKS.items():
        page = (REPOSITORY / block.page).read_text(encoding="utf-8")
        recorded = {record.block: record for record in records(page)}
        code = recorded[name].code if name in recorded else NOT_MADE
        if code != code_of(block):
            what = "was not made by the script so far" if code == NOT_MADE else "is older than the code that prints it"
            found.append(f"{block.page}: the block “{name}” {what}; make docs-outputs ONLY={name}")
    return found
