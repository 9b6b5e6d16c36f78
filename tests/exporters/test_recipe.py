"""An export that other code wrote must not be taken for today's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exporters import recipe


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "exporters"
    shutil.copytree(Path(recipe.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(recipe, "__file__", str(folder / "recipe.py"))

    def digest() -> str:
        return recipe.exporter_digest.__wrapped__()

    return folder, digest


def test_any_change_of_the_exporters_changes_it_and_nothing_else_does(digest_of) -> None:
    folder, digest = digest_of
    before = digest()
    assert digest() == before == recipe.exporter_digest()
    (folder / "notes.txt").write_text("no code")
    assert digest() == before
    (folder / "rewrite.py").write_text((folder / "rewrite.py").read_text() + "\n# another rewrite\n")
    changed = digest()
    assert changed != before
    (folder / "new_rewrite.py").write_text("")
    assert digest() not in (before, changed)


def test_an_export_for_vnni_is_not_taken_where_there_is_none(digest_of, monkeypatch: pytest.MonkeyPatch) -> None:
    _, digest = digest_of
    found = []
    for vnni in (True, False):
        monkeypatch.setattr(recipe, "has_vnni", lambda vnni=vnni: vnni)
        found.append(digest())
    assert found[0] != found[1]
