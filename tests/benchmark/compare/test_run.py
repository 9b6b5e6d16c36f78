"""A regression in one place ends with its name; noise, drift and other machines do not."""

from __future__ import annotations

import pytest

from benchmark.calibration.store import Calibration
from benchmark.compare.rules import parse_rules
from benchmark.compare.run import floors_of, warnings
from benchmark.errors import InputError
from benchmark.measured import Peak
from benchmark.results import Results
from tests.benchmark.compare.conftest import Compared, Measured
from tests.reports.report_factory import FAILED, SPLEEN


def offending(found: object) -> set[tuple[str, str, str]]:
    return {(one.rule, one.cell.stage, one.cell.backend) for one in found.offences}  # type: ignore[attr-defined]


def test_the_same_program_twice_is_not_flagged(measured: Measured, compared: Compared) -> None:
    found = compared(measured(1), measured(2))
    assert not found.regressed
    assert {cell.fate for cell in found.cells} == {"compared"}
    assert len(found.cells) == 8


def test_a_slowdown_of_10_percent_is_found_in_the_backend_that_has_it(measured: Measured, compared: Compared) -> None:
    found = compared(measured(1), measured(2, slower=0.1))
    assert offending(found) == {("latency>5%", stage, "onnxruntime") for stage in ("pseudolabel", "segment")}
    change = found.offences[0].cell.change("latency")
    assert change is not None and change.paired
    assert change.change == pytest.approx(0.1, abs=0.02)
    assert "latency +" in found.offences[0].words and "against pytorch in the same run" in found.offences[0].words


def test_a_machine_that_became_slower_is_told_and_hides_no_regression(measured: Measured, compared: Compared) -> None:
    """Everything takes a quarter longer, which machines do from run to run: only what slowed down beside it offends."""
    base, new = measured(1), measured(2, machine=1.25, slower=0.1)
    rate = base.peak["cpu"].fp32_gflops or 0.0
    new = new.model_copy(update={"peak": {"cpu": Peak(fp32_gflops=rate / 1.25)}})
    found = compared(base, new)
    assert {backend for _, _, backend in offending(found)} == {"onnxruntime"}
    assert any("rate changed by -20.0%" in line for line in found.drift)


def test_a_reference_that_became_faster_makes_nobody_slower(measured: Measured, compared: Compared) -> None:
    """Everything is 20 % faster in the new run, and PyTorch 10 % more than that: a new version of it, perhaps."""
    found = compared(measured(1), measured(2, machine=0.8, slower=0.1))
    assert not found.regressed
    change = found.cells[1].change("latency")
    assert change is not None and change.verdict == "inconclusive"
    assert "it is pytorch that moved" in (change.reason or "")


def test_a_busy_machine_is_told(measured: Measured, compared: Compared) -> None:
    base, new = measured(1), measured(2)
    idle = base.model_copy(update={"environment": base.environment.model_copy(update={"busy": None})})
    assert any(line.startswith("The machine was busy before the new run") for line in compared(idle, new).drift)
    assert not any("base" in line for line in compared(idle, new).drift)


def test_code_that_slowed_both_backends_is_a_regression_of_the_reference(
    measured: Measured, compared: Compared
) -> None:
    found = compared(measured(1), measured(2, machine=1.6))
    assert {backend for _, _, backend in offending(found)} == {"pytorch"}


def test_a_loss_of_dice_of_0_002_is_found(measured: Measured, compared: Compared) -> None:
    found = compared(measured(1), measured(2, dice=0.002))
    assert {(rule, backend) for rule, _, backend in offending(found)} == {("dice<-0.001", "onnxruntime")}
    assert "Dice −0.0020" in found.offences[0].words
    assert not compared(measured(1), measured(2, dice=0.0008)).regressed
    assert compared(measured(1), measured(2, dice=0.0008), "dice<-0.0005").regressed


def test_a_loss_in_one_label_alone_is_found_although_the_mean_keeps(measured: Measured, compared: Compared) -> None:
    base = measured(1)
    cells = []
    for cell in base.cells:
        entries = [e.model_copy(update={"label": label}) for e in cell.dice_per_case for label in ("spleen", "liver")]
        cells.append(cell.model_copy(update={"dice_per_case": entries}))
    base = base.model_copy(update={"cells": cells})
    first = cells[1]
    moved = [
        e.model_copy(update={"dice": (e.dice or 0) + (0.01 if e.label == "liver" else -0.01)})
        for e in first.dice_per_case
    ]
    new = base.model_copy(update={"cells": [cells[0], first.model_copy(update={"dice_per_case": moved}), *cells[2:]]})
    found = compared(base, new)
    assert len(found.offences) == 1
    assert "spleen" in found.offences[0].words


