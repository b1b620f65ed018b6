"""Define the record that every part of the project passes around: a problem and its reference answer.

Usage: ``Problem(id="t-1", problem="What is 2 + 2?", answer="4", source="synthetic")``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """Hold a problem with its reference answer.

    ``id`` is unique within a problem set, ``answer`` is the normalised reference answer, ``source`` names the problem
    set, and ``meta`` holds whatever that set knows besides (``family`` and ``level`` for the synthetic task).

    >>> Problem("t-1", "What is 2 + 2?", "4", "synthetic").answer
    '4'
    """

    id: str
    problem: str
    answer: str
    source: str
    meta: dict[str, Any] = field(default_factory=dict)
