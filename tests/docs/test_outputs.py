"""What the pages show was printed by the program, says by which version on what, and is made again by one command."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from tests.docs.outputs.age import code_hash, old_blocks
from tests.docs.outputs.blocks import BLOCKS, MSD_REAL, RECIPES, REPOSITORY, Cut
from tests.docs.outputs.making import CommandFailedError, Workshop, cut, yaml_named
from tests.docs.outputs.marked import (
    MEASURED,
    REGION,
    MarkerError,
    Record,
    fences_without_language,
    read_record,
    records,
    unmarked_outputs,
    with_output,
)

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# A row of a table with a time, a ratio or a share in it.
MEASURED_ROW = re.compile(r"^\|.*\d\.?\d*( ms| s\b|×| %).*\|$", re.MULTILINE)
# Their numbers are no measurements: rules, limits and settings.
NUMBERS_OF_THE_CODE = {
    "commands.md",
    "spec.md",
    "tasks.md",
    "results.md",
    "doctor.md",
    "prompts.md",
    "tune.md",
    "paper.md",
}
RECORD = Record("one", "sambench 9.9.9", "2030-01-02", "2 cores of a Test", "0123456789ab")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_fence_says_what_it_holds_and_every_output_is_marked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert fences_without_language(text) == [], "say `sh` for commands, `text` for what was printed"
    assert unmarked_outputs(text) == [], "mark it as `output` or `printed`: tests/docs/outputs/marked.py says how"


def test_every_marker_is_closed_and_every_made_block_is_declared_for_its_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"<!-- (?:output|printed): ", text)) == len(REGION.findall(text))
    for record in records(text):
        assert record.block in BLOCKS, f"{record.block} is in no list; declare it in tests/docs/outputs/blocks.py"
        assert REPOSITORY / BLOCKS[record.block].page == page


def test_whatever_is_shown_says_its_version_in_visible_words(page: Path) -> None:
    for found in REGION.finditer(page.read_text(encoding="utf-8")):
        version = re.search(r"sambench \d+\.\d+\S*(?=;)", found["record"])
        assert version, found["record"]
        caption = found["body"].rpartition("```")[2]
        assert re.search(rf"^\*(Printed|As printed) by {re.escape(version[0])}\b.*\bon .*\*$", caption, re.MULTILINE)


def test_a_page_of_measurements_says_with_which_version_they_were_made(page: Path) -> None:
    text = REGION.sub("", page.read_text(encoding="utf-8"))
    rows = [] if page.name in NUMBERS_OF_THE_CODE else MEASURED_ROW.findall(text)
    marker = MEASURED.search(text)
    assert marker or not rows, "name version and processor: `<!-- measured: sambench VERSION; PROCESSOR -->`"
    if marker:
        assert f"sambench {marker['version']}" in MEASURED.sub("", text)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_declared_block_stands_once_on_its_page_beside_the_command_that_prints_it(name: str) -> None:
    block = BLOCKS[name]
    text = (REPOSITORY / block.page).read_text(encoding="utf-8")
    assert [record.block for record in records(text)].count(name) == 1
    command = RECIPES[block.recipe].command
    assert f"sambench {command}" in text or f"make {command}" in text
    assert block.code_files, f"{name}: its code names a file that is no more: {block.code}"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_what_it_is_made_of(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.after is None or recipe.after in RECIPES
    for file, source in recipe.files.items():
        assert f"name: {Path(file).stem}" in yaml_named(REPOSITORY / source, Path(file).stem)


def test_blocks_that_are_older_than_the_code_that_prints_them_are_told() -> None:
    """Told and no failure, since not every machine has the data to make them; `make docs-outputs CHECK=1` fails."""
    found = old_blocks()
    if found:
        warnings.warn("outputs in docs are old:\n" + "\n".join(found), stacklevel=1)
    assert all("; make docs-outputs ONLY=" in line for line in found)


def test_a_block_is_replaced_with_its_record_and_nothing_beside_it() -> None:
    old = "<!-- output: one; sambench 0.1.0; long ago; x; code none -->\n```text\nold\n```\n<!-- /output -->"
    page = f"before\n\n{old}\n\nafter\n"
    new = with_output(page, RECORD, "new | line\n", seconds=185)
    assert new.startswith(
        "before\n\n<!-- output: one; sambench 9.9.9; 2030-01-02; 2 cores of a Test; code 0123456789ab -->\n"
    )
    assert "```text\nnew | line\n```" in new
    assert "*Printed by sambench 9.9.9 on 2030-01-02, on 2 cores of a Test, in 3 min 05 s.*" in new
    assert new.endswith("<!-- /output -->\n\nafter\n")
    assert records(new) == [RECORD]
    assert with_output(new, RECORD, "new | line", seconds=185) == new
    assert unmarked_outputs(new) == []


def test_a_block_that_is_not_there_or_twice_there_is_refused() -> None:
    once = f"{RECORD.line}\n```text\nx\n```\n<!-- /output -->\n"
    for page in ("nothing", once + once):
        with pytest.raises(MarkerError, match="must be one"):
            with_output(page, RECORD, "new")


@pytest.mark.parametrize("text", ["one", "one; 0.1.0; today; cpu; code x", "one; sambench 0.1.0; ; cpu; code x"])
def test_a_record_of_another_form_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(MarkerError, match="ID; sambench VERSION; DATE; PROCESSOR; code HASH"):
        read_record(text)


def test_an_output_without_a_marker_is_found() -> None:
    assert unmarked_outputs("```sh\nls\n```\n\n```text\nfile\n```\n") == ["file"]
    assert fences_without_language("```\nls\n```\n") == ["ls"]


def test_moves_comments_and_docstrings_make_no_block_old_and_other_words_do(tmp_path: Path) -> None:
    first, moved, said = tmp_path / "first.py", tmp_path / "moved.py", tmp_path / "said.py"
    first.write_text('"""Old."""\n\nimport os\n\n\ndef f():\n    """Says."""\n    return "old words"  \n')
    moved.write_text('"""New."""\n\nfrom a import os\n\n# why\n\n\ndef f():\n    return "old words"\n')
    said.write_text('"""Old."""\n\nimport os\n\n\ndef f():\n    """Says."""\n    return "new words"\n')
    assert code_hash([first]) == code_hash([moved]) != code_hash([said])
    assert code_hash([first], docstrings=True) != code_hash([moved], docstrings=True)


def test_a_cut_shows_what_it_names_and_tells_what_it_leaves_out() -> None:
    text = "a\nb\nc\nd\ne\nf"
    assert cut(text, (Cut("b", "c"), Cut("e", "f", with_last=False))) == "…\nb\nc\n…\ne\n…"
    assert cut(text, (Cut("a", "b"), Cut("c"))) == text
    assert cut(text, ()) == text
    with pytest.raises(CommandFailedError, match="no line matches “x”"):
        cut(text, (Cut("x"),))


def test_no_folder_of_this_machine_and_no_colour_stays_in_an_output(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    lines = [f"{workshop.work}/runs/demo ", f"{MSD_REAL.resolve()}/Task09", f"{REPOSITORY}/docs", f"{tmp_path}/cache"]
    text = "\n".join(["", *lines, "\x1b[1mbold\x1b[0m", ""])
    assert workshop.without_paths(text) == "runs/demo\n../msd/Task09\n./docs\n../cache\nbold"
    assert workshop.without_paths(" Usage: python -m sambench [OPTIONS]") == " Usage: sambench [OPTIONS]"
