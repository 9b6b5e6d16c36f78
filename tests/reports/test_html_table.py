"""A table's markup is slim, harmless and complete, and the packed parts unpack to what was packed."""

from __future__ import annotations

import base64
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.results import Results
from reports.html_table import FIRST_ROWS, MANY_ROWS, column_style, markup
from reports.raw_samples import KINDS, pack, series
from reports.table import Column, Table, Value, absent, keys
from tests.reports.test_formats import Page


def _table(*rows: tuple[Value, ...]) -> Table:
    return Table("t", "Title", (*keys("task", "model"), Column("p50 ms")), rows, "About.")


def test_a_column_tells_its_look_once_and_a_cell_only_what_sets_it_apart() -> None:
    shown = markup(
        _table(
            (Value("a"), Value("m"), Value("1,230", number=1234.56789)),
            (Value("a"), Value("n"), Value("2", tone="bad")),
        )
    )
    assert 'class="scroll k1 k2 n3"' in shown
    assert "<td data-n=1234.568>1,230" in shown and "<td class=bad>2" in shown
    # A repeated key is dimmed, and a line stands where the second key changes.
    assert "<tr class=s><th scope=row class=r>a<td>n" in shown
    style = column_style(3)
    assert ".n3 tr>:nth-child(3)" in style and ".n4 " not in style


def test_a_footnote_is_told_once_and_every_mark_leads_to_it() -> None:
    shown = markup(_table(*[(Value("a"), Value("m"), absent("too <few>"))] * 2))
    assert shown.count("<sup><a href=#t-1>1</a></sup>") == 2
    assert shown.count('<li id="t-1">too &lt;few&gt;') == 1 and "<few>" not in shown


@given(st.text(min_size=1, max_size=30))
def test_no_text_becomes_markup(text: str) -> None:
    page = Page(markup(_table((Value(text), Value("m"), Value("1", text)))))
    tags = {tag for tag, _, _ in page.attributes}
    assert tags <= {"div", "table", "th", "td", "tr", "a", "ol", "li"}


def test_a_very_long_table_begins_with_its_first_rows_and_packs_the_others() -> None:
    rows = [(Value(f"a{n}"), Value("m"), Value(str(n), number=n / 7)) for n in range(MANY_ROWS + 1)]
    shown = markup(_table(*rows))
    body, _, rest = shown.partition("</table>")
    assert body.count("<tr") == 1 + FIRST_ROWS and f"The first {FIRST_ROWS} of {MANY_ROWS + 1} rows" in rest
    packed = re.search(r"<script type=\"text/plain\">(.*?)</script>", rest)
    assert packed is not None
    unpacked = zlib.decompress(base64.b64decode(packed.group(1))).decode()
    assert re.findall(r"<th scope=row>(a\d+)<", unpacked) == [f"a{n}" for n in range(FIRST_ROWS, MANY_ROWS + 1)]
    assert "<script" not in markup(_table(*rows[:MANY_ROWS]))


def _unpack(text: str) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<f4").ravel()


def test_packed_samples_are_those_of_the_cells_kind_by_kind(results: Results) -> None:
    packed = pack(results.cells)
    values = _unpack(packed.text)
    expected = [value for kind in KINDS for cell in results.cells for value in series(cell).get(kind, [])]
    assert values == pytest.approx(expected, rel=1e-6)
    assert sum(count for row in packed.counts for count in row) == len(expected)
    invalid = next(row for row, cell in zip(packed.counts, results.cells, strict=True) if cell.status == "invalid")
    assert not any(invalid)


@pytest.mark.parametrize("room", [0, 2_000, 20_000])
def test_what_has_no_room_is_counted_as_left_out_and_the_rest_keeps_it(results: Results, room: int) -> None:
    packed, every = pack(results.cells, room), pack(results.cells)
    # zlib and base64 have some bytes of their own.
    assert len(packed.text) <= room + 40
    assert [[abs(count) for count in row] for row in packed.counts] == every.counts
    kept = sum(count for row in packed.counts for count in row if count > 0)
    assert len(_unpack(packed.text)) == kept and any(count < 0 for row in packed.counts for count in row)


def test_a_column_is_worded_where_its_text_says_more_than_its_number() -> None:
    plain, unit = Value("2.31×", number=2.3), Value("1.3 slices/s", number=1.3)
    table = Table("t", "T", tuple(map(Column, "abc")), ((plain, unit, Value("[1, 2]")), (absent("x"), unit, plain)))
    assert [table.worded(index) for index in range(3)] == [False, True, True]
