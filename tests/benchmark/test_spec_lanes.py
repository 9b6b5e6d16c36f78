"""What one lane gets instead of what all get: from the specification to the runner and the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import lanes
from benchmark.errors import InputError
from benchmark.lanes import LaneSettings, open_lanes
from benchmark.plan import make_group, plan_lanes, plan_tasks
from benchmark.preflight import require_options
from benchmark.results import LaneKey
from benchmark.sections import LaneSpec
from benchmark.spec import Spec, parse_spec
from benchmark.stages.pseudolabel import Pseudolabelling
from benchmark.stages.sam_input import SamInput
from benchmark.stages.segment import Segmenting
from exporters.sam import SAM_MODELS
from exporters.unet_config import UNetConfig
from runners.base import ModuleSource, Runner, Signature
from tests.benchmark.conftest import MakeTask

LEAST: dict[str, Any] = {"name": "r", "data": {"root": ".", "tasks": ["Task77_Test"]}}


def spec(**fields: Any) -> Spec:
    return parse_spec({**LEAST, **fields}, "test", Path())


def test_without_any_a_specification_is_what_it_was() -> None:
    assert spec().lanes == {}


def test_lanes_of_the_run_may_be_named_the_references_whatever_the_precisions() -> None:
    own = {"onnxruntime int8": {"threads": 1}, "pytorch": {"prompts_per_call": 1}}
    assert spec(precisions=["int8"], lanes=own).lanes["onnxruntime int8"].threads == 1


@pytest.mark.parametrize(
    "lane", ["openvino", "onnxruntime int8", "onnxruntime fp32 x", "onnxruntime bf16", "caffe", "pytorch int8"]
)
def test_a_lane_that_does_not_run_is_named(lane: str) -> None:
    with pytest.raises(InputError, match=f"lanes name '{lane}', which does not run"):
        spec(lanes={lane: {}})


def test_bad_settings_of_a_lane_are_told_with_its_name() -> None:
    with pytest.raises(InputError, match=r"lanes\.onnxruntime\.options: .*does not know option channels_last"):
        require_options(spec(lanes={"onnxruntime": {"options": {"channels_last": True}}}))
    with pytest.raises(InputError, match=r"lanes\.onnxruntime\.threads: 100000 is more than this machine's"):
        require_options(spec(lanes={"onnxruntime": {"threads": 100_000}}))
    with pytest.raises(InputError, match=r"lanes\.onnxruntime\.prompts_per_call: "):
        spec(lanes={"onnxruntime": {"prompts_per_call": 0}})


def test_records_are_kept_where_no_lane_has_its_own_and_measured_anew_where_one_has(make_task: MakeTask) -> None:
    folder = make_task()

    def key(**fields: Any) -> str:
        found = parse_spec(
            {**LEAST, "data": {"root": str(folder.parent), "tasks": [folder.name]}, **fields}, "t", Path()
        )
        (planned,) = plan_tasks(found)
        return make_group(found, "pseudolabel", planned, "m", ("box",), "cpu", plan_lanes(found), planned.cases, {}).key

    assert key() == key(lanes={})
    assert len({key(), key(lanes={"onnxruntime": {"threads": 1}}), key(lanes={"pytorch": {"threads": 1}})}) == 3


def test_a_lanes_own_threads_options_and_batch_reach_its_runner_and_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    from runners.dummy import DummyRunner

    given: dict[str, tuple[int | None, dict[str, Any]]] = {}

    def make(backend: str, source: Any, device: Any, threads: Any, options: Any) -> Runner:
        given[backend] = (threads, dict(options))
        return DummyRunner(source, device, threads)

    monkeypatch.setattr(lanes, "make_runner", make)
    source = ModuleSource("unet", Signature((), ()))
    keys = (LaneKey("pytorch"), LaneKey("onnxruntime"))
    own = {"onnxruntime": LaneSpec(threads=1, windows_per_batch=3, options={"graph": "basic"})}
    settings = LaneSettings(keys, "cpu", 2, {"onnxruntime": {"spinning": False, "graph": "all"}}, own)
    before = torch.get_num_threads()
    with open_lanes(settings, {"fp32": [source]}, SEGMENTING) as opened:
        batches = {name: lane.pipeline.network.batch for name, lane in opened.items()}  # type: ignore[attr-defined]
        asked = {name: lane.attestation["unet"].requested_threads for name, lane in opened.items()}
    assert torch.get_num_threads() == before
    assert given == {"pytorch": (2, {}), "onnxruntime": (1, {"spinning": False, "graph": "basic"})}
    assert batches == {"pytorch": 8, "onnxruntime": 3}
    assert asked == {"pytorch": 2, "onnxruntime": 1}


CONFIG = UNetConfig.model_validate({"labels": {1: "organ"}, "windows": {"patch": (16, 16)}})
SEGMENTING = Segmenting(CONFIG, CONFIG.windows, 8, "reference", (1,))


def test_a_pipeline_that_is_made_by_a_plain_function_has_no_batch_to_change() -> None:
    def plain(runners: Sequence[Runner]) -> Any:
        return object()

    with open_lanes(LaneSettings((), "cpu", 1), {}, plain) as opened:
        assert opened == {}


def test_prompts_in_a_call_are_the_lanes_own_or_everybodys() -> None:
    made = Pseudolabelling(SamInput.of(SAM_MODELS["litemedsam"]), 5)
    assert made.for_lane(LaneSpec()).prompts_per_call == 5
    assert made.for_lane(LaneSpec(prompts_per_call=2)).prompts_per_call == 2
    assert SEGMENTING.for_lane(LaneSpec()).batch == 8


def test_results_tell_each_lanes_number_of_windows(make_task: MakeTask) -> None:
    from dataclasses import replace

    folder = make_task()
    own = {"onnxruntime": {"windows_per_batch": 2}}
    found = parse_spec(
        {**LEAST, "data": {"root": str(folder.parent), "tasks": [folder.name]}, "lanes": own}, "t", Path()
    )
    (planned,) = plan_tasks(found)
    group = make_group(found, "segment", planned, "m", ("u",), "cpu", plan_lanes(found), planned.cases, {})
    assert group.windows_of(LaneKey("onnxruntime"), found) is None
    group = replace(group, sliding_window={"patch": [16, 16], "windows_per_batch": 8})
    assert group.windows_of(LaneKey("pytorch"), found) == {"patch": [16, 16], "windows_per_batch": 8}
    assert group.windows_of(LaneKey("onnxruntime"), found) == {"patch": [16, 16], "windows_per_batch": 2}
