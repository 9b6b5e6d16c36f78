"""The forest plot shows the differences and intervals that the run recorded, and says by a symbol what they say."""

from __future__ import annotations

from benchmark.results import Results, SupervisionEffect
from reports.chart_supervision import supervision
from reports.charts import specification
from reports.view import View
from tests.reports.chart_data import rows


def effect(label: str | None, difference: float | None, ci95: tuple[float, float] | None) -> SupervisionEffect:
    return SupervisionEffect(
        task="Task09_Spleen",
        model="unet-2d",
        labels="box",
        label=label,
        backend="pytorch",
        device="cpu",
        precision="fp32",
        dice_weak=None if difference is None else 0.8 + difference,
        dice_full=0.8,
        difference=difference,
        ci95=ci95,
        cases=4,
        reason=None if ci95 else "one test case has no interval",
    )


def with_effects(results: Results, *effects: SupervisionEffect) -> View:
    return View(results.model_copy(update={"supervision": list(effects)}))


def test_the_symbol_tells_on_which_side_of_zero_an_interval_lies(results: Results) -> None:
    found = [
        effect(None, -0.05, (-0.08, -0.02)),
        effect("spleen", 0.03, (0.01, 0.05)),
        effect("liver", -0.01, (-0.04, 0.02)),
        effect("aorta", -0.02, None),
    ]
    figure = supervision(with_effects(results, *found), 480)
    assert figure is not None
    spec = specification(figure)
    assert [row["says"] for row in rows(spec, 1)] == ["below 0", "above 0", "contains 0", "no interval"]
    marks = spec["layer"][1]["encoding"]
    assert marks["shape"]["field"] == marks["color"]["field"] == "says"
    assert len(set(marks["shape"]["scale"]["range"])) == 4
    # What has no interval has no line.
    assert [(row["low"], row["high"]) for row in rows(spec, 2)] == [(-0.08, -0.02), (0.01, 0.05), (-0.04, 0.02)]


def test_one_backend_stands_for_all(results: Results) -> None:
    first = effect("spleen", -0.05, (-0.08, -0.02))
    again = first.model_copy(update={"backend": "onnxruntime", "difference": -0.06})
    figure = supervision(with_effects(results, first, again), 480)
    assert figure is not None
    assert [row["difference"] for row in rows(specification(figure), 1)] == [-0.05]


def test_without_a_known_difference_there_is_no_chart(results: Results) -> None:
    assert supervision(with_effects(results), 480) is None
    assert supervision(with_effects(results, effect("spleen", None, None)), 480) is None
