"""Marked blocks of a Markdown page: output that a script makes, and output that once was printed.

A block that the script makes, which owns everything between the two comments:

    <!-- output: ID; sambench VERSION; DATE; PROCESSOR; code HASH -->
    ```text
    …
    ```

    *Printed by sambench VERSION on DATE, on PROCESSOR.*
    <!-- /output -->

`code` is `none` as long as the script has not made it. Output that cannot be made again at will says in the same way
since when it stands, and in visible words:

    <!-- printed: sambench VERSION; PROCESSOR -->
    …
    *As printed by sambench VERSION, on PROCESSOR.*
    <!-- /printed -->

A page of measured tables has one `<!-- measured: sambench VERSION; PROCESSOR -->` and a sentence that says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

REGION = re.compile(r"<!-- (output|printed): (?P<record>[^\n]*?) -->\n(?P<body>.*?)\n<!-- /(\1) -->", re.DOTALL)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MEASURED = re.compile(r"<!-- measured: sambench (?P<version>[^;\n]+); (?P<processor>[^\n]+) -->")
VERSION = re.compile(r"sambench \d+\.\d+\S*")
NOT_MADE = "none"


class MarkerError(Exception):
    """A marker that cannot be read, or that is not where it is looked for."""


@dataclass(frozen=True)
class Record:
    """Where a block comes from.

    Attributes:
        block: its ID.
        version: `sambench 0.1.0`.
        date: YYYY-MM-DD, in words where the script did not make it.
        processor: in words.
        code: hash of the code that printed it, or `none`.
    """

    block: str
    version: str
    date: str
    processor: str
    code: str

    @property
    def line(self) -> str:
        """As the page has it."""
        return f"<!-- output: {self.block}; {self.version}; {self.date}; {self.processor}; code {self.code} -->"


def read_record(text: str) -> Record:
    """Reads what stands between `output:` and the comment's end.

    Raises:
        MarkerError: a part is missing or has another form.
    """
    parts = [part.strip() for part in text.split(";")]
    form = "ID; sambench VERSION; DATE; PROCESSOR; code HASH"
    if len(parts) != 5 or not all(parts) or not VERSION.fullmatch(parts[1]) or not parts[4].startswith("code "):
        raise MarkerError(f"“{text}” is no record of an output; write {form}")
    return Record(parts[0], parts[1], parts[2], parts[3], parts[4].removeprefix("code "))


def records(page: str) -> list[Record]:
    """The blocks of a page that the script makes."""
    return [read_record(found["record"]) for found in REGION.finditer(page) if found[1] == "output"]


def with_output(page: str, record: Record, output: str, seconds: float | None = None) -> str:
    """A page with another output in one of its blocks.

    Args:
        page: Markdown.
        record: of the new output.
        output: its lines.
        seconds: that the command took, where that is worth telling.

    Raises:
        MarkerError: the page has no such block, or two.
    """
    places = [
        found
        for found in REGION.finditer(page)
        if found[1] == "output" and read_record(found["record"]).block == record.block
    ]
    if len(places) != 1:
        raise MarkerError(f"{len(places)} blocks are marked “output: {record.block}”; there must be one")
    took = "" if seconds is None else f", in {minutes(seconds)}"
    caption = f"*Printed by {record.version} on {record.date}, on {record.processor}{took}.*"
    body = f"{record.line}\n```text\n{output.rstrip()}\n```\n\n{caption}\n<!-- /output -->"
    return page[: places[0].start()] + body + page[places[0].end() :]


def minutes(seconds: float) -> str:
    """`42 s`, `3 min 05 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def unmarked_outputs(page: str) -> list[str]:
    """First lines of outputs (fences of the language `text`) that stand in no marked block."""
    outside = REGION.sub("", page)
    return [found[2].split("\n")[0] for found in FENCE.finditer(outside) if found[1] == "text"]


def fences_without_language(page: str) -> list[str]:
    """First lines of fences that do not say whether they hold commands (`sh`), output (`text`) or something else."""
    return [found[2].split("\n")[0] for found in FENCE.finditer(page) if not found[1]]
