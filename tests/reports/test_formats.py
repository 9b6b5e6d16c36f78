"""Terminal, Markdown and HTML show the same run, whole and harmless."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from benchmark.results import Results, load_results
from reports.charts import figures
from reports.html import embedded_json, write_html
from reports.html import render as html_of
from reports.markdown import escape, write_markdown
from reports.markdown import render as markdown_of
from reports.summary import summarize
from reports.terminal import print_report
from reports.view import View
from tests.reports.measured_factory import BUSY, CALIBRATION, NO_ENERGY
from tests.reports.report_factory import HOSTILE, ORGANS


class Page(HTMLParser):
    """Elements, attributes and text of a page, scripts apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag in ("script", "style"):
            self._open.append(tag)
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.scripts[-1] += data
        elif data.strip():
            self.words.append(" ".join(data.split()))


@pytest.fixture(scope="module")
def html(results: Results, run_dir: Path) -> str:
    return write_html(results, run_dir).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def markdown(results: Results, run_dir: Path) -> str:
    return write_markdown(results, run_dir).read_text(encoding="utf-8")


def test_the_page_asks_no_server_for_anything(html: str) -> None:
    page = Page(html)
    fetching = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}
    addresses = [value for _, name, value in page.attributes if name in fetching]
    assert addresses
    # A link to the results beside the page is followed by those who click on it, not by the page.
    assert all(value.startswith(("#", "data:image/png;base64,")) or value == "results.json" for value in addresses)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style and "url(" not in style
    assert not {"link", "iframe", "base"} & {tag for tag, _, _ in page.attributes}
    # A specification with an address in its data would be fetched by Vega.
    specs = re.search(r'id="chart-specs">(.*?)</script>', html, re.DOTALL)
    assert specs is not None and "http" not in specs.group(1) and '"url"' not in specs.group(1)


def test_the_verdict_is_the_first_thing_on_the_page(results: Results, html: str) -> None:
    body = Page(html[html.index("<body>") :])
    assert body.words[0] == summarize(results).verdict.headline


def test_a_hostile_name_is_text_and_never_markup(html: str) -> None:
    page = Page(html)
    assert HOSTILE in page.words
    assert not [script for script in page.scripts if script.strip().startswith("alert")]
    assert "<script>alert" not in html
    # Style, samples, the tables' script, specifications and the charts' script: nothing else runs.
    assert len(page.scripts) == 5


def test_every_cell_and_every_picture_is_on_the_page(results: Results, html: str) -> None:
    page = Page(html)
    table = html[html.index('<table id="latency">') :]
    assert table[: table.index("</table>")].count("<tr") == 1 + len(results.cells)
    for picture in results.pictures:
        assert any(f"case {picture.case}, slice {picture.slice}" in word for word in page.words)
    slices = {(picture.task, picture.case, picture.slice) for picture in results.pictures}
    assert html.count("data:image/png;base64,") == len(slices)


def test_charts_tables_and_pictures_have_names_for_those_who_do_not_see_them(html: str) -> None:
    page = Page(html)
    images = html.count('role="img"')
    assert images and html.count("aria-label=") >= images
    assert html.count("<caption>") == html.count("<table ")
    assert ("th", "scope", "row") in page.attributes
    assert ("th", "scope", "col") in page.attributes


def test_embedded_json_cannot_end_its_script_and_reads_back_the_same() -> None:
    value = {"x": "</script><script>alert(1)</script>&<!--\u2028"}
    text = embedded_json(value)
    assert "<" not in text and json.loads(text) == value


def test_an_empty_run_still_has_a_page(results: Results, tmp_path: Path) -> None:
    nothing = results.model_copy(
        update={"cells": [], "comparisons": [], "pictures": [], "tasks": [], "trainings": [], "spec": {}}
    )
    assert "Nothing to compare" in write_html(nothing, tmp_path).read_text(encoding="utf-8")
    assert "Nothing to compare" in write_markdown(nothing, tmp_path).read_text(encoding="utf-8")
    print_report(nothing, Console(file=io.StringIO(), width=80))


def test_markdown_tables_have_as_many_cells_in_every_row(markdown: str) -> None:
    lines = markdown.splitlines()
    tables = 0
    for above, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            tables += not above.startswith("|")
            width = len(re.findall(r"(?<!\\)\|", line))
            assert not above.startswith("|") or width == len(re.findall(r"(?<!\\)\|", above)), line
    assert tables >= 9


