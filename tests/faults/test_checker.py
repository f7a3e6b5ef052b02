"""The checker, on histories made by hand. `python3 -m unittest discover -s tests/faults`."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checker import check  # noqa: E402
from history import Event, History  # noqa: E402
from links import Links  # noqa: E402
from measure import measure  # noqa: E402
from table import BEGIN, END, replaced  # noqa: E402

LEASE = 1.0


def event(begin, op, status=200, user="alice", n=0, node=0, **fields):
    """A request of Alice's session `s` that takes a tenth of a second."""
    shown = {"sid": "s", "user": user, "n": n} if user and op != "revoke" else {}
    given = {"session": "s", "owner": "alice", "end": begin + 0.1, **shown, **fields}
    return Event(begin=begin, node=node, op=op, status=status, **given)


def login(begin=0.0):
    return event(begin, "login", status=302)


class Always(unittest.TestCase):
    def test_a_session_of_her_own_is_right(self):
        verdict = check([login(), event(1, "read"), event(2, "write", value=1), event(4, "read", n=1)], LEASE)
        self.assertEqual((verdict.wrong, verdict.lost, verdict.writes_lost), ([], [], 0))
        self.assertEqual((verdict.logins, verdict.ends), (1, 0))

    def test_another_user_is_wrong(self):
        self.assertEqual(len(check([login(), event(1, "read", user="bob")], LEASE).wrong), 1)

    def test_another_session_of_hers_is_wrong(self):
        self.assertEqual(len(check([login(), event(1, "read", sid="other")], LEASE).wrong), 1)

    def test_another_user_is_wrong_behind_a_dead_ticket_too(self):
        self.assertEqual(len(check([login(), event(1, "copy", user="bob")], LEASE).wrong), 1)

    def test_the_ticket_from_before_a_login_must_not_be_good(self):
        self.assertEqual(len(check([login(), event(1, "before")], LEASE).wrong), 1)
        self.assertEqual(check([login(), event(1, "before", user=None)], LEASE).wrong, [])

    def test_a_refusal_sets_no_cookie(self):
        refused = event(1, "read", status=503, user=None)
        self.assertEqual(check([login(), refused], LEASE).wrong, [])
        refused = event(1, "read", status=503, user=None, set_cookie=True)
        self.assertEqual(len(check([login(), refused], LEASE).wrong), 1)


class Sessions(unittest.TestCase):
    def lost(self, *events):
        return check([login(), *events], LEASE).lost

    def test_anonymous_without_an_end_is_lost_once(self):
        self.assertEqual(self.lost(event(1, "read", user=None), event(2, "write", user=None)), ["s"])

    def test_a_refusal_loses_nothing(self):
        self.assertEqual(self.lost(event(1, "read", status=503, user=None), event(2, "read")), [])

    def test_no_answer_loses_nothing(self):
        self.assertEqual(self.lost(event(1, "read", status=0, user=None)), [])

    def test_anonymous_after_an_end_was_asked_for_is_right(self):
        for op, status in (("logout", 200), ("logout", 503), ("revoke", 200), ("revoke", 0)):
            ends = event(1, op, status=status)
            self.assertEqual(self.lost(ends, event(2, "read", user=None)), [], (op, status))

    def test_anonymous_while_the_end_is_on_its_way_is_right(self):
        self.assertEqual(self.lost(event(1, "revoke", end=3.0), event(1.5, "read", user=None)), [])

    def test_anonymous_before_an_end_is_lost(self):
        self.assertEqual(self.lost(event(1, "read", user=None), event(2, "logout")), ["s"])


class Writes(unittest.TestCase):
    def lost(self, *events):
        return check([login(), *events], LEASE).writes_lost

    def test_an_acknowledged_write_is_there(self):
        self.assertEqual(self.lost(event(1, "write", value=1), event(3, "read", n=1)), 0)

    def test_a_count_that_goes_back_is_lost(self):
        self.assertEqual(self.lost(event(1, "write", value=1), event(3, "read", n=0)), 1)

    def test_each_lost_write_counts_once(self):
        events = [event(at, "write", value=at) for at in (1, 2, 3)]
        self.assertEqual(self.lost(*events, event(5, "read", n=1), event(6, "read", n=1)), 2)

    def test_the_next_write_makes_good_for_it(self):
        events = [event(1, "write", value=1), event(3, "read"), event(4, "write", value=2)]
        self.assertEqual(self.lost(*events, event(6, "read", n=2)), 1)

    def test_within_the_lease_the_other_node_may_be_behind(self):
        self.assertEqual(self.lost(event(1, "write", value=1), event(2.05, "read", n=0)), 0)
        self.assertEqual(self.lost(event(1, "write", value=1), event(2.15, "read", n=0)), 1)

    def test_what_was_not_acknowledged_may_be_there_or_not(self):
        refused = event(1, "write", status=503, user=None, value=1)
        for n in (0, 1):
            self.assertEqual(self.lost(refused, event(3, "read", n=n)), 0)


