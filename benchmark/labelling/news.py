"""What a labelling process and its parent tell one another."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.data.msd import CaseFiles
from benchmark.labelling.records import LabelledCase


@dataclass(frozen=True)
class Hand:
    """An answer to `Wants`.

    Attributes:
        case: the next one; None if there is none left.
    """

    case: CaseFiles | None


@dataclass(frozen=True)
class Wants:
    """A process has time for a case: it reads it while the last slices of the one before are labelled."""


@dataclass(frozen=True)
class Advanced:
    """Some of a case is done.

    Attributes:
        share: of the case.
        slices: that the process has done so far.
    """

    share: float
    slices: int


@dataclass(frozen=True)
class Ended:
    """A process is done with all that it was handed, or failed.

    Attributes:
        error: why it failed; None if it did not.
        of_input: whether the user's files are at fault.
    """

    error: str | None = None
    of_input: bool = False


Told = Wants | Advanced | LabelledCase | Ended
