"""The descriptions that a person reads at the head of a run's page in MLflow, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, FoldRow, TrialRow
from raysearch.tracking.facts import (
    ESTIMATES,
    SCORES,
    Closing,
    StudyFacts,
    as_text,
    percent,
    summary,
    with_interval,
)

_MEANING = {
    "honest": "chosen without the speakers it is scored on: the headline",
    "nested": "chosen anew for every fold by its own validation speakers",
    "selected": "the one setting that won on validation; slightly flattered",
    "oracle": "chosen on the test scores, as most papers print it; not to be reported",
    "optimism": "oracle − honest",
}


def headline(closing: Closing | None) -> str:
    """The honest estimate in one line; '' before there is one."""
    numbers = closing.numbers if closing is not None else {}
    parts = [(m.upper(), with_interval(numbers, f"honest_{m}")) for m in ("ua", "wa")]
    found = ", ".join(f"{name} {text}" for name, text in parts if text).replace("**", "")
    return f"honest estimate: {found}" if found else ""


def study_note(
    study: StudyFacts,
    trials: Sequence[TrialRow],
    status: str,
    reason: str,
    closing: Closing | None,
) -> str:
    """The description at the head of the study's page, in Markdown."""
    n_folds = len(study.folds)
    lines = [
        f"**{study.method}** on **{' + '.join(study.corpus)}** "
        f"({len(study.classes)} classes: {', '.join(study.classes)}), "
        f"protocol **{study.protocol}**, {n_folds} folds.",
        "",
    ]
    # The page shows three lines before "Show more".
    if headline(closing):
        found = headline(closing)
        lines.insert(0, f"**{found[0].upper()}{found[1:]}**\n")
    unreal = {"speech": "the speech is synthetic", "votes": "the raters' votes are simulated"}
    said = " and ".join(text for name, text in unreal.items() if name in study.simulated)
    if said:
        lines += [f"> **{said[0].upper()}{said[1:]}:** the scores say nothing about people.", ""]
    if status in ("FAILED", "KILLED"):
        lines += [f"**{'Failed' if status == 'FAILED' else 'Stopped'}:** {reason}", ""]
    elif status == "RUNNING":
        lines += ["The search is running; the estimates come at its end.", ""]
    if closing is not None and any(f"{e}_ua" in closing.numbers for e in ESTIMATES):
        lines += ["| estimate | UA | WA | how it was chosen |", "|---|---|---|---|"]
        for name in ESTIMATES:
            ua, wa = (with_interval(closing.numbers, f"{name}_{m}") for m in ("ua", "wa"))
            if ua or wa:
                lines.append(f"| {name} | {ua} | {wa} | {_MEANING[name]} |")
        lines.append("")
        chosen = next((t for t in trials if t.number == closing.selected), None)
        if chosen is not None:
            setting = ", ".join(f"{k} = {as_text(v)}" for k, v in chosen.params.items())
            lines += [f"Selected: **trial {chosen.number}** ({setting or 'no parameters'}).", ""]
    if closing is not None and closing.sentences:
        lines += ["What the comparisons say:", "", *(f"- {x}" for x in closing.sentences), ""]
    if study.searched:
        lines += ["| searched | over |", "|---|---|"]
        lines += [f"| {name} | {domain} |" for name, domain in study.searched.items()]
        lines.append("")
    if study.constants:
        fixed = ", ".join(f"{k} = {as_text(v)}" for k, v in study.constants.items())
        lines += [f"Held constant: {fixed}.", ""]
    counts = {s: sum(t.state == s for t in trials) for s in (COMPLETE, FAILED, PRUNED)}
    tried = ", ".join(f"{n} {s}" for s, n in counts.items() if n)
    if tried:
        lines += [f"Trials: {tried}.", ""]
    notes = [*study.notes, *(closing.notes if closing else ())]
    lines += [f"- {note}" for note in dict.fromkeys(notes)]
    if notes:
        lines.append("")
    lines.append(
        "`val_*` are means over the folds' validation parts: choose by these. `test_*` are means "
        "over the held-out test parts: the search never saw them, and the best of them is the "
        "oracle, not a result."
    )
    if closing is not None and "report.html" in closing.reports:
        lines += [
            "",
            "Under *Artifacts*: `report.html` (the whole report with its figures), `figures/`, "
            "`tables/`, `trials.json` (all trials, sortable), `study.yaml` (the resolved study).",
        ]
    if study.command:
        lines += ["", "To repeat or extend it:", "```", study.command, "```"]
    return "\n".join(lines)


def trial_note(
    study: StudyFacts, trial: TrialRow, rows: Sequence[FoldRow], reason: str, selected: bool
) -> str:
    setting = ", ".join(f"{k} = {as_text(v)}" for k, v in trial.params.items()) or "no parameters"
    lines = [f"Trial {trial.number} of `{study.id}`: {setting}."]
    if selected:
        lines.append("**The selected setting** of the study: best mean on validation.")
    if trial.state == COMPLETE and rows:
        score = {n: dict(summary(n, rows)).get(n) for n in SCORES}
        lines.append(
            f"Means over {len(rows)} folds: validation UA {percent(score['val_ua'])}, "
            f"WA {percent(score['val_wa'])}; held-out test UA {percent(score['test_ua'])}, "
            f"WA {percent(score['test_wa'])}. Each fold is a step of `fold/val_ua` and "
            "`fold/test_ua`, and a row of `folds.json` under *Artifacts*."
        )
    elif reason:
        word = {FAILED: "Failed", PRUNED: "Stopped early"}.get(trial.state, "Stopped")
        lines.append(f"**{word}** after {len(rows)} of {len(study.folds)} folds: {reason}")
    if trial.state == FAILED:
        lines.append("The last lines of what it said: `failure.txt` under *Artifacts*.")
    return "\n\n".join(lines)