class Ends(unittest.TestCase):
    def check(self, *events):
        verdict = check([login(), *events], LEASE)
        return round(verdict.served_late, 3), verdict.late

    def test_a_dead_ticket_is_not_served(self):
        self.assertEqual(self.check(event(1, "revoke"), event(2, "copy", user=None)), (0, []))

    def test_a_request_that_began_before_the_acknowledgement_is_not_late(self):
        self.assertEqual(self.check(event(1, "revoke"), event(1.05, "copy", end=9.0)), (0, []))

    def test_within_the_lease_it_is_told_and_forgiven(self):
        self.assertEqual(self.check(event(1, "revoke"), event(1.9, "copy", node=1)), (0.8, []))

    def test_after_the_lease_it_is_late(self):
        self.assertEqual(self.check(event(1, "logout"), event(3.1, "copy")), (2.0, ["s"]))
        self.assertEqual(self.check(event(1, "revoke"), event(3.1, "read")), (2.0, ["s"]))

    def test_an_end_that_nobody_acknowledged_promises_nothing(self):
        self.assertEqual(self.check(event(1, "revoke", status=503), event(9, "copy")), (0, []))

    def test_the_first_acknowledgement_counts(self):
        events = [event(1, "revoke", status=503), event(2, "revoke"), event(5, "revoke")]
        self.assertEqual(self.check(*events, event(4.1, "copy")), (2.0, ["s"]))


class Users(unittest.TestCase):
    """Revocations of all that a user has."""

    def check(self, *events):
        verdict = check(events, LEASE)
        return verdict.lost, verdict.late

    def revoke(self, begin, **fields):
        return event(begin, "revoke", session=None, **fields)

    def test_it_ends_the_sessions_of_before(self):
        anonymous, shown = event(2, "read", user=None), event(4.2, "copy")
        self.assertEqual(self.check(login(), self.revoke(1), anonymous), ([], []))
        self.assertEqual(self.check(login(), self.revoke(1), shown), ([], ["s"]))

    def test_it_may_end_one_whose_login_was_on_its_way(self):
        anonymous, shown = event(2, "read", user=None), event(4.2, "copy")
        self.assertEqual(self.check(login(1.05), self.revoke(1), anonymous), ([], []))
        self.assertEqual(self.check(login(1.05), self.revoke(1), shown), ([], []))

    def test_it_ends_none_of_later(self):
        anonymous, shown = event(3, "read", user=None), event(4.2, "read")
        self.assertEqual(self.check(login(2), self.revoke(1), anonymous), (["s"], []))
        self.assertEqual(self.check(login(2), self.revoke(1), shown), ([], []))

    def test_without_an_acknowledgement_it_may_come_late(self):
        anonymous, shown = event(3, "read", user=None), event(4.2, "read")
        self.assertEqual(self.check(login(2), self.revoke(1, status=503), anonymous), ([], []))
        self.assertEqual(self.check(login(2), self.revoke(1, status=503), shown), ([], []))

    def test_another_user_is_not_concerned(self):
        anonymous = event(3, "read", user=None)
        self.assertEqual(self.check(login(), self.revoke(1, owner="bob"), anonymous), (["s"], []))


class Measured(unittest.TestCase):
    def measure(self, *events):
        history = History()
        history.fault, history.healthy, history.events = 10.0, 15.0, list(events)
        return measure(history, 2)

    def test_what_began_while_the_fault_lasted_counts(self):
        measured = self.measure(
            event(9, "read", status=503, user=None),
            event(10, "read", status=503, user=None),
            event(11, "write", status=0, user=None),
            event(12, "read"),
            event(13, "copy", status=503, user=None),
            event(14, "public", user=None),
            event(14, "public", user=None, status=502),
        )
        self.assertEqual((measured.requests, measured.refused, measured.failed), (3, 1, 1))
        self.assertEqual((measured.public, measured.public_failed), (2, 1))
        self.assertAlmostEqual(measured.public_p99_ms, 100)

    def test_the_later_node_has_recovered_last_and_with_a_write(self):
        writes = [event(15.5, "write", node=0), event(16.5, "write", node=1, value=1)]
        reads = [event(15.1, "read", node=1), event(15.2, "write", node=1, status=503, user=None)]
        self.assertAlmostEqual(self.measure(*reads, *writes).recovered_secs, 1.6)

    def test_a_node_may_never_recover(self):
        self.assertIsNone(self.measure(event(15.5, "write", node=0)).recovered_secs)


class Others(unittest.TestCase):
    def test_a_document_is_written_once_and_again(self):
        text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
        new = replaced(text, "| new |")
        self.assertEqual(new, f"before\n{BEGIN}\n| new |\n{END}\nafter\n")
        self.assertEqual(replaced(new, "| new |"), new)
        self.assertRaises(ValueError, replaced, "no markers", "")

    def test_addresses_lead_through_the_links(self):
        links = Links("A")

        class Link:
            port = 22222

        links.by_port[11111] = Link
        links.rewrite_addresses()
        for before, after in (
            (b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n11111\r\n", b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n22222\r\n"),
            (b"-MOVED 7 127.0.0.1:11111\r\n", b"-MOVED 7 127.0.0.1:22222\r\n"),
            (b":11111\r\n", b":22222\r\n"),
            (b"id 127.0.0.1:11111@33333 master", b"id 127.0.0.1:22222@33333 master"),
            (b"m 127.0.0.1 33333 127.0.0.1 11111", b"m 127.0.0.1 33333 127.0.0.1 22222"),
            (b"$6\r\n111112\r\n", b"$6\r\n111112\r\n"),
        ):
            self.assertEqual(links.rewritten(before), after)


if __name__ == "__main__":
    unittest.main()
