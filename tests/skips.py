"""What a test run left out, and for want of what: one line a reason, at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def skip_lines(reports: Iterable[object]) -> list[str]:
    """One line for each reason, the most frequent first.

    Args:
        reports: pytest's reports of skipped tests; their `longrepr` is (path, line, reason).
    """
    reasons = Counter(_reason(getattr(report, "longrepr", None)) for report in reports)
    return [f"{count:4d}  {reason}" for reason, count in reasons.most_common()]


def _reason(longrepr: object) -> str:
    text = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")
