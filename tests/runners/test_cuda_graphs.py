"""CUDA graphs: which modules may have one, which call replays which, and nothing that is overwritten.

The calls run here on the CPU, where the provider captures nothing: fixed tensors, copies and shapes are the same.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch

from exporters.manifest import TensorSpec
from runners.base import ModuleSource, Signature
from runners.cuda_graphs import GRAPH_ENTRY, NO_GRAPH, GraphIds, GraphRuns, obstacle, output_shapes, run_options
from runners.device import Device
from runners.onnxruntime import OnnxRuntimeRunner
from tests.runners.conftest import feed


def signature(*outputs: tuple[int | str, ...]) -> Signature:
    inputs = [TensorSpec(name="points", dims=("P", "N", 2)), TensorSpec(name="size", dims=(2,))]
    return Signature.of(inputs, [TensorSpec(name=f"out{i}", dims=dims) for i, dims in enumerate(outputs)])


def test_a_module_whose_outputs_grow_with_its_inputs_may_have_graphs() -> None:
    assert obstacle(signature(("P", 4), (1, "N"))) is None
    shapes = {"points": (5, 3, 2), "size": (2,)}
    assert output_shapes(signature(("P", 4), ("N", "P", 7)), shapes) == {"out0": (5, 4), "out1": (3, 5, 7)}


def test_an_output_whose_size_comes_from_an_inputs_values_forbids_them() -> None:
    """SAM's decoder: its masks have the size that `orig_im_size` holds, and a graph would replay the first slice's."""
    told = obstacle(signature(("P", 4), ("P", 1, "H", "W")))
    assert told == "the sizes H, W of output out1 come from an input's values and not from its shape"


def test_every_kind_of_shapes_has_a_graph_of_its_own_until_there_are_too_many() -> None:
    ids = GraphIds(most=2)
    one, other, third = ({"a": (n,), "b": (2, n)} for n in (1, 2, 3))
    first = ids.of(one)
    assert ids.of(dict(reversed(one.items()))) == first, "the order of names does not matter"
    assert ids.of(other) not in (first, NO_GRAPH)
    assert (ids.of(third), ids.of(third), ids.without) == (NO_GRAPH, NO_GRAPH, 2)
    assert ids.of(one) == first
    assert min(first, ids.of(other)) > 0, "0 is ONNX Runtime's name of runs without one"


def test_a_run_names_its_graph() -> None:
    assert run_options(3).get_run_config_entry(GRAPH_ENTRY) == "3"
    assert run_options(NO_GRAPH).get_run_config_entry(GRAPH_ENTRY) == "-1"


@pytest.fixture
def session(source: ModuleSource) -> ort.InferenceSession:
    return ort.InferenceSession(str(source.onnx_path))


def tensors(**how: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in feed(**how).items()}


def plain(session: ort.InferenceSession, **how: int) -> np.ndarray:
    return session.run(["features"], feed(**how))[0]


def test_answers_held_by_somebody_are_not_overwritten_by_the_next_replay(
    source: ModuleSource, session: ort.InferenceSession
) -> None:
    runs = GraphRuns(session, source.signature)
    answers = [runs.run(tensors(seed=seed)) for seed in range(4)]
    for seed, answer in enumerate(answers):
        assert answer is not None
        np.testing.assert_allclose(answer["features"].numpy(), plain(session, seed=seed), atol=1e-5)


def test_every_shape_keeps_its_own_fixed_addresses(source: ModuleSource, session: ort.InferenceSession) -> None:
    runs = GraphRuns(session, source.signature)
    for rows in (12, 20, 12, 20, 12):
        answer = runs.run(tensors(rows=rows))
        assert answer is not None
        np.testing.assert_allclose(answer["features"].numpy(), plain(session, rows=rows), atol=1e-5)
    assert len(runs.ids) == len(runs._fixed) == 2
    before = {graph: fixed.inputs["image"].data_ptr() for graph, fixed in runs._fixed.items()}
    runs.run(tensors(rows=12, seed=3))
    assert before == {graph: fixed.inputs["image"].data_ptr() for graph, fixed in runs._fixed.items()}


def test_inputs_stay_the_callers(source: ModuleSource, session: ort.InferenceSession) -> None:
    runs = GraphRuns(session, source.signature)
    given = tensors(seed=1)
    runs.run(given)
    runs.run(tensors(seed=2))
    np.testing.assert_array_equal(given["image"].numpy(), feed(seed=1)["image"])


def test_a_call_beyond_the_last_graph_is_run_without_one(source: ModuleSource) -> None:
    with OnnxRuntimeRunner(source, Device("cpu"), 1) as runner:
        expected = runner.run(feed(rows=20))["features"].numpy().copy()
        runner._graphs = GraphRuns(runner._session, source.signature, most=1)
        runner.run(feed(rows=12))
        assert runner.set_ups == 1, "a call that captures is no warm one"
        np.testing.assert_array_equal(runner.run(feed(rows=20))["features"].numpy(), expected)
        assert runner.set_ups == 1
        notes = runner.attest().notes
    assert notes == ("1 calls without a CUDA graph: only 1 kinds of shapes have one",)


def test_a_module_that_cannot_be_captured_runs_without_and_says_why(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bool] = []
    real = ort.InferenceSession(str(source.onnx_path))
    refusal = "This session cannot use the graph capture feature as requested by the user"

    def opening(self: OnnxRuntimeRunner, options: ort.SessionOptions, graphs: bool = False) -> ort.InferenceSession:
        opened.append(graphs)
        if graphs:
            raise ValueError(refusal)
        return real

    monkeypatch.setattr(OnnxRuntimeRunner, "_require_driver", lambda self: None)
    monkeypatch.setattr(OnnxRuntimeRunner, "_prepare_device", lambda self: None)
    monkeypatch.setattr(OnnxRuntimeRunner, "_refuse_fallback", lambda self: None)
    monkeypatch.setattr(OnnxRuntimeRunner, "_open", opening)
    with OnnxRuntimeRunner(source, Device("cuda"), 1, {"cuda_graph": True}) as runner:
        assert opened == [True, False] and runner._graphs is None
        told = runner._graph_capture({})
    assert told == f"not applicable, because ONNX Runtime cannot capture it ({refusal})"


def test_a_capture_that_fails_in_the_first_call_is_given_up_for_good(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ort.InferenceSession(str(source.onnx_path))
    with OnnxRuntimeRunner(source, Device("cpu"), 1) as runner:
        expected = runner.run(feed())["features"].numpy().copy()

        class Failing:
            def run_with_iobinding(self, *_: object) -> None:
                raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")

            io_binding = real.io_binding

        runner._graphs = GraphRuns(Failing(), source.signature)
        np.testing.assert_array_equal(runner.run(feed())["features"].numpy(), expected)
        assert runner._graphs is None
        assert "not applicable, because ONNX Runtime cannot capture it (CUDA failure 900" in str(
            runner._graph_capture({"enable_cuda_graph": "0"})
        )
