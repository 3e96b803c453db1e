"""The descriptions that a person reads at the head of a run's page in MLflow, in Markdown.

What the estimates and the warnings say is taken from the report, word for word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from raysearch.report import Report, sentences
from raysearch.report.formats import markdown
from raysearch.selection import SCORED, metric_of
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, FoldRow, TrialRow
from raysearch.study.record import Record
from raysearch.study.wording import amount, params

_MEANS = (
    "`val_*` are means over the folds' validation parts: choose by these. `test_*` are means over "
    "the held-out test parts: the search never saw them, and the best of them is the oracle, not "
    "a result."
)
_ARTIFACTS = (
    "Under *Artifacts*: `report.html` (the whole report with its figures), `figures/`, `tables/`, "
    "`trials.json` (all trials, sortable), `predictions.csv` and `.parquet` (every test clip), "
    "`study.yaml` (the resolved study)."
)


def honest(report: Report | None) -> str:
    """The honest estimate in one line; '' before there is one."""
    if report is None or report.estimates is None:
        return ""
    return sentences.honest_figures(report.estimates, report.metrics)


def study_note(
    record: Record, status: str, reason: str, report: Report | None, command: str
) -> str:
    """The description at the head of the study's page; three lines show before 'Show more'."""
    warnings = sentences.warnings(record, None) if report is None else report.warnings
    paragraphs = [
        "" if report is None else f"**{report.section('estimates').before[0]}**",
        {
            "RUNNING": "The search is running; the estimates come at its end.",
            "FAILED": f"**Failed:** {reason}",
            "KILLED": f"**Stopped:** {reason}",
        }.get(status, ""),
        *sentences.headline(record),
        *(f"> {warning}" for warning in warnings),
        *(() if report is None else _excerpt(report)),
        _searched(record),
        *sentences.details(record),
        _MEANS,
        "" if report is None else _ARTIFACTS,
        f"To repeat or extend it:\n```\n{command}\n```" if command else "",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _excerpt(report: Report) -> Iterator[str]:
    """What the end of `tune` shows, what the estimates mean, and what settings differ by."""
    for section in report.sections:
        if section.name == "estimates":
            section = replace(section, before=())  # it stands above
        if section.name == "compare":
            section = replace(section, before=(), table=None)
        if section.opening or section.name in ("meaning", "compare"):
            yield "\n".join(markdown.part(section))


def _searched(record: Record) -> str:
    rows = [f"| {name} | {domain} |" for name, domain in record.searched.items()]
    return "\n".join(["| searched | over |", "|---|---|", *rows]) if rows else ""


def trial_note(
    study: str,
    trial: TrialRow,
    folds: str,
    scores: Mapping[str, float | None],
    reason: str,
    selected: bool,
) -> str:
    """The description of one trial.

    Args:
        folds: how many it ran, as in '3 of 4'.
        scores: means over these folds, by name.
        reason: why it ended before its last fold.
        selected: whether it is the study's selected setting.
    """
    lines = [f"Trial {trial.number} of `{study}`: {params(trial.params)}."]
    if selected:
        lines.append("**The selected setting** of the study: best mean on validation.")
    if trial.state == COMPLETE:
        lines.append(
            f"Means over {folds} folds: validation {_pair(scores, 'val')}; held-out test "
            f"{_pair(scores, 'test')}. Each fold is a step of `fold/val_ua` and `fold/test_ua`, "
            "and a row of `folds.json` under *Artifacts*."
        )
    elif reason:
        word = {FAILED: "Failed", PRUNED: "Stopped early"}.get(trial.state, "Stopped")
        lines.append(f"**{word}** after {folds} folds: {reason}")
    if trial.state == FAILED:
        lines.append("The last lines of its log: `failure.txt` under *Artifacts*.")
    return "\n\n".join(lines)


def fold_note(study: str, row: FoldRow) -> str:
    """The description of one fold of one of the best trials."""
    return (
        f"Fold **{row.fold}** of trial {row.trial} of `{study}`: {_pair(row.scores, 'val')} on "
        f"validation, {_pair(row.scores, 'test')} on the held-out test part. Curves by epoch under "
        "*Model metrics*, the confusion matrix under *Artifacts*."
    )


def _pair(scores: Mapping[str, float | None], part: str) -> str:
    """'UA 70.0 %, WA 71.2 %': of the table's metrics the first two that there are."""
    pairs = [(m, x) for m in SCORED if (x := scores.get(f"{part}_{m}")) is not None]
    return ", ".join(f"{metric_of(m).heading} {amount(m, x)}" for m, x in pairs[:2])