def test_markdown_names_its_charts_and_they_are_pictures(markdown: str, run_dir: Path) -> None:
    names = re.findall(r"!\[(?:\\.|[^\]\\])+\]\(([^)]+)\)", markdown)
    assert len(names) == 17
    for name in names:
        with Image.open(run_dir / name) as image:
            assert image.format == "PNG" and image.width > 600
    assert markdown.startswith("**Use ONNX Runtime for pseudo-labelling: ")


def test_markdown_escapes_what_would_be_markup() -> None:
    assert escape("a|b <i> *c* [d](e) `f`\ng") == r"a\|b &lt;i&gt; \*c\* \[d\](e) \`f\` g"


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_terminal_report_fits_and_begins_with_the_verdict(results: Results, width: int) -> None:
    stream = io.StringIO()
    print_report(results, Console(file=stream, width=width))
    shown = stream.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert "ONNX Runtime pseudo-labels 2.24×" in shown
    for word in (
        "▲ faster",
        "✗ gate failed",
        "✗ failed",
        "p50",
        "tumour|cancer",
        "[2.25, 2.38]",
        "difference",
        "−0.0200",
    ):
        assert word in shown
    assert " nan" not in shown


def test_what_a_missed_organ_windows_and_supervision_say_is_in_every_format(
    results: Results, html: str, markdown: str
) -> None:
    stream = io.StringIO()
    print_report(results, Console(file=stream, width=140))
    for shown in (html, markdown, stream.getvalue()):
        flat = " ".join(shown.replace("│", " ").split())
        assert "one case is no evidence of accuracy" in flat
        assert "96.0 (8×512×512)" in flat
        assert "1 missed" in flat
    for shown in (html, markdown):
        assert "windows per batch 8" in shown and "patch 128 × 128" in shown and "scaled to 0–1" in shown
        assert "Where a label is absent: a label that the reference lacks" in shown
        assert "Weak against full supervision, label by label" in shown
        assert "Surfaces per case" in shown and "volumes a minute" in shown


def test_how_it_was_measured_is_in_every_format_and_the_machine_is_called_busy_once_on_the_first_screen(
    results: Results, html: str, markdown: str
) -> None:
    stream = io.StringIO()
    print_report(results, Console(file=stream, width=140))
    terminal = " ".join(stream.getvalue().replace("│", " ").split())
    for shown in (html, markdown, terminal):
        assert "±2 %" in shown and "device" in shown and "not steady" in shown
        assert "p90 ≤ 500 ms" in shown and "p99 needs 662 samples, 572 more" in shown
        assert shown.count(f"The machine was busy before the run: {BUSY}") == 1
    assert "in 2.0 % of it no worker computed" in terminal
    for shown in (html, markdown):
        assert "beyond the margin of ±2 % (0.980× to 1.020×)" in shown
        assert "How near to the machine's limit" in shown.replace("&#39;", "'")
        assert "What measuring took" in shown and NO_ENERGY in shown and CALIBRATION in shown
        assert "Every worker could use the processors 0–1 and had OMP" in shown


def test_results_of_before_the_engine_still_render(results: Results, run_dir: Path, tmp_path: Path) -> None:
    old = json.loads(results.model_dump_json(exclude={"peak", "measuring", "calibration", "notes"}))
    old["environment"] = {k: v for k, v in old["environment"].items() if k not in ("busy", "governor", "driver")}
    old["spec"].pop("measure")
    for one in old["comparisons"]:
        del one["margin"]
    told = {"requested_threads", "execution", "tf32", "graph_capture", "driver", "operators_on_cpu"}
    for one in old["cells"]:
        for later in ("device_latency_ms", "modules", "server", "memory", "energy", "warmup", "worker"):
            del one[later]
        one["memory_mib"] = None
        one["memory_reason"] = "backends share one process"
        if one["throughput"]:
            one["throughput"] = {key: one["throughput"][key] for key in ("value", "unit")}
        one["attestation"] = {
            role: {key: value for key, value in part.items() if key not in told}
            for role, part in one["attestation"].items()
        }
    (tmp_path / "results.json").write_text(json.dumps(old), encoding="utf-8")
    read = load_results(tmp_path)
    # The charts' own script has words of its own.
    for shown in (" ".join(Page(html_of(read, run_dir)).words), markdown_of(summarize(read), ())):
        assert "This run recorded no margin" in shown and "1.30 slices/s" in shown
        assert "this run kept no device-resident clock" in shown
        for later in ("Memory and", "What measuring took", "Server:", "verdict at", "offline", "execution"):
            assert later not in shown
    stream = io.StringIO()
    print_report(read, Console(file=stream, width=140))
    assert "Measuring took" not in stream.getvalue() and "▲ faster" in stream.getvalue()


