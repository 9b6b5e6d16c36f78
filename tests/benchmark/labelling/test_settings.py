"""Options of `sambench label` become settings, or one sentence that names the option and what to give instead."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.errors import InputError
from benchmark.labelling.settings import parse_settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"model": "sam9"}, "--model: 'sam9' is no model; choose from litemedsam, "),
        ({"prompt": "circle"}, "--prompt: prompt strategy 'circle': there is no such one; known are box, "),
        ({"prompt": "points0"}, "--prompt: prompt strategy 'points0': n must be a whole number from 1 to 100"),
        (
            {"backend": "caffe"},
            "--backend: 'caffe' is no backend; choose from onnxruntime, openvino, pytorch, pytorch-compile",
        ),
        ({"backend": "pytorch", "precision": "int8"}, "--precision: 'int8' is no precision of this backend; choose"),
        ({"precision": "fp8"}, "--precision: 'fp8' is no precision of this backend; choose from fp16, fp32, int8"),
        ({"device": "tpu"}, "--device: 'tpu' is not a device; use cpu, cuda or cuda:N"),
        ({"per": "voxel"}, "--per: must be 'object' or 'component', not 'voxel'"),
        ({"masks": "two"}, "--masks: must be 'one' or 'three', not 'two'"),
        ({"min_pixels": 0}, "--min-pixels: must be 1 or more, not 0"),
        ({"seed": -1}, "--seed: must be 0 or more, not -1"),
        ({"threads": 0}, "--threads: must be 1 or more, not 0"),
        ({"prompts_per_call": 0}, "--prompts-per-call: must be 1 or more, not 0"),
        ({"channel": -1}, "--channel: must be 0 or more, not -1"),
    ],
)
def test_a_bad_option_is_one_sentence(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_settings(**given)
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


def test_an_unknown_backend_is_told_and_not_its_precision() -> None:
    with pytest.raises(InputError, match="--backend"):
        parse_settings(backend="caffe", precision="int4")


def test_the_same_labels_in_another_order_are_the_same_labelling() -> None:
    assert parse_settings(labels=["b", "a", "b"]) == parse_settings(labels=["a", "b"])
    assert parse_settings(labels=None).labels is None


def test_one_device_has_one_name() -> None:
    assert parse_settings(device="cuda:0").device == "cuda"


def test_bf16_labels_nothing_because_no_export_was_held_to_a_gate() -> None:
    with pytest.raises(InputError, match=r"--precision: bf16 has no export that a gate was held to.*; take fp32"):
        parse_settings(backend="openvino", precision="bf16")
