"""The tables of docs/method.md about intervals, verdicts and warm-up, by simulation: known truths, many seeds.

python -m tests.perf.statistics_tables coverage | verdicts | warmup
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from scipy.stats import bootstrap

from benchmark.measure.bootstrap import median_interval
from benchmark.measure.steady import is_steady
from tests.benchmark.measure.simulated import both_sides, measured_until_narrow, noise

NOISES: dict[str, dict[str, float]] = {
    "independent": {},
    "hiccups": {"hiccups": 0.03},
    "correlated 0.3": {"correlation": 0.3},
    "correlated 0.5": {"correlation": 0.5},
}
STARTS = [  # extra time at the first pass, passes until it has shrunk to 37 %, noise, hiccup
    (0.0, 1.0, 0.05, False),
    (0.0, 1.0, 0.1, False),
    (0.0, 1.0, 0.1, True),
    (1.0, 2.0, 0.05, False),
    (3.0, 3.0, 0.05, False),
    (0.5, 5.0, 0.05, False),
    (1.0, 8.0, 0.05, False),
    (1.0, 8.0, 0.1, False),
    (0.3, 10.0, 0.05, False),
]


def show(line: str) -> None:
    """At once, since a table takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def coverage(series: int = 1000) -> None:
    """How often each interval holds the true ratio, and its half-width."""
    show("| pairs | noise | independent | blocks, expanded | half-width before | now |\n|---|---|---|---|---|---|")
    for pairs in (8, 12, 16, 20, 60, 300):
        for name, kind in NOISES.items():
            held, width = np.zeros(2), np.zeros(2)
            rng = np.random.default_rng(pairs)
            for _ in range(series):
                baseline, candidate = both_sides(rng, pairs, **kind)
                logs = np.log(baseline / candidate)
                plain = bootstrap((logs,), np.median, n_resamples=1000, method="percentile", rng=rng)
                for place, (low, high) in enumerate((plain.confidence_interval, median_interval(logs))):
                    held[place] += low <= 0 <= high
                    width[place] += (high - low) / 2
            shares, widths = 100 * held / series, 100 * width / series
            show(
                f"| {pairs} | {name} | {shares[0]:.1f} % | {shares[1]:.1f} % | {widths[0]:.1f} % | {widths[1]:.1f} % |"
            )


def verdicts(runs: int = 400) -> None:
    """What the whole procedure says of equals and of a candidate that is 5 % slower."""
    show("| slowdown | calls a turn | runs | verdicts | pairs, median | most |\n|---|---|---|---|---|---|")
    for slowdown in (0.0, 0.05):
        for calls in (1, 4, 16):
            rng = np.random.default_rng(calls)
            found = [measured_until_narrow(rng, slowdown, calls) for _ in range(runs)]
            said = ", ".join(f"{n} {what}" for what, n in Counter(one.verdict for one in found).most_common())
            pairs = [one.pairs for one in found]
            row = (f"{100 * slowdown:g} %", calls, runs, said, int(np.median(pairs)), max(pairs))
            show("| " + " | ".join(map(str, row)) + " |")


def warmup(series: int = 500, limit: int = 40) -> None:
    """After how many passes a warm-up ends, and how often it ends too early."""
    show("| start-up | noise | ended by 10 | by 15 | median | more than 5 % above its end |\n|---|---|---|---|---|---|")
    for extra, decay, spread, hiccup in STARTS:
        rng = np.random.default_rng(3)
        truth = 1 + extra * np.exp(-np.arange(limit + 1) / decay)
        ended = []
        for _ in range(series):
            times = truth * noise(rng, limit + 1, spread)
            times[rng.integers(0, 8)] *= 3 if hiccup else 1
            ended.append(next((n for n in range(5, limit) if is_steady(times[:n].tolist())), limit))
        passes = np.array(ended)
        early = 100 * np.mean(truth[passes] > 1.05)
        start = f"+{100 * extra:g} %, over {decay:g} passes" if extra else "none" + ", a hiccup" * hiccup
        by = [f"{100 * np.mean(passes <= most):.1f} %" for most in (10, 15)]
        show(f"| {start} | {100 * spread:g} % | {by[0]} | {by[1]} | {np.median(passes):g} | {early:.1f} % |")


if __name__ == "__main__":
    {"coverage": coverage, "verdicts": verdicts, "warmup": warmup}[sys.argv[1]]()
