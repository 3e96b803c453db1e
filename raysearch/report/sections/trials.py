"""How the trials ended, what a race saved, and what was computed."""

from __future__ import annotations

from collections import Counter, defaultdict

import pandas as pd

from raysearch.report import sentences
from raysearch.report.document import Column, Race, Section, Table
from raysearch.study.ledger import FAILED
from raysearch.study.record import Record
from raysearch.study.wording import clean, duration, many, percent


def trials_section(record: Record) -> Section:
    """How many trials ended how, and why those that failed did."""
    ended = ", ".join(f"{n} {sentences.STATES[state]}" for state, n in record.states.items() if n)
    line = f"{many(len(record.trials), 'trial')}: {ended}."
    reasons: dict[str, list[int]] = defaultdict(list)
    for trial in record.trials:
        if trial.state == FAILED:
            reasons[_short(clean(trial.reason)) or "no reason was recorded"].append(trial.number)
    if not reasons:
        return Section("trials", "Trials", (line,))
    transient = sum(trial.transient for trial in record.trials)
    if transient:
        line += (
            f" {many(transient, 'failed trial')} had too little memory or time, or lost a node or "
            "a network: the same tune command runs them again."
        )
    frame = pd.DataFrame(
        [
            {"reason": reason, "trials": ", ".join(map(str, numbers)), "count": len(numbers)}
            for reason, numbers in sorted(reasons.items(), key=lambda x: (-len(x[1]), x[1]))
        ]
    )
    columns = (
        Column("count", "failed", "count"),
        Column("reason", "reason"),
        Column("trials", "trials"),
    )
    return Section("trials", "Trials", (line,), Table(frame, columns))


def race_section(race: Race, complete: int) -> Section:
    """What stopping trials early saved, and what the estimates know of these trials.

    Args:
        race: the counts.
        complete: how many trials are complete.
    """
    lines = [
        f"{many(race.stopped, 'trial')} {_was(race.stopped)} stopped early: {race.ran} fold-runs "
        f"instead of the {race.full} of a full search of the same trials, "
        f"{percent(1 - race.ran / race.full)} % saved."
    ]
    if race.inside:
        lines.append(
            f"{race.inside} of them {_was(race.inside)} stopped inside a fold; what that fold had "
            "run is not counted."
        )
    if race.draws:
        lines.append(
            "Stopped trials take part in the estimates with the folds that they ran. The other "
            f"{percent(race.imputed)} % of the scores are imputed, {race.draws} times, from a "
            "joint model of validation and test scores."
        )
    if race.unknown and complete:
        lines.append(
            f"{race.unknown} of them {'has' if race.unknown == 1 else 'have'} no finished fold and "
            "cannot take part in the estimates."
        )
    return Section("race", "Stopped early", tuple(lines))


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def stages_section(record: Record) -> Section:
    """What was computed and what was stored already, by stage."""
    times: Counter[str] = Counter()
    keys: dict[str, set[str]] = defaultdict(set)
    for row in record.fold_rows:
        for use in row.stages:
            times[use.name] += 1
            keys[use.name].update([use.key] if use.ours else [])
    computing = duration(sum(row.seconds for row in record.fold_rows))
    if not times:
        return Section("stages", "Work", (f"{computing} of computing; no stage was needed.",))
    frame = pd.DataFrame(
        [
            {
                "stage": name,
                "asked": times[name],
                "run": len(keys[name]),
                "reused": times[name] - len(keys[name]),
                "share": 1 - len(keys[name]) / times[name],
            }
            for name in times
        ]
    )
    columns = (
        Column("stage", "stage", "name"),
        Column("asked", "needed", "count"),
        Column("run", "computed", "count"),
        Column("reused", "reused", "count"),
        Column("share", "reused %", "percent"),
    )
    needed, run = sum(times.values()), len(set().union(*keys.values()))
    line = (
        f"{many(len(record.fold_rows), 'finished fold')} needed {many(needed, 'stage')}: {run} "
        f"were computed, {needed - run} ({percent((needed - run) / needed)} %) were stored "
        f"already. Computing took {computing}, summed over cores."
    )
    return Section("stages", "Work", (line,), Table(frame, columns))


def about_section(record: Record) -> Section:
    """What was run, in detail."""
    return Section("about", "How it was run", sentences.details(record))


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
