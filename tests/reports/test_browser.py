"""The page in a browser, as a reader has it: read from a file, with nothing to fetch.

The run has 3 models, 5 strategies, 4 backends and 8 labels; its numbers are made up.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmark.results import Results, save_results
from reports.export_data import records
from reports.html import write_html
from reports.summary import Summary, summarize
from reports.table import Table
from tests.reports.large_factory import build_large
from tests.reports.report_factory import build

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH"),
]
PATIENCE_MS = 300_000
"""A browser on a busy machine may take long for what takes it a moment; only what never comes takes so long."""
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1300, "height": 900}
LAPTOP, SMALL_LAPTOP = {"width": 1280, "height": 800}, {"width": 1024, "height": 768}


@dataclass
class Opened:
    """A page in the browser, what it asked for and what it complained of."""

    page: Any
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def column(self, table: str, title: str) -> list[str]:
        """The texts of a column in the rows that show, without footnote marks."""
        script = """([id, title]) => {
            const table = document.getElementById(id);
            const at = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent.trim() === title);
            return [...table.tBodies[0].rows].filter((row) => row.offsetParent !== null).map((row) => {
                const cell = row.cells[at].cloneNode(true);
                cell.querySelectorAll("sup").forEach((mark) => mark.remove());
                return cell.textContent.trim();
            });
        }"""
        found: list[str] = self.page.evaluate(script, [table, title])
        return found

    def tools(self, table: str) -> Any:
        """What stands above a table."""
        return self.page.locator(f".tools:has(+ .scroll > #{table})")

    def head(self, table: str, title: str) -> Any:
        return self.page.locator(f"#{table} thead button").filter(has_text=title).first

    def saved(self, click: Any) -> list[list[str]]:
        """The rows of the CSV file that a click saves."""
        with self.page.expect_download() as download:
            click.click()
        with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    folder = tmp_path_factory.mktemp("large")
    results = build_large(folder)
    save_results(results, folder)
    return results, write_html(results, folder)


@pytest.fixture(scope="module")
def summary(run: tuple[Results, Path]) -> Summary:
    return summarize(run[0])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Containers have no sandbox of their own to offer, and the page is ours.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE_MS)
        yield opened
        opened.close()


def _open(browser: Any, path: Path, **looks: Any) -> Opened:
    context = browser.new_context(**({"viewport": DESK} | looks))
    context.set_default_timeout(PATIENCE_MS)
    opened = Opened(context.new_page())

    def watch(route: Any) -> None:
        address = route.request.url
        if address == path.as_uri():
            route.continue_()
        else:
            opened.asked.append(address)
            route.abort()

    context.route("**/*", watch)
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on(
        "console",
        lambda message: opened.complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    opened.page.goto(path.as_uri())
    opened.page.wait_for_function("document.querySelectorAll('[data-chart]:not(:has(svg))').length === 0")
    return opened


@pytest.fixture(scope="module")
def desk(browser: Any, run: tuple[Results, Path]) -> Opened:
    return _open(browser, run[1])


def test_the_page_opens_without_a_complaint_and_asks_for_nothing(desk: Opened, run: tuple[Results, Path]) -> None:
    results = run[0]
    cells = results.cells
    assert len({c.model for c in cells if c.stage == "pseudolabel"}) == 3
    assert len({c.prompt for c in cells if c.stage == "pseudolabel"}) == 5
    assert len({c.backend for c in cells}) == 4 and len(results.tasks[0].labels) == 8
    assert desk.complaints == [] and desk.asked == []


def test_the_watch_sees_what_a_page_asks_for(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='https://example.org/x.png'><script>console.error('e'); throw Error('f')</script>")
    opened = _open(browser, page)
    assert opened.asked == ["https://example.org/x.png"] and len(opened.complaints) >= 2


def test_numbers_sort_as_numbers_and_what_is_absent_stays_last(desk: Opened) -> None:
    before = desk.column("latency", "p50 ms")
    assert "–" in before and any("," in text for text in before)
    head = desk.head("latency", "p50 ms")
    orders = {}
    for order in ("ascending", "descending"):
        head.click()
        assert desk.page.locator("#latency [aria-sort]").get_attribute("aria-sort") == order
        shown = desk.column("latency", "p50 ms")
        absent = shown.count("–")
        assert absent and shown[-absent:] == ["–"] * absent
        orders[order] = [float(text.replace(",", "")) for text in shown[:-absent]]
        assert "▲" in _after(desk, head) if order == "ascending" else "▼" in _after(desk, head)
    assert orders["ascending"] == sorted(orders["ascending"])
    assert orders["descending"] == sorted(orders["descending"], reverse=True)
    head.press("Enter")
    assert desk.column("latency", "p50 ms") == before


def _after(opened: Opened, head: Any) -> str:
    return str(opened.page.evaluate("(head) => getComputedStyle(head, '::after').content", head.element_handle()))


def test_intervals_and_ratios_sort_by_their_numbers(desk: Opened) -> None:
    for title in ("speedup", "95 % interval"):
        desk.head("verdict", title).click()
        shown = [text.strip("[×") for text in desk.column("verdict", title) if text != "–"]
        numbers = [float(text.split(",")[0].removesuffix("×")) for text in shown]
        assert numbers == sorted(numbers) and len(set(numbers)) > 10


def test_a_filter_hides_rows_whose_columns_lack_a_word_and_counts_the_others(desk: Opened) -> None:
    box = desk.tools("latency").get_by_role("searchbox")
    every = desk.column("latency", "model")
    box.fill("OPENVINO vit_b")
    assert set(desk.column("latency", "model")) == {"vit_b"} and set(desk.column("latency", "backend")) == {"OpenVINO"}
    assert desk.tools("latency").locator("output").inner_text() == f"5 of {len(every)} rows"
    saved = desk.saved(desk.tools("latency").get_by_role("button"))
    assert len(saved) == 1 + 5
    box.fill("")
    assert desk.column("latency", "model") == every


@pytest.mark.parametrize("key", ["latency", "dice", "dice_cases", "verdicts", "prompts"])
def test_a_saved_table_holds_what_the_exported_one_holds(browser: Any, run: tuple[Results, Path], key: str) -> None:
    found = getattr(summarize(run[0]), key)
    table: Table = found[0] if isinstance(found, tuple) else found
    opened = _open(browser, run[1])
    # Some tables are folded: their buttons are pressed as a keyboard would.
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    saved = opened.saved(opened.tools(table.key).get_by_role("button").first)
    exported = list(records(table))
    assert saved[0] == exported[0] and len(saved) == len(exported) > 3
    for on_page, line in zip(saved[1:], exported[1:], strict=True):
        assert len(on_page) == len(line)
        for left, right in zip(on_page, line, strict=True):
            # The page keeps seven digits.
            assert left == right or float(left) == pytest.approx(float(right), rel=1e-6)


def test_raw_samples_open_with_every_value_of_the_cell(desk: Opened, run: tuple[Results, Path]) -> None:
    cell = run[0].cells[2]
    assert cell.latency_ms and cell.device_latency_ms
    desk.page.locator("#latency tbody tr[data-cell='2'] button.open").click()
    dialog = desk.page.locator("dialog[open]")
    assert dialog.locator("h3").all_inner_texts()[:2] == ["90 samples, end to end", "90 samples, device-resident"]
    saved = desk.saved(dialog.get_by_role("button", name="CSV").nth(1))
    assert saved[0] == ["index", "value_ms"]
    assert [float(value) for _, value in saved[1:]] == pytest.approx(cell.device_latency_ms.samples, rel=1e-6)
    desk.page.keyboard.press("Escape")
    assert dialog.count() == 0


def test_commands_can_be_copied(desk: Opened, run: tuple[Results, Path]) -> None:
    desk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    desk.page.locator("h3:has-text('Run it again') + .copy").click()
    assert desk.page.evaluate("navigator.clipboard.readText()") == run[0].command


@pytest.mark.parametrize("viewport", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways(
    browser: Any, run: tuple[Results, Path], viewport: dict[str, int], scheme: str
) -> None:
    opened = _open(browser, run[1], viewport=viewport, color_scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(background.split("(")[1].split(",")[0]) < 60) == (scheme == "dark")
    assert opened.complaints == []


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backends on two tasks, one of a long name."""
    folder = tmp_path_factory.mktemp("few")
    return write_html(build(folder), folder)


