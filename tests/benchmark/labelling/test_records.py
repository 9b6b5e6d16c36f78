"""A case's record: read back as written, and anything else is no record."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.labelling.records import LabelledCase, load_case, save_case
from benchmark.results import Effort

RECORD = LabelledCase(
    key="k", case="c", images=("c_0000.nii.gz", "c_0001.nii.gz"), label="c.nii.gz", label_sha256="5a" * 32, slices=3,
    effort=Effort(clicks=0, boxes=1.5, objects=3), dice={"organ": 0.1 + 0.2, "tumour": None},
)  # fmt: skip


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    save_case(RECORD, tmp_path / "cases" / "c.json")
    assert load_case(tmp_path / "cases" / "c.json") == RECORD
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["c.json"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"key": "k"}'])
def test_what_is_no_whole_record_means_that_the_case_is_done_again(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.json").write_bytes(data)
    assert load_case(tmp_path / "c.json") is None
    assert load_case(tmp_path / "none.json") is None
    assert load_case(tmp_path) is None


def test_a_record_of_another_version_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(RECORD.model_dump_json()[:-1] + ', "new_field": 1}', encoding="utf-8")
    assert load_case(tmp_path / "c.json") is None
