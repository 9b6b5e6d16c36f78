from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.measured import Attested, Seconds
from benchmark.records import CaseRecord, LaneRecord, OfflineRecord, RecordStore, ShapeCalls
from benchmark.results import Picture


def record(**lanes: LaneRecord) -> CaseRecord:
    seconds = Seconds(wall=1 / 3, busy=0.3, parent_cpu=0.001)
    return CaseRecord(case="spleen_3", slices=2, passes=1, lanes=lanes or {"pytorch": LaneRecord()}, seconds=seconds)


FULL = LaneRecord(
    unit_ms={"box": [1.25, 1 / 3]},
    device_ms={"box": [1.0, 0.1 + 0.2]},
    pairs={"box": [(1.25, 1 / 3)]},
    volume_ms={"box": [1.25 + 1 / 3]},
    modules={"encoder": [ShapeCalls(shapes={"image": (1, 3, 256, 256)}, ms=[1 / 7])]},
    offline=OfflineRecord(slices=2, volumes=1, seconds=1 / 9),
    phase_ms={"box": {"encode": 0.1 + 0.2}},
    dice={"box": {"organ": 0.9, "tumour": None}},
    parity={"box": {"organ": 1.0}},
    attestation={
        "encoder": Attested(
            backend="pytorch",
            version="2.9",
            device="cpu",
            precision="fp32",
            providers=["eager"],
            nodes_per_provider=None,
            threads=2,
        )
    },
    load_ms=3.5,
    first_call_ms=None,
)


def test_a_record_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records" / "group")
    saved = record(pytorch=FULL, onnxruntime=LaneRecord()).model_copy(
        update={
            "pictures": [
                Picture(
                    stage="segment",
                    task="T",
                    model="unet-2d",
                    prompt="box",
                    case="spleen_3",
                    slice=4,
                    spacing_mm=(0.7, 0.8),
                    image="i.png",
                    reference="r.png",
                    predictions={"pytorch": "p.png"},
                    labels={1: "organ"},
                    dice={"pytorch": None},
                )
            ]
        }
    )
    store.save(saved)
    assert store.load("spleen_3") == saved


def test_a_case_without_a_record_is_measured(tmp_path: Path) -> None:
    assert RecordStore(tmp_path / "nowhere").load("spleen_3") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\x00\x01", b"\xff\xfe", b'{"case": "spleen_3"}'])
def test_a_damaged_record_is_measured_again(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "spleen_3.json").write_bytes(damage)
    assert RecordStore(tmp_path).load("spleen_3") is None


def test_half_a_record_is_measured_again(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.save(record(pytorch=FULL))
    path = tmp_path / "spleen_3.json"
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert store.load("spleen_3") is None


def test_a_field_of_another_version_means_measuring_again(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.save(record())
    path = tmp_path / "spleen_3.json"
    path.write_text(path.read_text().replace('"passes"', '"repeats"'))
    assert store.load("spleen_3") is None


def test_a_record_tells_which_lanes_failed_and_how(tmp_path: Path) -> None:
    """It is read all the same: what the others measured is not measured again."""
    store = RecordStore(tmp_path)
    store.save(record(pytorch=FULL, onnxruntime=LaneRecord(failed="RuntimeError: no memory")))
    found = store.load("spleen_3")
    assert found is not None and found.lanes["pytorch"] == FULL
    assert found.failed == {"onnxruntime": "RuntimeError: no memory"}


def test_saving_leaves_no_temporary_file(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.save(record())
    store.save(record(pytorch=FULL))
    assert [path.name for path in tmp_path.iterdir()] == ["spleen_3.json"]


def test_lanes_do_not_share_their_lists() -> None:
    first, second = LaneRecord(), LaneRecord()
    first.unit_ms["box"] = [1.0]
    assert second.unit_ms == {}