def test_results_of_before_surfaces_windows_and_supervision_still_render(
    results: Results, run_dir: Path, tmp_path: Path
) -> None:
    later = {
        "nsd", "nsd_tolerance_mm", "hd95_mm", "hd95_missing", "surface_per_case", "empty_classes", "window_latency_ms",
        "first_shape_ms", "sliding_window", "preprocessing",
    }  # fmt: skip
    old = json.loads(results.model_dump_json(exclude={"supervision"}))
    old["cells"] = [{key: value for key, value in one.items() if key not in later} for one in old["cells"]]
    (tmp_path / "results.json").write_text(json.dumps(old), encoding="utf-8")
    read = load_results(tmp_path)
    page, text = html_of(read, run_dir), markdown_of(summarize(read), ())
    for shown in (page, text):
        assert "Weak against full supervision" in shown and "this run recorded no interval" in shown
        assert "Surfaces per" not in shown and "label by label" not in shown and "What the networks saw" not in shown
    print_report(read, Console(file=io.StringIO(), width=80))


def test_a_name_with_console_markup_is_printed_as_it_is(results: Results) -> None:
    stream = io.StringIO()
    print_report(results.model_copy(update={"name": "[red]x[/red]"}), Console(file=stream, width=100))
    assert "[red]x[/red]" in stream.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_a_dozen_strategies_of_eight_labels_fit_a_terminal_without_a_row_per_label(wide: Results, width: int) -> None:
    stream = io.StringIO()
    print_report(wide, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    # The table goes on where its labels have no room: none is left out.
    shown = "\n".join(lines)
    assert shown.count("Dice by prompt strategy") == 2
    headings = shown[shown.index("Dice by prompt strategy") :].split()
    assert all(word in headings for organ in ORGANS for word in organ.split())
    assert "a box counts as two" in " ".join(shown.split())
    assert "A box (2 clicks per object and slice) reaches Dice 0.875" in " ".join(shown.replace("│", " ").split())
    assert not [line for line in lines if line.startswith(" pseudolabel") and "pancreas" in line]
    assert len(lines) < 225


def test_a_narrow_terminal_and_a_long_strategy_do_not_break_the_report(wide: Results) -> None:
    cells = [
        one.model_copy(update={"prompt": f"{one.prompt}-of-a-name-that-nobody-would-type-twice"}) for one in wide.cells
    ]
    stream = io.StringIO()
    for width in (16, 40, 80):
        print_report(wide.model_copy(update={"cells": cells}), Console(file=stream, width=width))
    shown = stream.getvalue()
    assert shown[shown.rindex("twelve ways to prompt") :].count("Dice by prompt strategy") <= 3


def test_effort_is_in_every_format_and_the_long_table_is_folded(wide: Results, wide_dir: Path) -> None:
    page = html_of(wide, wide_dir)
    text = markdown_of(summarize(wide), figures(View(wide), 640))
    assert '<table id="prompts">' in page and 'id="chart-effort"' in page
    assert "### Dice by prompt strategy" in text and "(report-charts/effort.png)" in text
    for shown in (page, text):
        assert "A box (2 clicks per object and slice) reaches Dice 0.875" in shown
        assert "<summary>Dice per label and backend</summary>" in shown
        assert "★ 0.883" in shown


def test_a_terminal_shows_the_means_of_a_long_table_and_keeps_tasks_of_one_label(results: Results) -> None:
    cells = [
        one.model_copy(update={"prompt": f"{one.prompt}{n}"}) for n in range(4) for one in results.cells if one.dice
    ]
    table = summarize(results.model_copy(update={"cells": cells, "comparisons": []})).dice_in_short
    assert table.title == "Dice, mean of all labels"
    assert {row[4].text for row in table.rows} == {"spleen", "all labels"}
