"""Candidates: every combination once, nobody's defaults left out, and the promising ones first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from benchmark.results import LaneKey
from benchmark.sections import LaneSpec
from benchmark.tuning.candidates import (
    OPTIONS,
    REFERENCE,
    Candidate,
    Menu,
    asked_in_vain,
    expected_ms,
    lanes_of,
    next_up,
    options_on,
)
from runners.base import ModuleSource, Signature
from runners.device import Device
from runners.registry import BACKENDS, import_backend, make_runner


def menu(lanes: str = "pytorch onnxruntime", **changes: Any) -> Menu:
    given: dict[str, Any] = {
        "lanes": tuple(LaneKey(*lane.split("/")) for lane in lanes.split()),
        "threads": (1, 2),
        "batches": (1, 4),
        "default_threads": 2,
        "default_batch": lambda backend: 8,
        "most": 100,
        "options": {},
    }
    return Menu(**{**given, **changes})


def names(made: Menu) -> list[str]:
    return [candidate.name for candidate in made.candidates()]


def test_the_product_has_every_combination_once_and_defaults_come_first() -> None:
    found = names(menu("pytorch", options={"pytorch": {"channels_last": (True,)}}))
    assert found[0] == "pytorch"
    assert sorted(found) == sorted(
        f"pytorch{threads}{batch}{option}"
        for threads in ("", ", threads 1")
        for batch in ("", ", batch 1", ", batch 4")
        for option in ("", ", channels_last true")
    )


def test_every_lanes_plain_default_is_there_even_where_other_threads_and_batches_are_asked_for() -> None:
    found = names(menu("onnxruntime onnxruntime/int8 openvino", threads=(1,), batches=(2,)))
    assert found[:4] == ["pytorch", "onnxruntime", "onnxruntime int8", "openvino"], "the reference is always there"
    assert "openvino, threads 1, batch 2" in found


def test_batches_larger_than_the_work_are_not_tried_twice() -> None:
    found = names(menu("pytorch", threads=(2,), batches=(1, 4, 16, 32), most=5))
    assert found == ["pytorch", "pytorch, batch 1", "pytorch, batch 4"], "16, 32 and the default 8 all hold all five"
    found = names(menu("pytorch", threads=(2,), batches=(1, 4, 16), most=5, default_batch=lambda backend: 2))
    assert found == ["pytorch", "pytorch, batch 1", "pytorch, batch 4", "pytorch, batch 5"]


def test_lanes_are_the_precisions_that_each_backend_knows_fp32_first() -> None:
    found = [str(lane) for lane in lanes_of(["pytorch", "onnxruntime"], None)]
    assert found == [
        "pytorch", "onnxruntime", "pytorch bf16", "onnxruntime fp16", "onnxruntime int8", "onnxruntime int8-static",
    ]  # fmt: skip
    assert [str(lane) for lane in lanes_of(["openvino", "onnxruntime"], ["int8"])] == ["onnxruntime int8"]


IN_VAIN: list[tuple[list[str] | None, list[str] | None, list[str], str, list[str]]] = [
    (["tensorrt"], None, ["tensorrt"], "cpu", ["tensorrt", "tensorrt fp16"]),
    (["pytorch"], ["fp16"], ["pytorch"], "cpu", ["pytorch fp16"]),
    (["pytorch", "onnxruntime"], ["fp32", "int8"], ["pytorch", "onnxruntime"], "cpu", ["pytorch int8"]),
    (["pytorch"], None, ["pytorch"], "cpu", []),
    (None, None, ["pytorch", "tensorrt"], "cpu", []),
    (None, ["fp16"], ["pytorch", "onnxruntime", "openvino", "tensorrt"], "cpu", ["pytorch fp16"]),
    (["pytorch", "tensorrt"], ["fp16"], ["pytorch", "tensorrt"], "cuda", []),
]


@pytest.mark.parametrize(("backends", "precisions", "tried", "kind", "lanes"), IN_VAIN)
def test_what_was_asked_for_by_name_is_never_dropped_and_a_default_may_be(
    backends: list[str] | None, precisions: list[str] | None, tried: list[str], kind: str, lanes: list[str]
) -> None:
    assert [str(lane) for lane in asked_in_vain(backends, precisions, tried, kind)] == lanes


def test_a_gpu_has_lanes_that_a_cpu_has_not() -> None:
    assert lanes_of(["tensorrt"], None) == []
    found = [str(lane) for lane in lanes_of(["pytorch", "tensorrt"], None, "cuda")]
    assert found == ["pytorch", "tensorrt", "pytorch bf16", "pytorch fp16", "tensorrt fp16"]


def test_a_candidate_is_what_its_lane_gets_in_a_specification() -> None:
    candidate = Candidate(backend="onnxruntime", precision="int8", threads=1, batch=4, options={"graph": "basic"})
    assert candidate.own("prompts_per_call") == LaneSpec(threads=1, prompts_per_call=4, options={"graph": "basic"})
    assert candidate.own("windows_per_batch").windows_per_batch == 4
    assert candidate.name == "onnxruntime int8, threads 1, batch 4, graph basic"
    assert not candidate.plain and REFERENCE.plain and not Candidate(backend="openvino", precision="bf16").plain


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name in OPTIONS])
def test_every_option_is_one_that_its_backend_knows(backend: str) -> None:
    assert set(OPTIONS[backend]) <= import_backend(backend).option_names


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_every_value_that_is_varied_makes_sense_on_its_kind_of_device(kind: str) -> None:
    nothing = ModuleSource(name="module", signature=Signature((), ()))
    for backend, axes in options_on(kind).items():
        for name, values in axes.items():
            for value in values:
                made = make_runner(backend, nothing, Device(kind), None, {name: value})
                assert made.inapplicable(Device(kind), "fp32", {name: value}) is None
    assert "cuda_graph" not in options_on("cpu")["onnxruntime"]
    assert all("tf32" not in axes for axes in options_on(kind).values())


def in_order(made: Menu, ms: Mapping[str, float | None]) -> list[str]:
    """The order in which candidates are tried that take so long; those without a time take 100."""
    waiting, tried, order = made.candidates(), {}, []
    while waiting:
        candidate = next_up(waiting, tried)
        waiting.remove(candidate)
        tried[candidate.name] = ms.get(candidate.name, 100.0)
        order.append(candidate.name)
    return order


def test_all_defaults_are_tried_first_then_the_fastest_lanes_changes() -> None:
    order = in_order(menu("pytorch onnxruntime openvino"), {"pytorch": 300.0, "onnxruntime": 80.0, "openvino": 90.0})
    assert order[:3] == ["pytorch", "onnxruntime", "openvino"]
    assert set(order[3:6]) == {"onnxruntime, threads 1", "onnxruntime, batch 1", "onnxruntime, batch 4"}
    assert all(name.startswith("pytorch") for name in order[-5:]), "the slowest lane's come last"


def test_changes_that_helped_alone_are_tried_together_before_those_that_hurt() -> None:
    made = menu("pytorch", threads=(1, 2), batches=(1, 4))
    order = in_order(made, {"pytorch": 100.0, "pytorch, threads 1": 190.0, "pytorch, batch 1": 70.0})
    assert order.index("pytorch, batch 4") < order.index("pytorch, threads 1, batch 1")
    options = {"pytorch": {"channels_last": (True,)}}
    made = menu("pytorch", batches=(1,), options=options)
    alone = {"pytorch": 100.0, "pytorch, threads 1": 190.0, "pytorch, batch 1": 70.0, "pytorch, channels_last true": 80}
    order = in_order(made, alone)
    assert order[3] == "pytorch, batch 1, channels_last true", "before what was not tried and promises less"


def test_what_a_candidate_should_take_is_its_default_times_the_known_changes() -> None:
    both = Candidate(backend="onnxruntime", threads=1, batch=4)
    tried = {"onnxruntime": 100.0, "onnxruntime, threads 1": 150.0, "onnxruntime, batch 4": 80.0}
    assert expected_ms(both, tried) == pytest.approx(100 * 1.5 * 0.8)
    assert expected_ms(both, {"onnxruntime": 100.0, "onnxruntime, batch 4": 80.0}) == pytest.approx(100)


def test_relatives_of_what_failed_come_last_but_are_tried() -> None:
    made = menu("pytorch onnxruntime", threads=(2,), batches=(1, 4))
    order = in_order(made, {"onnxruntime": None})
    assert order[-2:] == ["onnxruntime, batch 1", "onnxruntime, batch 4"]
    tried = {"onnxruntime": 100.0, "onnxruntime, batch 4": None}
    assert expected_ms(Candidate(backend="onnxruntime", threads=1, batch=4), tried) == float("inf")
