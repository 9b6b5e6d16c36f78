"""The specification's JSON schema: that of this version, where every example points, and true to what is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.spec import load_spec, spec_schema

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "docs" / "spec.schema.json"
FOLDERS = (REPOSITORY / "docs" / "examples", REPOSITORY / "benchmark" / "specs")
EXAMPLES = sorted(path for folder in FOLDERS for path in folder.glob("*.yaml"))


def test_the_committed_schema_is_what_the_command_prints(tmp_path: Path) -> None:
    """Otherwise: `sambench schema spec --out docs/spec.schema.json`."""
    printed = CliRunner().invoke(app, ["schema", "spec"])
    written = CliRunner().invoke(app, ["schema", "spec", "--out", str(tmp_path / "new" / "schema.json")])
    assert printed.exit_code == written.exit_code == 0
    assert printed.stdout == (tmp_path / "new" / "schema.json").read_text(encoding="utf-8") == spec_schema()
    assert printed.stdout == COMMITTED.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_points_to_the_schema_and_keeps_to_it(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    before, _, place = text.splitlines()[0].partition("=")
    assert before == "# yaml-language-server: $schema"
    assert (example.parent / place).resolve() == COMMITTED
    jsonschema.validate(yaml.safe_load(text), json.loads(spec_schema()))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("backend", ["pytorch"], id="misspelt"),
        pytest.param("backends", ["onnx"], id="no backend"),
        pytest.param("measure", {"repeats": 0}, id="too few"),
        pytest.param("precisions", [], id="empty"),
    ],
)
def test_what_a_run_refuses_the_schema_refuses(field: str, value: Any, tmp_path: Path) -> None:
    wrong = {"name": "a", "data": {"root": ".", "tasks": ["Task09_Spleen"]}, field: value}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(spec_schema()))
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(wrong), encoding="utf-8")
    with pytest.raises(InputError):
        load_spec(tmp_path / "spec.yaml")


def test_every_field_is_described() -> None:
    """An editor shows it beside the field."""
    schema = json.loads(spec_schema())
    sections = {"Spec": schema, **schema["$defs"]}
    bare = [
        f"{section}.{name}"
        for section, content in sections.items()
        for name, field in content["properties"].items()
        if "description" not in field
    ]
    assert bare == []
