"""A run again in the same folder redoes what failed, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.measure.group import merged
from benchmark.measured import Seconds
from benchmark.records import CaseRecord, LaneRecord
from benchmark.results import Picture
from tests.benchmark.conftest import MakeTask
from tests.benchmark.measure.fake_group import CASES, FakeGroup, make_group
from tests.benchmark.measure.fake_lanes import FakeLanes

INT8 = "onnxruntime int8"


@pytest.fixture
def group(make_task: MakeTask, tmp_path: Path, lanes: FakeLanes) -> FakeGroup:
    """Three lanes: pytorch, onnxruntime and onnxruntime in int8."""
    return make_group(make_task(cases=CASES), tmp_path / "run", lanes, precisions=["fp32", "int8"])


def test_a_lane_that_failed_is_redone_beside_the_reference_and_good_records_stay(group: FakeGroup) -> None:
    group.pipelines["onnxruntime"].broken = {"case_2"}
    first = group.measure()
    assert [record.lanes["onnxruntime"].failed for record in first] == [
        None,
        "RuntimeError: no memory",
        "not measured after it failed in case case_2: RuntimeError: no memory",
    ]
    assert all(record.lanes[name].failed is None for record in first for name in ("pytorch", INT8))
    assert group.progress == pytest.approx(3)

    group.pipelines["onnxruntime"].broken = set()
    for pipeline in group.pipelines.values():
        pipeline.ms = 7.0  # what is measured now can be told from what was
    second = group.measure()
    assert group.lanes.loaded == ["pytorch", "onnxruntime"], "no worker is started for a lane that is whole"
    assert group.seen == {"pytorch": ["case_2", "case_3"], "onnxruntime": ["case_2", "case_3"], INT8: []}
    assert group.progress == pytest.approx(3)
    assert second[0] == first[0]
    for before, now in zip(first[1:], second[1:], strict=True):
        for name in ("pytorch", INT8):
            assert now.lanes[name] == before.lanes[name], "not even the reference's numbers are replaced"
        redone = now.lanes["onnxruntime"]
        assert redone.failed is None
        assert redone.unit_ms == {"box": [8.0] * 4}
        assert redone.pairs == {"box": [(8.0, 8.0)] * 4}, "beside the reference as it ran this time"
        assert redone.parity["box"] == {"organ": 1.0, "tumour": 1.0}
        assert list(now.lanes) == list(before.lanes)
        assert now.seconds.wall > before.seconds.wall, "what failed took its time too"
    assert group.measure() == second and group.lanes.loaded == []


def test_a_failed_reference_redoes_every_lane(group: FakeGroup) -> None:
    """Without it there are no pairs and no parity, so what the others measured alone is replaced."""
    told: list[tuple[str, list[str]]] = []

    def on_case(volume: Any, chosen: Any, predictions: Any) -> None:
        told.append((volume.case, list(predictions["box"])))

    group.pipelines["pytorch"].broken = {"case_3"}
    first = group.measure(on_case=on_case)
    assert first[2].lanes["onnxruntime"].failed is None
    assert (first[2].lanes["onnxruntime"].pairs, first[2].lanes["onnxruntime"].parity) == ({}, {})
    group.pipelines["pytorch"].broken = set()
    told.clear()
    second = group.measure(on_case=on_case)
    assert group.seen == {"pytorch": ["case_3"], "onnxruntime": ["case_3"], INT8: ["case_3"]}
    assert second[:2] == first[:2]
    for name in ("onnxruntime", INT8):
        assert second[2].lanes[name].pairs == {"box": [(3.0, 3.0)] * 4}
        assert second[2].lanes[name].parity["box"]["organ"] == 1.0
    assert told == [("case_3", ["pytorch", "onnxruntime", INT8])], "its masks take the place of the stand-in's"


def test_a_reference_that_fails_beside_a_lane_redone_leaves_that_lane_failed_and_the_rest_as_it_was(
    group: FakeGroup,
) -> None:
    group.pipelines["onnxruntime"].broken = {"case_1"}
    first = group.measure()
    group.pipelines["onnxruntime"].broken = set()
    group.pipelines["pytorch"].broken = {"case_1"}
    second = group.measure()
    lane = second[0].lanes["onnxruntime"]
    assert lane.failed == "measured without the reference beside it, which failed: RuntimeError: no memory"
    assert lane.unit_ms == {}
    assert second[0].lanes["pytorch"] == first[0].lanes["pytorch"]
    assert second[0].pictures == first[0].pictures
    group.pipelines["pytorch"].broken = set()
    third = group.measure()
    assert third[0].lanes["onnxruntime"].failed is None and third[0].lanes["onnxruntime"].pairs["box"]


def test_a_lane_that_cannot_be_loaded_fails_in_every_case_and_the_others_are_measured(group: FakeGroup) -> None:
    broken = group.lanes.pipelines["onnxruntime"]
    group.lanes.pipelines["onnxruntime"] = RuntimeError("no such provider")
    records = group.measure()
    assert {record.lanes["onnxruntime"].failed for record in records} == {"loading: RuntimeError: no such provider"}
    assert all(record.lanes[INT8].unit_ms == {"box": [3.0] * 4} for record in records)
    group.lanes.pipelines["onnxruntime"] = broken
    assert all(record.lanes["onnxruntime"].failed is None for record in group.measure())
    assert group.seen[INT8] == []


def test_labels_are_not_written_again_for_a_lane_that_is_redone(group: FakeGroup) -> None:
    """What a UNet learned from would seem to have changed."""
    group.pipelines["onnxruntime"].broken = {"case_1"}
    group.measure()
    group.pipelines["onnxruntime"].broken = set()
    told: list[str] = []
    group.measure(on_case=lambda volume, *_: told.append(volume.case))
    assert group.seen["onnxruntime"] and told == []


def test_pictures_gain_the_lane_that_is_redone_and_their_files_are_there(group: FakeGroup) -> None:
    group.pipelines["onnxruntime"].broken = {"case_1"}
    (first, *_) = group.measure()
    assert first.pictures and all(set(picture.predictions) == {"pytorch", INT8} for picture in first.pictures)
    group.pipelines["onnxruntime"].broken = set()
    (second, *_) = group.measure()
    assert [picture.slice for picture in second.pictures] == [picture.slice for picture in first.pictures]
    for picture in second.pictures:
        assert set(picture.predictions) == set(picture.dice) == {"pytorch", INT8, "onnxruntime"}
        assert all((group.run_dir / name).is_file() for name in picture.predictions.values())


def test_a_case_that_is_redone_has_its_share_of_samples_and_budget_again(group: FakeGroup) -> None:
    """30 samples over three cases; those of the later cases must not make the first one's seem enough."""
    group.change(samples=30, budget_s=600)
    for pipeline, ms in zip(group.pipelines.values(), (2.0, 5.0, 9.0), strict=True):
        pipeline.ms = ms
    group.pipelines["onnxruntime"].broken = {"case_1"}
    group.measure()
    group.pipelines["onnxruntime"].broken = set()
    first, *_ = group.measure()
    assert len(first.lanes["onnxruntime"].unit_ms["box"]) >= 20, "until its interval is narrow"


