"""What a history says about how it went while the fault lasted."""

import math
from dataclasses import dataclass
from typing import Optional

from history import OWN

#: A fault that lasts no time is looked at for so long.
WINDOW_SECS_MIN = 2.0


@dataclass
class Measure:
    requests: int = 0
    refused: int = 0  # 503
    failed: int = 0  # anything else that is no answer of the application
    public: int = 0
    public_failed: int = 0
    public_p99_ms: float = 0.0
    recovered_secs: Optional[float] = None


def measure(history, nodes):
    """Requests that began while the fault lasted, and when each node took writes again."""
    events, measured = history.events, Measure()
    recovered = [recovery(events, history.healthy, node) for node in range(nodes)]
    if None not in recovered:
        measured.recovered_secs = max(recovered)
    end = max(history.healthy + (measured.recovered_secs or 0.0), history.fault + WINDOW_SECS_MIN)
    took = []
    for event in events:
        if not history.fault <= event.begin <= end:
            continue
        is_answered = event.status in (200, 302)
        if event.op in OWN or event.op == "begin":
            measured.requests += 1
            measured.refused += event.status == 503
            measured.failed += not is_answered and event.status != 503
        elif event.op == "public":
            measured.public += 1
            measured.public_failed += not is_answered
            took.append((event.end - event.begin) * 1000)
    took.sort()
    if took:
        measured.public_p99_ms = took[math.ceil(len(took) * 0.99) - 1]
    return measured


def recovery(events, healthy, node):
    """From the moment at which the store was well to a node's first acknowledged write; None if none."""
    ends = [
        event.end
        for event in events
        if event.node == node
        and event.begin >= healthy
        and event.op in ("write", "login")
        and event.status in (200, 302)
        and event.user is not None
    ]
    return min(ends) - healthy if ends else None
