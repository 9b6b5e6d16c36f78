"""How names and numbers are written, in one place for every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

ABSENT = "–"

NAMES = {
    "pytorch": "PyTorch",
    "pytorch-compile": "PyTorch (compiled)",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT (in ONNX Runtime)",
    "openvino": "OpenVINO",
}
REFERENCE = "reference"


def backend_name(backend: str) -> str:
    """The name people know a backend by."""
    return NAMES.get(backend, backend)


def lane_name(backend: str, precision: str = "fp32") -> str:
    """A backend's name, with its precision where that is a reduced one."""
    return backend_name(backend) if precision == "fp32" else f"{backend_name(backend)} {precision}"


def is_number(value: float | None) -> bool:
    """Whether there is a value to show at all; NaN and infinity are none."""
    return value is not None and math.isfinite(value)


def significant(value: float | None, digits: int = 3) -> str:
    """A positive quantity with so many significant digits and without an exponent, as in 0.0123, 12.3 and 1,230."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value == 0:
        return "0"
    # Rounded first: 99.96 becomes 100, which has fewer decimals than its own magnitude suggests.
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def milliseconds(value: float | None) -> str:
    """Milliseconds without their unit, which stands in the column's title."""
    return significant(value)


def percent(share: float | None, digits: int = 3) -> str:
    """A share of 1 with so many significant digits, as in 41.3 %."""
    shown = significant(None if share is None else 100 * share, digits)
    return shown if shown == ABSENT else f"{shown} %"


def margin(value: float) -> str:
    """Half the width of what counts as equivalent, as in ±2 %."""
    return f"±{100 * value:.3g} %"


def _decimals(*ratios: float) -> int:
    """Near 1, where a margin of 2 % decides, two decimals would hide on which side of its edge a bound lies."""
    return 3 if any(0.9 < ratio < 1.1 for ratio in ratios) else 2


def speedup(value: float | None) -> str:
    """A ratio of times, as in 2.31×, and near 1 as in 1.012×."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:.{_decimals(value)}f}×" if abs(value) < 100 else f"{value:.0f}×"


def interval(bounds: tuple[float, float] | None) -> str:
    """A confidence interval of a speedup, as in [2.25, 2.38], and near 1 as in [0.998, 1.027]."""
    if bounds is None or not all(math.isfinite(bound) for bound in bounds):
        return ABSENT
    decimals = _decimals(*bounds)
    return f"[{bounds[0]:.{decimals}f}, {bounds[1]:.{decimals}f}]"


def processors(numbers: Sequence[int]) -> str:
    """Numbers of processors, runs of them in short, as in 0–3, 8."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def settings(variables: Mapping[str, str]) -> str:
    """Environment variables, as a shell would take them."""
    return ", ".join(f"{name}={value}" for name, value in variables.items())


def dice(value: float | None) -> str:
    """A Dice coefficient, as in 0.969."""
    return f"{value:.3f}" if value is not None and math.isfinite(value) else ABSENT


def parity(value: float | None) -> str:
    """Agreement of two masks, as in 0.9998; rounded down, because 1.0000 must mean that every voxel agrees."""
    return f"{math.floor(value * 1e4 + 1e-9) / 1e4:.4f}" if value is not None and math.isfinite(value) else ABSENT


def difference(value: float | None, decimals: int = 4) -> str:
    """A signed difference of Dice, as in +0.0001."""
    if value is None or not math.isfinite(value):
        return ABSENT
    size = f"{abs(value):.{decimals}f}"
    if float(size) == 0:
        return size
    return f"{'+' if value > 0 else '−'}{size}"


def dice_interval(bounds: tuple[float, float] | None) -> str:
    """A confidence interval of a difference of Dice, as in [−0.100, +0.040]."""
    if bounds is None or not all(math.isfinite(bound) for bound in bounds):
        return ABSENT
    return f"[{difference(bounds[0], 3)}, {difference(bounds[1], 3)}]"


def count(number: int, noun: str) -> str:
    """A number with its noun, as in "1 case" and "3 cases"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def clicks(effort: float | None) -> str:
    """An annotation effort, as in "1 click", "2 clicks" and "0.67 clicks"."""
    shown = significant(effort, 2).removesuffix(".0")
    return f"{shown} click" if shown == "1" else f"{shown} clicks"


def duration(seconds: float) -> str:
    """A wall time that a person reads, as in 3 min 20 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{significant(seconds, 2)} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def moment(created: str) -> str:
    """A UTC time in ISO 8601, to the minute."""
    return f"{created[:16].replace('T', ' ')} UTC"


def join(words: list[str], last: str = "and") -> str:
    """An English enumeration."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def sentence(text: str) -> str:
    """Text that begins with a capital and ends with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def condition(stage: str, prompt: str | None) -> str:
    """What sets a cell apart within its stage: the prompt, or the labels that the UNet was trained on."""
    if prompt is None:
        return ABSENT
    if stage == "pseudolabel":
        return prompt
    return "reference labels" if prompt == REFERENCE else f"{prompt} labels"
