"""A rule that was misread would let a regression pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.compare.rules import METRICS, Rule, parse_rule, parse_rules
from benchmark.errors import InputError


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ("latency>5%", "latency", 0.05),
        (" latency > 5 % ", "latency", 0.05),
        ("dice<-0.001", "dice", 0.001),
        ("dice<-1e-3", "dice", 0.001),
        ("throughput<-10%", "throughput", 0.10),
        ("memory>0%", "memory", 0.0),
        ("device_latency>.5%", "device_latency", 0.005),
        ("missing", "missing", None),
    ],
)
def test_rules_as_people_write_them(text: str, name: str, limit: float | None) -> None:
    found = parse_rule(text)
    assert (found.name, found.text) == (name, text.strip())
    assert found.limit == (limit if limit is None else pytest.approx(limit))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("latency<5%", "write it as latency>5%"),
        ("latency>-5%", "write it as latency>5%"),
        ("dice>0.001", "write it as dice<-0.001"),
        ("dice<0.001", "write it as dice<-0.001"),
        ("dice<-1%", "is a difference, without %"),
        ("latency>5", "is a share of the base, with %"),
        ("throughput>5%", "write it as throughput<-5%"),
        ("speed>5%", "'speed' is no metric; choose from latency"),
        ("latency>=5%", "write it as"),
        ("latency>five%", "write it as"),
        ("latency>1e400%", "no sensible number"),
        ("", "write it as"),
    ],
)
def test_a_rule_that_says_nothing_sensible_is_refused_with_the_way_to_write_it(text: str, told: str) -> None:
    with pytest.raises(InputError, match="--fail-on") as error:
        parse_rule(text)
    assert told in str(error.value)


def test_missing_and_newly_failing_cells_count_whatever_else_is_asked_for() -> None:
    assert [rule.text for rule in parse_rules(["memory>10%"])] == ["memory>10%", "missing", "failed"]
    assert [rule.text for rule in parse_rules([])] == ["latency>5%", "dice<-0.001", "missing", "failed"]
    assert [rule.text for rule in parse_rules(["missing"])] == ["missing", "failed"]


def test_a_metric_has_one_limit() -> None:
    with pytest.raises(InputError, match="latency has two limits"):
        parse_rules(["latency>5%", "latency>10%"])


@given(st.sampled_from(sorted(METRICS)), st.decimals(0, 1000, places=3, allow_nan=False))
def test_every_metric_reads_back_the_limit_that_was_written(name: str, size: object) -> None:
    metric = METRICS[name]
    text = f"{name}{'>' if metric.worse == 'more' else '<-'}{size}{'%' if metric.relative else ''}"
    found = parse_rule(text)
    assert isinstance(found, Rule) and found.limit is not None
    assert found.limit == pytest.approx(float(str(size)) / (100 if metric.relative else 1))


@given(st.text(max_size=20))
def test_any_other_text_is_a_sentence_and_no_traceback(text: str) -> None:
    try:
        parse_rule(text)
    except InputError as error:
        assert str(error).startswith("--fail-on")