@pytest.fixture(scope="module")
def lanes(run: tuple[Results, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four backends in two precisions, against PyTorch in fp32."""
    folder = tmp_path_factory.mktemp("lanes")
    cells, compared = run[0].cells, run[0].comparisons
    reduced = {"precision": "int8"}
    more = [one.model_copy(update=reduced) for one in cells if one.backend != "pytorch"]
    others = [one.model_copy(update=reduced) for one in compared]
    both = {"cells": [*cells, *more], "comparisons": [*compared, *others], "pictures": []}
    return write_html(run[0].model_copy(update=both), folder)


@pytest.fixture(params=["few", "large", "lanes"])
def page(request: pytest.FixtureRequest) -> Path:
    if request.param == "large":
        found: Path = request.getfixturevalue("run")[1]
        return found
    other: Path = request.getfixturevalue(request.param)
    return other


@pytest.mark.parametrize("viewport", [LAPTOP, SMALL_LAPTOP], ids=["1280", "1024"])
def test_the_table_of_verdicts_fits_a_laptop_without_a_scroll_bar(
    browser: Any, page: Path, viewport: dict[str, int]
) -> None:
    opened = _open(browser, page, viewport=viewport)
    needs, has = opened.page.evaluate(
        "(() => { const box = document.getElementById('verdict').parentElement;"
        " return [box.scrollWidth, box.clientWidth]; })()"
    )
    assert needs <= has


@pytest.mark.parametrize("viewport", [LAPTOP, SMALL_LAPTOP, PHONE], ids=["1280", "1024", "phone"])
def test_the_first_screen_shows_the_sentence_and_its_picture(
    browser: Any, page: Path, viewport: dict[str, int]
) -> None:
    opened = _open(browser, page, viewport=viewport)
    places = {
        name: opened.page.locator(found).bounding_box()
        for name, found in (("sentence", "h1"), ("picture", "figure.picture"), ("drawing", "#chart-glance svg"))
    }
    for box in places.values():
        assert box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"]
        assert box["y"] >= 0 and box["y"] + box["height"] <= viewport["height"]
    sentence, picture = places["sentence"], places["picture"]
    if viewport is PHONE:
        assert picture["y"] >= sentence["y"] + sentence["height"]
    else:
        assert picture["x"] >= sentence["x"] + sentence["width"] and picture["y"] == sentence["y"]
    # Its texts keep inside it: nothing is cut off at an edge.
    drawing = places["drawing"]
    for text in opened.page.locator("#chart-glance .mark-text text").all():
        box = text.bounding_box()
        assert box["x"] >= drawing["x"] - 1 and box["x"] + box["width"] <= drawing["x"] + drawing["width"] + 1
    assert opened.complaints == []


def test_in_print_nothing_is_left_that_only_a_screen_can_use(browser: Any, run: tuple[Results, Path]) -> None:
    opened = _open(browser, run[1])
    assert opened.page.locator(".tools:visible").count() > 5
    opened.page.emulate_media(media="print")
    assert opened.page.locator(".tools:visible, .copy:visible").count() == 0


def test_without_scripts_every_table_can_be_read(browser: Any, run: tuple[Results, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(run[1].as_uri())
    assert page.locator("#latency tbody tr").count() == len(run[0].cells)
    assert page.locator("#latency thead th").first.inner_text() == "stage"


def test_the_rows_that_lie_packed_come_when_asked_for(
    browser: Any, run: tuple[Results, Path], summary: Summary
) -> None:
    table = summary.dice_cases
    opened = _open(browser, run[1])
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert len(table.rows) > 300 and len(opened.column(table.key, "case")) == 60
    opened.page.locator(f"[data-rest-of={table.key}] button").click()
    opened.page.wait_for_function("(id) => !document.querySelector(`[data-rest-of=${id}]`)", arg=table.key)
    at = [column.title for column in table.columns].index("case")
    assert opened.column(table.key, "case") == [row[at].text for row in table.rows]
