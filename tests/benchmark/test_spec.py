from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import InputError
from benchmark.sections import MeasureSpec, SamSpec
from benchmark.spec import Spec, load_spec, parse_spec

MINIMAL = """
name: spleen
data: {root: ../shared/msd-real, tasks: [Task09_Spleen]}
sam: {models: [litemedsam], prompts: [box, point]}
unet: null
backends: [pytorch, onnxruntime]
devices: [cpu]
precisions: [fp32]
"""


def content(**changes: Any) -> dict[str, Any]:
    return {"name": "run", "data": {"root": "data", "tasks": ["Task09_Spleen"]}, **changes}


def data(**changes: Any) -> dict[str, Any]:
    return content(data={"root": "data", "tasks": ["Task09_Spleen"], **changes})


def parse(values: dict[str, Any]) -> Spec:
    return parse_spec(values, "s.yaml", Path("/base"))


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        parse(values)
    message = str(caught.value)
    assert message.startswith("s.yaml: ")
    assert "\n" not in message
    return message


def test_the_minimal_specification_of_the_design_is_accepted(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, MINIMAL))
    assert spec.name == "spleen"
    assert spec.data.tasks == ("Task09_Spleen",)
    assert spec.sam == SamSpec(models=("litemedsam",), prompts=("box", "point"))
    assert spec.unet is None
    assert (spec.backends, spec.devices, spec.precisions) == (("pytorch", "onnxruntime"), ("cpu",), ("fp32",))
    assert spec.measure == MeasureSpec()
    assert (spec.data.cases, spec.data.slices, spec.data.seed) == (None, None, 0)


def test_name_and_data_are_enough() -> None:
    spec = parse(content())
    assert spec.sam == SamSpec(models=("litemedsam",), prompts=("box",))
    assert spec.unet is None
    assert spec.backends == ("pytorch", "onnxruntime")


