"""The table of docs/operations/outages.md: one row for each scenario, between two markers."""

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEADER = """\
| store | fault | requests | 503 | failed otherwise | public failed, of; p99 | sessions lost | writes lost | revoked served for | well after | as promised |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"""


def cells(outcome):
    """The cells of a row; of one that was not run, dashes."""
    scenario, measured, verdict = outcome.scenario, outcome.measured, outcome.verdict
    first = [scenario.topology.name, scenario.fault]
    if measured is None:
        return [*first, *["–"] * 8, outcome.problem]
    recovered = measured.recovered_secs
    return [
        *first,
        str(measured.requests),
        str(measured.refused),
        str(measured.failed),
        f"{measured.public_failed}, {measured.public}; {measured.public_p99_ms:.0f} ms",
        str(len(verdict.lost)),
        str(verdict.writes_lost),
        f"{verdict.served_late:.2f} s",
        "never" if recovered is None else f"{recovered:.2f} s",
        "yes" if not outcome.broken else "**no**: " + "; ".join(outcome.broken),
    ]


def table(outcomes):
    rows = ["| " + " | ".join(cells(outcome)) + " |" for outcome in outcomes]
    return "\n".join([HEADER, *rows])


def replaced(text, block):
    """A document with `block` between its markers.

    # Raises
    `ValueError` where the markers are not there, once, in their order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the document needs the lines {BEGIN} and {END}, once")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{block}\n{END}{after}"
