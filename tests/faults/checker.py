"""Judges a history: what was promised, and what it came to. Pure; `test_checker.py` is about it.

Promised always: a session is shown to its own user alone; the ticket from before a login never shows
who logged in; an answer of 503 sets no cookie. Promised with a store that keeps what it acknowledges:
a session that logged in lasts until it is logged out or revoked; what a write was acknowledged for is
there. Promised where nodes see one store: `lease` after the end of a session was acknowledged, no
request that begins shows its user.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from history import BEFORE, COPY, OWN


@dataclass
class Verdict:
    """wrong: what must never be, in words. The rest are what the table tells."""

    wrong: list = field(default_factory=list)
    lost: list = field(default_factory=list)  # sessions, by identifier
    writes_lost: int = 0  # acknowledged, and gone
    served_late: float = 0.0  # seconds after the acknowledgement of its end, at most
    late: list = field(default_factory=list)  # sessions that were shown after the lease
    logins: int = 0
    ends: int = 0


def check(events, lease):
    """The verdict on a history."""
    events = sorted(events, key=lambda event: event.begin)
    verdict = Verdict()
    by_session, of_users = defaultdict(list), defaultdict(list)
    for event in events:
        if event.status == 503 and event.set_cookie:
            verdict.wrong.append(f"503 with Set-Cookie: {event}")
        if event.session is not None:
            by_session[event.session].append(event)
        elif event.op == "revoke":
            of_users[event.owner].append(event)
    for session, own in by_session.items():
        own = [*own, *revocations(own, of_users[own[0].owner])]
        shown_to_others(own, verdict)
        is_lost(session, own, verdict)
        writes(own, lease, verdict)
        ended(session, own, lease, verdict)
    verdict.logins = sum(event.op == "login" and event.status == 302 for event in events)
    verdict.ends = sum(event.op in ("logout", "revoke") and event.status == 200 for event in events)
    return verdict


def revocations(events, of_user):
    """What revocations of its user mean for a session.

    One that was acknowledged ends the sessions of before, may end one whose login was on its way, and
    none of later. One that was not may be carried out at any time, to whatever sessions there are.
    """
    logins = [event for event in events if event.op == "login"]
    for event in of_user:
        if event.status != 200 or any(login.end <= event.begin for login in logins):
            yield event
        elif any(login.begin <= event.end for login in logins):
            yield replace(event, status=0)


def shown_to_others(events, verdict):
    for event in events:
        if event.op in ("login", "revoke"):
            continue  # the application is shown what was there before; nothing
        if event.user is not None and event.user != event.owner:
            verdict.wrong.append(f"shown to {event.owner}: {event}")
        elif event.user is not None and event.sid != event.session:
            verdict.wrong.append(f"another session of the same user: {event}")
        elif event.user is not None and event.op == BEFORE:
            verdict.wrong.append(f"the ticket from before the login is good: {event}")


def is_lost(session, events, verdict):
    """Anonymous, although nobody had asked for its end."""
    ends = [event.begin for event in events if event.op in ("logout", "revoke")]
    ending = min(ends, default=float("inf"))
    for event in events:
        was_own = event.op in OWN and event.op != "login"
        if was_own and event.status == 200 and event.user is None and event.end < ending:
            verdict.lost.append(session)
            return


def writes(events, lease, verdict):
    """A read that begins `lease` after a write was acknowledged shows it, or a later one."""
    acknowledged = [
        (event.end, event.value) for event in events if event.op == "write" and is_served(event)
    ]
    forgiven = 0
    for event in events:
        if event.op != "read" or not is_served(event):
            continue
        due = max((value for end, value in acknowledged if end + lease < event.begin), default=0)
        if event.n < due and due > forgiven:
            verdict.writes_lost += sum(event.n < value <= due for _, value in acknowledged if value > forgiven)
            forgiven = due


def is_served(event):
    return event.status == 200 and event.user is not None


def ended(session, events, lease, verdict):
    """How long after the first acknowledgement of its end a session was shown."""
    acknowledged = min(
        (event.end for event in events if event.op in ("logout", "revoke") and event.status == 200),
        default=None,
    )
    if acknowledged is None:
        return
    shown = [
        event.begin - acknowledged
        for event in events
        if event.op in (COPY, *OWN) and event.user is not None and event.begin > acknowledged
    ]
    latest = max(shown, default=0.0)
    verdict.served_late = max(verdict.served_late, latest)
    if latest > lease:
        verdict.late.append(session)
