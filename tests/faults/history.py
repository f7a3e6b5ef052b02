"""What happened, in the order in which it ended: the only thing that the checker sees.

Times are seconds of one monotonic clock, the clients'. A request began before it was written and
ended after its answer was read, so that a delay of ours never makes a fault where there is none.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Optional

#: Requests with the ticket that a browser has by now.
OWN = ("login", "read", "write", "logout")
#: A copy of a ticket whose session was ended or is about to be; one from before a login.
COPY, BEFORE = "copy", "before"


@dataclass(frozen=True)
class Event:
    """A request, or a revocation.

    op: `begin` (an anonymous visit), `login`, `read`, `write`, `logout`, `public`, `revoke`, or a
    `copy` or `before` that was presented. A revocation without a session is one of all that its owner
    has. status: 0 if no answer came. sid, user, n: the session
    identifier, the user and the count that the application was shown. value: what a write wrote.
    """

    begin: float
    end: float
    node: int
    op: str
    session: Optional[str] = None
    owner: Optional[str] = None
    status: int = 0
    sid: Optional[str] = None
    user: Optional[str] = None
    n: Optional[int] = None
    value: Optional[int] = None
    set_cookie: bool = False


class History:
    def __init__(self):
        self.origin = time.monotonic()
        self.events = []
        #: When the fault began, and when the store was well again.
        self.fault = self.healthy = None

    def now(self):
        return time.monotonic() - self.origin

    def add(self, **fields):
        event = Event(end=self.now(), **fields)
        self.events.append(event)
        return event

    def save(self, file):
        """One event a line."""
        with open(file, "w") as lines:
            lines.write(json.dumps({"fault": self.fault, "healthy": self.healthy}) + "\n")
            for event in self.events:
                row = {key: value for key, value in dataclasses.asdict(event).items() if value is not None}
                lines.write(json.dumps(row) + "\n")
