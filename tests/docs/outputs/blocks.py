"""Every block that is made: where it stands, what prints it, what of it is shown, and the code that makes it old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
MSD_REAL = REPOSITORY.parent / "shared" / "msd-real"
"""A few real scans in MSD layout, which are not part of the repository."""


@dataclass(frozen=True)
class Cut:
    """Lines that are shown, from the first that matches to the one that matches next.

    Attributes:
        first: regular expression.
        last: likewise; None for the output's end.
        with_last: whether the last line is shown, too.
    """

    first: str
    last: str | None = None
    with_last: bool = True


@dataclass(frozen=True)
class Recipe:
    """A command as the page shows it.

    Attributes:
        command: after `sambench`, its words divided by blanks.
        after: the recipe whose files it needs, by name; both run in one folder.
        files: file → the page and the `name` of the YAML block in it, or an example, that it is written from.
        real_data: whether it needs the real scans, as `../msd`.
        width: columns of the terminal.
        progress: whether what it says on stderr is shown as well.
        timed: whether the page tells how long it took.
        exit_codes: that are no failure.
    """

    command: str
    after: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    real_data: bool = False
    width: int = 80
    progress: bool = False
    timed: bool = False
    exit_codes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Block:
    """One block of one page.

    Attributes:
        page: from the repository's root.
        recipe: name of what prints it.
        code: files, or patterns of them, whose change makes it old: those that word and lay out what is shown, not
            all that computes it.
        cuts: what is shown, `…` standing for the rest; nothing given, all of it.
        docstrings: whether the code's docstrings are printed.
    """

    page: str
    recipe: str
    code: tuple[str, ...]
    cuts: tuple[Cut, ...] = ()
    docstrings: bool = False

    @property
    def code_files(self) -> list[Path]:
        """The files of its code; none at all where a pattern matches none."""
        found = [sorted(REPOSITORY.glob(pattern)) for pattern in self.code]
        return [file for files in found for file in files] if all(found) else []


REPORT = (
    *("reports/terminal.py", "reports/table.py", "reports/text.py", "reports/summary.py", "reports/verdict.py"),
    *("reports/findings.py", "reports/advice.py", "reports/speed.py", "reports/times.py", "reports/accuracy.py"),
    *("reports/supervision.py", "reports/measuring.py"),
)
DEMO = (*REPORT, "benchmark/demo.py", "benchmark/specs/demo.yaml", "benchmark/progress.py")
PHANTOM = "runs/demo-data/Task201_Phantom"
COMMANDS = ("benchmark/cli*.py",)
DOCTOR = ("benchmark/doctor/show.py", "benchmark/doctor/told.py", "benchmark/doctor/facts.py")

RECIPES: Mapping[str, Recipe] = {
    "help": Recipe("--help"),
    "doctor": Recipe("doctor"),
    "demo": Recipe("demo", progress=True, timed=True),
    "train-full": Recipe(f"train --data {PHANTOM} --set epochs=40 --out full", after="demo", progress=True),
    "label-phantom": Recipe(f"label --data {PHANTOM} --model litemedsam --prompt box --out labels", after="demo"),
    "train-weak": Recipe(
        f"train --data {PHANTOM} --labels labels --set epochs=40 --out weak", after="label-phantom", progress=True
    ),
    "export-unet": Recipe(
        f"export unet --checkpoint full/unet.pt --precision int8 --data {PHANTOM} --out unet-int8", after="train-full"
    ),
    "label": Recipe(
        "label --data ../msd/Task101_AbdomenCT --model litemedsam --prompt box --out pseudo/Task101_AbdomenCT",
        real_data=True,
    ),
    "abdomen": Recipe(
        "run abdomen.yaml", files={"abdomen.yaml": "docs/own-data.md"}, real_data=True, width=104, timed=True
    ),
    "precisions": Recipe(
        "run precisions.yaml --set data.root=../msd",
        files={"precisions.yaml": "docs/examples/precisions.yaml"},
        real_data=True,
        timed=True,
    ),
}

BLOCKS: Mapping[str, Block] = {
    "help": Block("docs/commands.md", "help", COMMANDS, docstrings=True),
    "doctor": Block("docs/doctor.md", "doctor", DOCTOR),
    "demo": Block("README.md", "demo", DEMO, (Cut("^╭", "^╰"), Cut("^html report"))),
    "demo-whole": Block("docs/first-run.md", "demo", DEMO),
    "train-full": Block("docs/train.md", "train-full", ("benchmark/cli_train.py",), (Cut("^  mean "),)),
    "train-weak": Block("docs/train.md", "train-weak", ("benchmark/cli_train.py",)),
    "export-unet": Block("docs/export.md", "export-unet", ("benchmark/export_tables.py", "benchmark/cli_artifacts.py")),
    "label": Block("docs/prompts.md", "label", ("benchmark/cli_label.py",)),
    "abdomen": Block("docs/own-data.md", "abdomen", REPORT),
    "precisions": Block("docs/export.md", "precisions", (*REPORT, "exporters/precision.py"), (Cut("^╭", "^╰"),)),
}