def test_dice_that_became_null_is_a_regression(measured: Measured, compared: Compared) -> None:
    base, new = measured(1), measured(1)
    gone = [e.model_copy(update={"dice": None, "reason": "lost"}) for e in new.cells[0].dice_per_case]
    cells = [new.cells[0].model_copy(update={"dice_per_case": gone}), *new.cells[1:]]
    found = compared(base, new.model_copy(update={"cells": cells}))
    assert found.offences[0].words == "Dice: 1 Dice values are gone, the first of spleen in case spleen_2"


def test_a_missing_and_a_newly_failing_cell_are_regressions_whatever_the_rules(
    measured: Measured, compared: Compared
) -> None:
    base, new = measured(1), measured(2)
    failed = new.cells[1].model_copy(update=FAILED)
    less = new.model_copy(update={"cells": [new.cells[0], failed, *new.cells[3:]]})
    found = compared(base, less, "memory>50%")
    assert {one.rule for one in found.offences} == {"missing", "failed"}
    assert any("out of memory" in one.words for one in found.offences)
    assert not compared(base, less, "memory>50%", allowed=("missing", "failed")).regressed
    # The other way round they are new and recovered, which is no regression.
    assert {cell.fate for cell in compared(less, base).cells} == {"compared", "recovered", "new"}
    assert not compared(less, base).regressed


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("hardware", "cpu: Example Xeon 2.6 GHz → Other CPU"),
        ("driver", "driver: none → 570"),
        ("spec", "spec data.seed"),
    ],
)
def test_another_machine_driver_or_specification_is_refused_with_the_way_out(
    kind: str, told: str, measured: Measured, compared: Compared
) -> None:
    base, new = measured(1), measured(2)
    changes = {"hardware": {"cpu": "Other CPU"}, "driver": {"driver": "570"}}.get(kind, {})
    new = new.model_copy(update={"environment": new.environment.model_copy(update=changes)})
    if kind == "spec":
        new = new.model_copy(update={"spec": {**new.spec, "data": {**new.spec["data"], "seed": 7}}})  # type: ignore[dict-item]
    with pytest.raises(InputError) as error:
        compared(base, new)
    assert told in str(error.value)
    assert str(error.value).endswith(f"--allow {kind}")
    assert not compared(base, new, allowed=(kind,)).regressed


def test_other_scans_are_refused_and_what_an_old_run_did_not_record_is_not(
    measured: Measured, compared: Compared
) -> None:
    def with_hash(results: Results, digest: str | None) -> Results:
        tasks = [task.model_copy(update={"data_sha256": digest}) for task in results.tasks]
        return results.model_copy(update={"tasks": tasks})

    base = measured(1)
    with pytest.raises(InputError, match=f"{SPLEEN} data_sha256: aa → bb"):
        compared(with_hash(base, "aa"), with_hash(base, "bb"))
    assert not compared(with_hash(base, None), with_hash(base, "bb")).regressed


def test_library_versions_and_how_long_was_measured_are_told_and_do_not_forbid(
    measured: Measured, compared: Compared
) -> None:
    base, new = measured(1), measured(2)
    libraries = {**new.environment.libraries, "onnxruntime": "1.24.0"}
    spec = {**new.spec, "name": "other", "measure": {**new.spec["measure"], "budget_s": 5}}  # type: ignore[dict-item]
    new = new.model_copy(
        update={"environment": new.environment.model_copy(update={"libraries": libraries}), "spec": spec}
    )
    assert [one.words for one in compared(base, new).differences] == ["onnxruntime: 1.23.2 → 1.24.0"]


def test_the_calibration_widens_the_interval(measured: Measured, compared: Compared) -> None:
    calibration = Calibration.model_construct(noise_floor=0.2)
    assert floors_of(calibration).paired == 0.2
    slowed = (measured(1), measured(2, slower=0.1))
    assert compared(*slowed).regressed
    found = compared(*slowed, calibration=calibration)
    assert not found.regressed
    change = found.cells[1].change("latency")
    assert change is not None and change.verdict == "inconclusive"
    assert compared(*slowed, "inconclusive", calibration=calibration).regressed


def test_a_calibration_of_one_program_does_not_make_two_backends_finer() -> None:
    assert floors_of(Calibration.model_construct(noise_floor=0.01)).paired == floors_of(None).paired
    assert "noise floor is 1.00%" in floors_of(Calibration.model_construct(noise_floor=0.01)).words


def test_a_limit_finer_than_the_floor_is_warned_about() -> None:
    floors = floors_of(None)
    assert warnings(parse_rules(["latency>1%", "dice<-0.0001"]), floors) == [
        "latency>1%: the limit is finer than the noise floor of ±5.00%; only changes beyond are told"
    ]
    assert warnings(parse_rules(["latency>6%"]), floors) == []
