"""The pages that say what stands in results.json and in a specification keep up with both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from benchmark import measured, results
from benchmark.sections import MeasureSpec, ServerSpec
from benchmark.spec import Spec

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"```yaml\n(.*?)```", (DOCS / "spec.md").read_text(encoding="utf-8"), re.DOTALL)
# The page names these in words.
IN_WORDS = {"cpu", "memory_gib", "gpu", "os", "python", "nodes_per_provider"}
PARTS: tuple[type[BaseModel], ...] = (
    results.Results, results.Cell, results.Comparison, results.SupervisionEffect, results.Effort, results.CaseSurface,
    measured.Latency, measured.Throughput, measured.WarmUp, measured.Memory, measured.Energy, measured.ModuleCost,
    measured.Server, measured.ServerTrial, measured.Attested, measured.WorkerFacts, measured.Peak,
    measured.Environment, measured.Seconds,
)  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_field_of_the_results_is_explained(part: type[BaseModel]) -> None:
    page = set(re.findall(r"\w+", (DOCS / "results.md").read_text(encoding="utf-8")))
    assert set(part.model_fields) - IN_WORDS <= page


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_specification_in_the_docs_is_valid(block: str) -> None:
    Spec.model_validate(yaml.safe_load(block))


def test_the_defaults_of_measuring_in_the_docs_are_those_of_the_code() -> None:
    shown = yaml.safe_load(BLOCKS[0])
    assert set(shown) == set(Spec.model_fields)
    assert shown["measure"] == MeasureSpec().model_dump(mode="json")
    server = yaml.safe_load(BLOCKS[1])["measure"]["server"]
    assert set(server) == set(ServerSpec.model_fields)
    assert server["budget_s"] == ServerSpec(bound_ms=1).budget_s