def test_what_an_earlier_part_of_a_run_measured_counts_towards_verdicts(group: FakeGroup) -> None:
    group.change(samples=1, budget_s=600)
    first = group.measure()
    assert len(first[0].lanes["onnxruntime"].pairs["box"]) >= 20
    (group.folder / "case_3.json").unlink()
    third = group.measure()[2]
    assert len(third.lanes["onnxruntime"].pairs["box"]) == 4, "the verdict is settled, so one pass suffices"


def test_the_server_scenario_is_not_repeated_in_a_resumed_run(
    group: FakeGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.measured import Server
    from benchmark.sections import ServerSpec

    served: list[str] = []

    def serve(self: Any, *_: Any) -> Server:
        served.append(str(self._recipe.settings.lanes[0]))
        return Server(bound_ms=40, percentile=99, rate=9.0)

    monkeypatch.setattr("benchmark.measure.lane_server.LaneServer.serve", serve)
    group.change(scenarios=("single-stream", "server"), server=ServerSpec(bound_ms=40))
    group.measure()
    assert sorted(served) == ["onnxruntime", INT8, "pytorch"]
    (group.folder / "case_2.json").unlink()
    group.measure()
    assert len(served) == 3


def record(passes: int = 1, pictures: Any = (), **lanes: LaneRecord) -> CaseRecord:
    seconds = Seconds(wall=2.0, busy=1.0, parent_cpu=0.1, data=0.5, scoring=0.25, starting=3.0)
    return CaseRecord(case="c", slices=2, passes=passes, lanes=lanes, seconds=seconds, pictures=list(pictures))


def test_merged_records_add_their_seconds_and_keep_the_longest_passes() -> None:
    good, bad = LaneRecord(timed_slices=1), LaneRecord(failed="why")
    whole = record(3, pytorch=good, onnxruntime=good)
    assert merged(None, whole) == whole
    found = merged(record(5, pytorch=good, onnxruntime=bad), whole)
    assert found.passes == 5 and found.failed == {}
    assert found.seconds == Seconds(wall=4.0, busy=2.0, parent_cpu=0.2, data=1.0, scoring=0.5, starting=6.0)
    assert CaseRecord.model_validate_json(json.dumps(found.model_dump(mode="json"))) == found


def test_a_picture_of_a_slice_that_is_no_longer_worth_a_look_stays_as_it_is() -> None:
    """A redone lane may bring other slices to the fore: their pictures would lack the lanes not measured again."""

    def picture(index: int, *lanes: str) -> Picture:
        names = {lane: f"{index}_{lane}.png" for lane in lanes}
        return Picture(
            stage="pseudolabel", task="T", model="m", prompt="box", case="c", slice=index, spacing_mm=(1.0, 1.0),
            image="i.png", reference="r.png", predictions=names, labels={1: "organ"},
            dice=dict.fromkeys(lanes, 0.5),
        )  # fmt: skip

    good, bad = LaneRecord(timed_slices=1), LaneRecord(failed="why")
    before = record(1, [picture(3, "pytorch"), picture(7, "pytorch")], pytorch=good, onnxruntime=bad)
    fresh = [picture(7, "pytorch", "onnxruntime"), picture(9, "pytorch", "onnxruntime")]
    now = record(1, fresh, pytorch=good, onnxruntime=good)
    assert [(one.slice, sorted(one.predictions)) for one in merged(before, now).pictures] == [
        (3, ["pytorch"]),
        (7, ["onnxruntime", "pytorch"]),
    ]
    assert merged(record(1, [], pytorch=good, onnxruntime=bad), now).pictures == fresh