@pytest.mark.parametrize(
    ("values", "field", "what"),
    [
        (content(bakends=["pytorch"]), "bakends", "not a field"),
        (data(task=["x"]), "data.task", "not a field"),
        (content(measure={"repeat": 3}), "measure.repeat", "not a field"),
        (content(unet={"epoch": 3}), "unet.epoch", "not a field"),
        (content(backends=["pytorch", "tensorflow"]), "backends", "'tensorflow' is no backend; choose from"),
        (content(sam={"prompts": ["circle"]}), "sam.prompts", "prompt strategy 'circle': there is no such one; known"),
        (content(sam={"prompts": ["points0"]}), "sam.prompts", "n must be a whole number from 1 to 100"),
        (content(sam={"per": "voxel"}), "sam.per", "'object' or 'component'"),
        (content(sam={"masks": "all"}), "sam.masks", "'one' or 'three'"),
        (content(sam={"prompts_per_call": 0}), "sam.prompts_per_call", "greater"),
        (content(devices=["gpu"]), "devices", "'gpu' is not a device"),
        (content(devices=["cuda:x"]), "devices", "'cuda:x' is not a device"),
        (
            content(precisions=["int3"]),
            "precisions",
            "'int3' is no precision; choose from bf16, fp16, fp32, int8",
        ),
        (content(backends=[]), "backends", "at least 1"),
        (content(devices=[]), "devices", "at least 1"),
        (content(precisions=[]), "precisions", "at least 1"),
        (content(precisions=["int8", "int8"]), "precisions", "once"),
        (
            content(precisions=["fp32", "int8"], backends=["pytorch"]),
            "precisions",
            "pytorch cannot run int8; add onnxruntime",
        ),
        (content(sam={"checkpoints": {"other": "w.pt"}}), "sam", "other, which is not among sam.models"),
        (content(sam={"random_weights": True}), "sam.random_weights", "integer"),
        (content(sam={"random_weights": -1}), "sam.random_weights", "greater"),
        (
            content(sam={"random_weights": 0}, unet={}),
            "specification",
            "unet.labels: box would be pseudo labels of random weights, and a UNet learns nothing from them; "
            "set unet.labels: [reference]",
        ),
        (
            content(sam={"random_weights": 0}, unet={"labels": ["reference", "box"]}),
            "specification",
            "unet.labels: box",
        ),
        (content(backends=["pytorch", "pytorch"]), "backends", "once"),
        (content(devices=["cpu", "cpu"]), "devices", "once"),
        (content(devices=["cuda", "cuda:0"]), "devices", "once"),
        (content(sam={"prompts": ["box", "box"]}), "sam.prompts", "once"),
        (content(sam={"prompts": []}), "sam.prompts", "at least 1"),
        (content(sam={"models": ["a", "a"]}), "sam.models", "once"),
        (content(sam={"models": []}), "sam.models", "at least 1"),
        (content(sam={"min_pixels": 0}), "sam.min_pixels", "greater"),
        (data(tasks=[]), "data.tasks", "at least 1"),
        (data(tasks=["a", "a"]), "data.tasks", "once"),
        (data(tasks=["../x"]), "data.tasks", "'../x' is not the name of a folder"),
        (data(tasks=[".."]), "data.tasks", "not the name of a folder"),
        (data(tasks=["."]), "data.tasks", "not the name of a folder"),
        (data(tasks=[""]), "data.tasks", "not the name of a folder"),
        (data(tasks=["/etc"]), "data.tasks", "not the name of a folder"),
        (data(tasks=["a\\b"]), "data.tasks", "not the name of a folder"),
        (data(cases=0), "data.cases", "greater"),
        (data(slices=0), "data.slices", "greater"),
        (data(settings={"Task01": {"channel": 0}}), "data", "Task01, which is not among data.tasks"),
        (
            data(settings={"Task09_Spleen": {"nsd_tolerance_mm": 0}}),
            "data.settings.Task09_Spleen.nsd_tolerance_mm",
            "greater",
        ),
        (data(settings={"Task09_Spleen": {"channel": -1}}), "data.settings.Task09_Spleen.channel", "greater"),
        (data(root="~no-such-user-here/x"), "data.root", "write the whole path"),
        (content(name="../x"), "name", "pattern"),
        (content(name=7), "name", "string"),
        (content(measure={"repeats": 0}), "measure.repeats", "greater"),
        (content(measure={"threads": 0}), "measure.threads", "greater"),
        (content(unet={"labels": ["point"]}), "specification", "unet.labels names 'point'; choose from sam.prompts (b"),
        (content(sam=None, unet={"labels": ["box"]}), "specification", "sam.prompts (none) and 'reference'"),
        (content(unet={"labels": ["box", "box"]}), "unet.labels", "once"),
        (content(unet={"labels": []}), "unet.labels", "at least 1"),
        (content(unet={"checkpoints": ["a/u.pt", "b/u.pt"]}), "unet.checkpoints", "once"),
        (content(unet={"patch": [100, 128]}), "unet", "not a multiple of 8"),
        (content(unet={"channels": [8, 16]}), "unet", "channels must have one entry more than strides"),
        (content(unet={"strides": [0, 2, 2]}), "unet.strides.0", "greater"),
        (content(unet={"patch": [8, 8]}), "unet", "shrinks to one voxel"),
        (content(unet={"test_share": 1.0}), "unet.test_share", "less"),
        (content(unet={"device": "gpu"}), "unet.device", "'gpu' is not a device"),
        (content(unet={"weak_vs_full": True}, sam=None), "specification", "pseudo labels, and sam is null"),
        (
            content(unet={"weak_vs_full": True, "labels": ["reference"]}),
            "specification",
            "unet.weak_vs_full: unet.labels is [reference]; name 'reference' and one of sam.prompts (box)",
        ),
        (content(unet={"weak_vs_full": True, "labels": ["box"]}), "specification", "unet.labels is [box]"),
        (
            content(unet={"weak_vs_full": True, "checkpoints": ["u.pt"]}),
            "specification",
            "unet.weak_vs_full: with unet.checkpoints nothing is trained",
        ),
        (
            content(data={"root": "r", "tasks": ["T"], "slices": 3}, unet={"patch": [16, 16, 16]}),
            "specification",
            "data.slices: a 3-D UNet learns from whole volumes",
        ),
        (content(sam=None, unet=None), "specification", "sam and unet are both null"),
        ({"name": "run"}, "data", "required"),
        ({"data": {"root": "x", "tasks": ["a"]}}, "name", "required"),
        (content(data=5), "data", "dictionary"),
        ({**content(), 1: 2}, "1", "string"),
        ({**content(), "line\nend": 2}, "line end", "not a field"),
    ],
)
def test_a_refused_value_is_named_with_its_field(values: dict[str, Any], field: str, what: str) -> None:
    message = refusal(values)
    assert f"s.yaml: {field}: " in message
    assert what in message


def test_many_mistakes_are_told_in_one_line_without_a_flood() -> None:
    message = refusal(content(a=1, b=2, c=3, d=4, e=5))
    assert [f"{field}: is not a field" in message for field in "abcde"] == [True, True, True, False, False]
    assert message.endswith("; and 2 more")


def test_the_device_is_written_in_one_way() -> None:
    assert parse(content(devices=["cuda:0", "cpu", "cuda:1"])).devices == ("cuda", "cpu", "cuda:1")


def test_a_unet_learns_from_the_first_strategy_and_the_reference_labels_by_default() -> None:
    prompts = {"prompts": ["point", "box"]}
    assert parse(content(sam=prompts, unet={})).training_labels == ("point", "reference")
    assert parse(content(sam=None, unet={})).training_labels == ("reference",)
    assert parse(content(sam=prompts, unet={"labels": ["box"]})).training_labels == ("box",)
    assert parse(content(sam=prompts)).training_labels == ()


