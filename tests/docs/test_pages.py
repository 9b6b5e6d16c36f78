"""README.md and docs/: short enough, every link leads somewhere, every command is listed, every example can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
import yaml

from benchmark.cli import app
from benchmark.spec import Spec, load_spec
from tests.docs.site_check import foreign_resources, main

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MOST_BYTES = 8192
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def site() -> dict[str, object]:
    return yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """As GitHub and the site make them of headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower())) for heading in headings}


def named_pages(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for part in nav.values():
            yield from named_pages(part)
    elif isinstance(nav, list):
        for part in nav:
            yield from named_pages(part)


def commands(group: click.Group | None = None, before: str = "") -> Iterator[str]:
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        yield from commands(command, f"{before}{name} ") if inner else [f"{before}{name}"]


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= MOST_BYTES


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for target in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), f"{page.name}: {target} leads nowhere"
        assert page == README or file.is_relative_to(DOCS), f"{page.name}: {target} is no part of the site"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target} names no heading of {file.name}"


def test_the_table_of_commands_in_the_readme_is_that_of_the_program() -> None:
    table = README.read_text(encoding="utf-8").partition("## Commands")[2].partition("\n\n## ")[0]
    listed = []
    for row in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE):
        first, *others = re.findall(r"`(?:sambench )?([^`]+)`", row)
        group = first.split()[0]
        listed += [first, *(other if " " in other else f"{group} {other}" for other in others)]
    assert sorted(listed) == sorted(commands())


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_has_its_line_with_options(command: str) -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert re.search(rf"^sambench {command}\b", page, re.MULTILINE)


def test_every_page_is_in_the_sites_navigation_once_and_on_its_first_page() -> None:
    named = list(named_pages(site()["nav"]))
    assert sorted(named) == sorted(page.name for page in PAGES)
    linked = set(LINK.findall((DOCS / "index.md").read_text(encoding="utf-8")))
    assert {page.name for page in PAGES} - linked == {"index.md"}


def test_the_site_brings_its_own_fonts() -> None:
    told = site()
    assert told["theme"]["font"] is False
    assert "offline" not in told["plugins"], "it loads a script from another server"
    assert "repo_url" not in told, "the theme asks the repository's server for its stars"


def test_the_site_generator_is_an_extra_and_its_folder_is_ignored() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^docs = \[\"zensical", project, re.MULTILINE)
    assert f"{site()['site_dir']}/" in (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("example", sorted((DOCS / "examples").glob("*.yaml")), ids=lambda example: example.name)
def test_every_example_is_a_valid_specification_with_a_name(example: Path) -> None:
    content = yaml.safe_load(example.read_text(encoding="utf-8"))
    assert Spec.model_validate(content).name


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_every_specification_in_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        content = yaml.safe_load(block)
        if isinstance(content, dict) and {"name", "data"} <= set(content):
            (tmp_path / "spec.yaml").write_text(block, encoding="utf-8")
            tasks = content["data"]["tasks"]
            for task in tasks:
                (tmp_path / "root" / task).mkdir(parents=True, exist_ok=True)
            assert load_spec(tmp_path / "spec.yaml", [f"data.root={tmp_path / 'root'}"]).name == content["name"]


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="https://cdn.example/x.js"></script>', 1),
        ('<link rel="stylesheet" href="//fonts.example/css">', 1),
        ('<img src="http://example/x.png">', 1),
        ('<style>@import url("https://fonts.example/x");</style>', 1),
        ('<a href="https://example">a link</a><link rel="canonical" href="https://example/x">', 0),
        ('<script src="assets/x.js"></script><img src="x.png">', 0),
    ],
)
def test_what_a_page_loads_from_another_server_is_found(page: str, found: int, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    assert len(set(foreign_resources(tmp_path))) == found
    assert main(tmp_path) == (1 if found else 0)


def test_a_folder_without_pages_is_no_site_that_passes(tmp_path: Path) -> None:
    assert main(tmp_path) == 2
