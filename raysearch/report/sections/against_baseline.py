"""A study's honest choice against that of another study, its baseline."""

from __future__ import annotations

from collections.abc import Iterator

from raysearch.report.document import Comparison, Section
from raysearch.report.pairing import pair_up
from raysearch.study.record import Record


def sides(record: Record) -> Iterator[tuple[Comparison, Section]]:
    """The comparison with the baseline, and its section; nothing where the study has none.

    Raises:
        BadInput: the baseline has no complete trial, or the two cannot be paired.
    """
    if record.baseline is None:
        return
    two = pair_up(record, record.baseline)
    pair = two.pair(f"{record.method} (this study)", f"{two.b.method} ({two.b.name})")
    yield (
        Comparison("baseline", None, two.metric, (pair,)),
        Section(
            "baseline",
            f"Against the baseline {two.b.name}",
            (pair.sentence,),
            two.table(two.alike, "this\nstudy", "baseline", "difference"),
            (two.rests_on(), *two.cautions()),
            opening=True,
        ),
    )