def test_weak_against_full_supervision_needs_no_labels_named() -> None:
    both = parse(content(sam={"prompts": ["point", "box"]}, unet={"weak_vs_full": True}))
    assert both.training_labels == ("point", "reference")


def test_a_unet_may_learn_beside_random_weights_if_it_does_not_learn_from_them() -> None:
    assert parse(content(sam={"random_weights": 0}, unet={"labels": ["reference"]})).training_labels == ("reference",)
    # The first model's labels are learned from, and its weights were brought.
    sam = {"models": ["a", "b"], "checkpoints": {"a": "w.pt"}, "random_weights": 3}
    found = parse(content(sam=sam, unet={}))
    assert found.training_labels == ("box", "reference")
    assert found.sam is not None
    assert (found.sam.seed("a"), found.sam.seed("b")) == (None, 3)
    assert "random weights" in refusal(content(sam={**sam, "models": ["b", "a"]}, unet={}))


def test_with_checkpoints_nothing_is_trained() -> None:
    spec = parse(content(unet={"checkpoints": ["a.pt"], "labels": ["point"]}))
    assert spec.training_labels == ()


def test_relative_paths_start_at_the_folder_of_the_specification(tmp_path: Path) -> None:
    folder = tmp_path / "specs"
    folder.mkdir()
    text = "name: x\ndata: {root: ../volumes, tasks: [T]}\nunet: {checkpoints: [nets/u.pt, /abs/v.pt]}\n"
    text += "sam: {models: [a, b], checkpoints: {b: ../sam_b.pth}}\n"
    spec = load_spec(write(folder, text))
    assert spec.data.root == tmp_path / "volumes"
    assert spec.unet is not None
    assert spec.unet.checkpoints == (folder / "nets" / "u.pt", Path("/abs/v.pt"))
    assert spec.sam is not None
    assert spec.sam.checkpoints == {"b": tmp_path / "sam_b.pth"}


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(data(root="~/msd")).data.root == tmp_path / "msd"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name: [", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("\tname: x", "is not YAML"),
        ("name: 2024-13-45", "is not YAML"),  # PyYAML raises a bare ValueError for dates and numbers that cannot be
        ("name: 0b_", "is not YAML"),
        ("{[1]: 2}", "is not YAML"),
        ("!!python/object:os.system x", "is not YAML"),
        ("", "holds no specification"),
        ("# a comment", "holds no specification"),
        ("- name", "holds no specification"),
        ("name", "holds no specification"),
    ],
)
def test_a_file_that_is_no_specification_is_refused_in_one_line(tmp_path: Path, text: str, what: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xff\xfe\x80name")
    with pytest.raises(InputError, match="is not YAML"):
        load_spec(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(No such file"):
        load_spec(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory"):
        load_spec(tmp_path)


def test_a_mistake_in_a_field_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "name: x\ndata: {root: d, tasks: []}\n")
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}: data.tasks: ")


def test_overrides_replace_add_and_create_sections(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    spec = load_spec(
        path,
        [
            "name=other",
            "data.cases=2",
            "measure.repeats=3",
            "unet.epochs=1",  # the file has `unet: null`
            "backends=[pytorch]",
            "data.settings.Task09_Spleen.window=[40, 400]",
            "measure.pause_ms=1e-3",
        ],
    )
    assert (spec.name, spec.data.cases, spec.measure.repeats) == ("other", 2, 3)
    assert spec.unet is not None and spec.unet.epochs == 1
    assert spec.backends == ("pytorch",)
    assert spec.data.settings["Task09_Spleen"].window == (40.0, 400.0)
    assert spec.measure.pause_ms == 1e-3
    assert spec.sam == SamSpec(prompts=("box", "point"))


def test_the_last_override_counts_and_null_takes_a_section_away(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, MINIMAL), ["unet.epochs=2", "unet.epochs=5", "sam=null"])
    assert spec.unet is not None and spec.unet.epochs == 5
    assert spec.sam is None


def test_an_override_may_hold_an_equals_sign(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path, MINIMAL), ["data.root=/a=b"]).data.root == Path("/a=b")


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("measure.repeats", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("", "write it as key=value"),
        ("measure.repeats=[", "is not YAML"),
        ("name=2024-13-45", "is not YAML"),
        ("name.first=x", "name is not a section"),
        ("backends.0=pytorch", "backends is not a section"),
        ("measure.repeats.x=1", "repeats is not a section"),
    ],
)
def test_a_bad_override_is_quoted(tmp_path: Path, override: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        load_spec(write(tmp_path, MINIMAL + "measure: {repeats: 2}\n"), [override])
    assert str(caught.value).startswith(f"--set {override}: ")
    assert what in str(caught.value)


def test_an_override_of_an_unknown_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"measure\.repeat: is not a field"):
        load_spec(write(tmp_path, MINIMAL), ["measure.repeat=2"])


def test_what_a_run_folder_keeps_of_a_specification_is_read_back_the_same() -> None:
    sam = {"models": ["a", "b"], "checkpoints": {"a": "w.pt"}, "random_weights": 0}
    spec = parse(content(sam=sam, unet={"labels": ["reference"]}, precisions=["int8"], measure={"threads": 2}))
    text = yaml.safe_dump(spec.model_dump(mode="json"))
    assert parse_spec(yaml.safe_load(text), "s.yaml", Path("/elsewhere")) == spec


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(Spec.model_fields)) | st.text(max_size=6), values, max_size=4))
def test_whatever_a_file_holds_the_answer_is_a_specification_or_one_line(found: dict[str, Any]) -> None:
    try:
        parse_spec({**content(), **found}, "s.yaml", Path("/base"))
    except InputError as error:
        assert len(str(error).splitlines()) == 1


@given(st.text(max_size=40))
def test_no_override_text_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.getbasetemp() / "minimal.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    try:
        load_spec(path, [f"sam.models={value}"])
    except InputError as error:
        assert "sam.models" in str(error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("learning_rate", 1e300),
        ("patch", [1_000_000, 1_000_000]),
        ("spacing", [float("nan"), 1, 1]),
        ("spacing", [0.001, 0.001, 0.001]),
        ("spacing", [1, 1, float("inf")]),
    ],
)
def test_sizes_and_rates_that_no_machine_can_work_with_are_refused(field: str, value: object) -> None:
    unet = {"patch": [16, 16, 16], field: value}
    with pytest.raises(InputError, match=field):
        parse_spec(content(unet=unet), "spec.yaml", Path())


def test_a_seed_that_numpy_and_pytorch_do_not_take_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.seed"):
        parse_spec(content(data={"root": "x", "tasks": ["T"], "seed": 2**32}), "spec.yaml", Path())


SERVER = {"scenarios": ["single-stream", "server"], "server": {"bound_ms": 40}}


@pytest.mark.parametrize(
    ("measure", "field"),
    [
        ({"margin": 0}, "measure.margin"),
        ({"margin": 0.6}, "measure.margin"),
        ({"block_ms": -1}, "measure.block_ms"),
        ({"affinity": []}, "measure.affinity"),
        ({"limit_s": 0}, "measure.limit_s"),
        ({"warmup_limit_s": -1}, "measure.warmup_limit_s"),
        ({"offline_s": 0}, "measure.offline_s"),
        ({"budget_s": float("inf")}, "measure.budget_s"),
        ({"scenarios": []}, "measure.scenarios"),
        ({"scenarios": ["offline"]}, "single-stream is what verdicts come from"),
        ({"scenarios": ["single-stream", "single-stream"]}, "each may stand once"),
        ({"scenarios": ["single-stream", "multi-stream"]}, "measure.scenarios"),
        ({"scenarios": ["single-stream", "server"]}, "go together; give both or none"),
        ({"server": {"bound_ms": 40}}, "go together; give both or none"),
        ({**SERVER, "server": {"bound_ms": 0}}, "measure.server.bound_ms"),
        ({**SERVER, "server": {"bound_ms": 40, "percentile": 95}}, "measure.server.percentile"),
        ({"variables": {"openvino": {"A": "1"}}}, "measure.variables name openvino, which is not among backends"),
    ],
)
def test_settings_of_measuring_that_make_no_sense_are_refused(measure: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as told:
        parse(content(measure=measure))
    assert field in str(told.value)


def test_settings_of_measuring_are_read() -> None:
    given: dict[str, Any] = {
        "margin": 0.05, "block_ms": 0, "affinity": [0, 1], "limit_s": 30,
        "variables": {"pytorch": {"OMP_WAIT_POLICY": "PASSIVE"}}, **SERVER,
    }  # fmt: skip
    found = parse(content(measure=given)).measure
    assert (found.margin, found.block_ms, found.affinity, found.limit_s) == (0.05, 0, (0, 1), 30)
    assert found.variables == {"pytorch": {"OMP_WAIT_POLICY": "PASSIVE"}}
    assert found.server is not None and (found.server.bound_ms, found.server.percentile) == (40, 99)
    assert parse(content()).measure.scenarios == ("single-stream", "offline"), "the server has no bound by default"


def test_options_are_of_backends_that_run() -> None:
    assert parse(content(options={"pytorch": {"extra": 0.1}})).options == {"pytorch": {"extra": 0.1}}
    with pytest.raises(InputError, match="options name dummy, which is not among backends"):
        parse(content(options={"dummy": {"delay_ms": 1.0}}))
