"""From a study's folder to a `Report`. Reads study.yaml, folds.json and ledger.sqlite only.

Facts of the ledger that it knows, all optional: `study` (its id), `classes` (names in order),
`notes` (sentences), `simulated` (any of "speech", "votes"), and `published`, a paper's table to
hold the study's trials against:

    {"source": "Table 2 of paper 002", "metric": "ua",
     "rows": [{"name": "CE", "params": {"loss": "ce"}, "value": 0.431}, ...]}

A row is the first complete trial that has all of its `params` (constants of the space included);
the first row is the baseline that gains are counted from.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from raysearch.errors import BadInput
from raysearch.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, Ledger, TrialRow
from raysearch.report.model import Column, Report, Section, Table
from raysearch.report.write import clean, duration, percent, value
from raysearch.selection import Estimates, FoldGroups, Score, compare, estimates

__all__ = ["build"]

METRICS = ("ua", "wa")
SHOWN = 5
"""settings that the table of the best shows"""

_PROTOCOLS = {
    "loso": ("leave one speaker out", "speaker", "speakers"),
    "loseso": ("leave one session out", "session", "sessions"),
    "loco": ("leave one corpus out", "corpus", "corpora"),
    "kfold": ("stratified k-fold over clips", "part", "parts"),
}
_OBJECTIVES = {
    "ua": "mean validation UA",
    "wa": "mean validation WA",
    "pooled_ua": "validation UA of all folds pooled",
}
_SIMULATED = {
    "speech": "The speech is synthetic: these scores show that the machinery works, and say "
    "nothing about people.",
    "votes": "The raters' votes are simulated, not given by listeners.",
}


@dataclass(frozen=True)
class _Fold:
    """One entry of folds.json."""

    name: str
    test_groups: frozenset[str]
    val_groups: frozenset[str]
    clips: int

    @property
    def groups(self) -> FoldGroups:
        return FoldGroups(self.test_groups, self.val_groups, self.name)


@dataclass(frozen=True)
class _Scores:
    """The full rows: trials that are complete, by number, and their tables [C, K]."""

    trials: tuple[TrialRow, ...]
    validation: Mapping[str, NDArray[np.float64]]
    test: Mapping[str, NDArray[np.float64]]
    found: Estimates
    objective: str


def build(folder: Path) -> Report:
    """The report of the study kept in `folder`, finished or not.

    Raises:
        BadInput: the folder holds no study.
        ValueError: a trial said to be complete lacks a fold, or a score is not finite.
    """
    study, folds = _read(folder)
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        trials, rows = ledger.trials(), ledger.folds()
        notes = [str(x) for x in ledger.fact("notes", [])]
        simulated = [str(x) for x in ledger.fact("simulated", [])]
        classes = ledger.fact("classes") or _of(study, "corpus").get("classes") or []
        name = ledger.fact("study") or folder.name
        published = ledger.fact("published")
        space = ledger.fact("space")
    finally:
        ledger.close()

    states = {state: 0 for state in (COMPLETE, FAILED, PRUNED, RUNNING)}
    states.update(Counter(trial.state for trial in trials))
    scores = _scores(study, trials, rows, folds)
    uses = [(row, use) for row in rows for use in row.stages]
    run = len({use.key for _, use in uses if use.made_here})
    protocol = _PROTOCOLS.get(_protocol(study), ("", "fold", "folds"))

    sections = []
    if scores is None:
        sections.append(_no_result(states))
    else:
        sections += [
            _estimates_section(scores, protocol),
            _settings_section(scores, protocol),
            _folds_section(scores, folds, protocol),
        ]
        if published:
            sections.append(_published_section(published, scores, _of(study, "params")))
        few = _clips_section(scores, rows)
        sections += [few] if few else []
        recalls = _classes_section(scores, rows, [str(c) for c in classes])
        sections += [recalls] if recalls else []
    if trials:
        sections += [_trials_section(trials, states), _stages_section(rows, run, len(uses))]
    return Report(
        study=str(name),
        headline=_headline(study, folds, protocol, classes, space),
        warnings=_warnings(study, simulated, notes, scores),
        sections=tuple(sections),
        facts=study,
        states=states,
        folds=tuple(fold.name for fold in folds),
        stages_run=run,
        stages_reused=len(uses) - run,
        seconds=sum(row.seconds for row in rows),
        estimates=scores.found if scores else None,
        best_trial=scores.trials[scores.found.best].number if scores else None,
        best=dict(scores.trials[scores.found.best].params) if scores else {},
    )


# -- reading -------------------------------------------------------------------------------------


def _read(folder: Path) -> tuple[dict[str, Any], list[_Fold]]:
    names = ("study.yaml", "folds.json", "ledger.sqlite")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BadInput(
            f"{folder} holds no study that can be reported ({', '.join(missing)} not found): "
            "`python -m raysearch studies` lists the studies of a home"
        )
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    if not isinstance(study, dict):
        raise BadInput(
            f"{folder / 'study.yaml'} must hold a mapping: run the study's command again"
        )
    entries = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
    folds = [
        _Fold(
            str(entry["name"]),
            frozenset(entry["test_groups"]),
            frozenset(entry["val_groups"]),
            int(entry["n_test"]),
        )
        for entry in sorted(entries, key=lambda entry: int(entry["index"]))
    ]
    return study, folds


def _scores(
    study: Mapping[str, Any],
    trials: Sequence[TrialRow],
    rows: Sequence[FoldRow],
    folds: Sequence[_Fold],
) -> _Scores | None:
    done = tuple(trial for trial in trials if trial.state == COMPLETE)
    if not done:
        return None
    cells = {(row.trial, row.fold): row.scores for row in rows}
    whole = {(row.trial, row.fold): row for row in rows}

    def table(score: str) -> NDArray[np.float64]:
        # a cell that is missing becomes NaN, which `estimates` refuses by its name
        nothing: Mapping[str, float] = {}
        return np.array(
            [
                [cells.get((t.number, f.name), nothing).get(score, np.nan) for f in folds]
                for t in done
            ]
        )

    score = Score(str(study.get("objective", "ua")))
    objective = score.name.removeprefix("pooled_")

    def pooled(over: Sequence[int]) -> list[float]:
        return [score.of(whole[t.number, folds[f].name] for f in over) for t in done]

    validation = {m: table(f"val_{m}") for m in METRICS}
    test = {m: table(f"test_{m}") for m in METRICS}
    found = estimates(
        validation[objective],
        test,
        [fold.groups for fold in folds],
        settings=[f"trial {trial.number}" for trial in done],
        judge=pooled if score.name != objective else None,
    )
    return _Scores(done, validation, test, found, objective)


# -- sections ------------------------------------------------------------------------------------


def _headline(
    study: Mapping[str, Any],
    folds: Sequence[_Fold],
    protocol: tuple[str, str, str],
    classes: Sequence[Any],
    space: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    corpus = _listed(_of(study, "corpus").get("name", "?"))
    what = f"Method {study.get('method', '?')} on {corpus}: {sum(f.clips for f in folds)} clips"
    if classes:
        what += f", {len(classes)} classes ({', '.join(str(c) for c in classes)})"
    divided = (
        f"{len(folds)} fold{'' if len(folds) == 1 else 's'}, {protocol[0] or _protocol(study)}"
    )
    by = {"fold": "the training part", "speaker": "each speaker"}.get(str(study.get("normalise")))
    details = [
        divided,
        f"searched for the best {_OBJECTIVES[str(study.get('objective', 'ua'))]}",
        f"features {_listed(study['features'])}" if study.get("features") else "",
        f"z-normalised with statistics of {by}" if by else "",
        f"seed {study.get('seed', 0)}",
    ]
    lines = [what + ".", "; ".join(x for x in details if x) + "."]
    # what was left of the space on this data, where the ledger knows it
    params = _of(study, "params") if space is None else space
    params = {
        n: x["const"] if isinstance(x, dict) and "const" in x else x for n, x in params.items()
    }
    searched = sorted(name for name, domain in params.items() if isinstance(domain, dict))
    fixed = [f"{n}={value(x)}" for n, x in sorted(params.items()) if not isinstance(x, dict)]
    if searched:
        lines.append(f"Searched: {', '.join(searched)}.")
    if fixed:
        lines.append(f"Fixed: {', '.join(fixed)}.")
    return tuple(clean(line) for line in lines)


def _warnings(
    study: Mapping[str, Any],
    simulated: Sequence[str],
    notes: Sequence[str],
    scores: _Scores | None,
) -> tuple[str, ...]:
    # a corpus that says it itself, with more detail, is not repeated
    said = " ".join(notes)
    words = {"speech": "synthetic", "votes": "simulated"}
    found = [
        _SIMULATED.get(kind, f"Simulated: {kind}.")
        for kind in sorted(simulated)
        if words.get(kind, kind) not in said
    ]
    if study.get("normalise") == "speaker":
        found.append(
            "Features are normalised per speaker, test speakers included (transductive): the "
            "scores assume that a fair mixture of each new speaker's clips is at hand."
        )
    if _protocol(study) == "kfold":
        found.append(
            "Folds divide clips, not speakers: every speaker is heard in training, so the scores "
            "say nothing about new speakers."
        )
    found += notes
    found += scores.found.notes if scores else ()
    return tuple(dict.fromkeys(clean(x) for x in found))


def _no_result(states: Mapping[str, int]) -> Section:
    if states[RUNNING]:
        why = "No trial has finished all its folds yet, so there are no estimates."
    elif states[FAILED]:
        why = "No trial completed: there are no estimates. The reasons of the failures are below."
    else:
        why = "No trial has been run yet, so there are no estimates."
    return Section("estimates", "No result yet", (why,))


def _estimates_section(scores: _Scores, protocol: tuple[str, str, str]) -> Section:
    _, unit, units = protocol
    found, objective = scores.found, scores.objective
    kinds = {
        "honest": found.honest,
        "nested": found.nested,
        "selected": found.selected,
        "oracle": found.oracle,
    }
    frame = pd.DataFrame(
        [
            {"estimate": name}
            | {m: kind[m].mean for m in METRICS}
            | {f"{m}_interval": _interval(kind[m].low, kind[m].high) for m in METRICS}
            | {f"{m}_sd": kind[m].sd for m in METRICS}
            for name, kind in kinds.items()
        ]
    )
    columns = [Column("estimate", "estimate", "name")]
    for m in METRICS:
        columns += [
            Column(m, m.upper(), "percent"),
            Column(f"{m}_interval", "95 % interval", "interval"),
            Column(f"{m}_sd", "± sd", "spread"),
        ]
    head = found.honest[objective]
    within = (
        f" (95 % interval {percent(max(0.0, head.low))} to {percent(min(1.0, head.high))})"
        if head.low is not None and head.high is not None
        else ""
    )
    heard = "clips of held-out parts" if unit == "part" else f"{units} the model has never heard"
    return Section(
        "estimates",
        "What was found",
        (
            f"Honest result: {percent(head.mean)} % {objective.upper()} on {heard}{within}, from "
            f"{_many(len(scores.trials), 'setting')} and {_many(len(found.judges), 'fold')}.",
        ),
        Table(frame, tuple(columns), strong=0),
        (
            f"UA is the mean recall of the classes, WA the share of clips that are right; all are "
            f"test scores in %, as means over folds. ± sd is their spread from {unit} to {unit}.",
            f"honest: for each held-out {unit}, the setting chosen by the validation scores of the "
            f"folds that neither test nor validate on that {unit}. The figure to quote.",
            "nested: each fold's setting chosen by that fold's own validation score alone. Honest "
            "too, but a poorer way to choose.",
            f"selected: the one setting with the best mean validation score (trial "
            f"{scores.trials[found.best].number}). A little flattering where tested {units} also "
            "served as validation.",
            f"oracle: the setting that is best on the test scores themselves "
            f"({_oracle(scores)}). What many papers print.",
            _optimism(scores),
        ),
    )


def _oracle(scores: _Scores) -> str:
    numbers = {m: scores.trials[scores.found.oracle_rows[m]].number for m in METRICS}
    if len(set(numbers.values())) == 1:
        return f"trial {numbers['ua']}"
    return f"trial {numbers['ua']} for UA, {numbers['wa']} for WA"


def _optimism(scores: _Scores) -> str:
    if len(scores.trials) == 1:
        return "optimism: none to measure. One setting is complete, so all four are its scores."
    parts = []
    for m in METRICS:
        points = 100 * scores.found.optimism[m]
        more = "more" if points > -0.05 else "less"
        parts.append(f"{abs(points):.1f} points {more} {m.upper()}")
    return (
        f"optimism: choosing on the test scores would have claimed {' and '.join(parts)} than is "
        "honest."
    )


def _settings_section(scores: _Scores, protocol: tuple[str, str, str]) -> Section:
    # what the search maximised, so that the order is that in which `estimates` would choose
    mean = np.array([t.value for t in scores.trials])
    order = np.lexsort((np.arange(len(mean)), -np.round(mean, 12)))[:SHOWN]
    m = scores.objective
    test = scores.test[m]
    one = test.shape[1] < 2
    frame = pd.DataFrame(
        [
            {
                "trial": scores.trials[c].number,
                "validation": mean[c],
                "test": test[c].mean(),
                "sd": None if one else test[c].std(ddof=1),
                "params": dict(scores.trials[c].params),
            }
            for c in order
        ]
    )
    columns = (
        Column("trial", "trial", "count"),
        Column("validation", f"val {m.upper()}", "percent"),
        Column("test", f"test {m.upper()}", "percent"),
        Column("sd", "± sd", "spread"),
        Column("params", "parameters", "params"),
    )
    shown = f", the first {len(order)} of {len(mean)}" if len(order) < len(mean) else ""
    return Section(
        "settings",
        f"Best settings by mean validation {m.upper()}{shown}",
        (),
        Table(frame, columns, strong=0),
    )


def _folds_section(
    scores: _Scores, folds: Sequence[_Fold], protocol: tuple[str, str, str]
) -> Section:
    found, m = scores.found, scores.objective
    frame = pd.DataFrame(
        [
            {
                "fold": fold.name,
                "clips": fold.clips,
                "ua": scores.test["ua"][found.best, f],
                "wa": scores.test["wa"][found.best, f],
                "honest_trial": scores.trials[found.honest_choices[f]].number,
                "honest": scores.test[m][found.honest_choices[f], f],
                "nested_trial": scores.trials[found.nested_choices[f]].number,
                "nested": scores.test[m][found.nested_choices[f], f],
            }
            for f, fold in enumerate(folds)
        ]
    )
    columns = (
        Column("fold", f"held-out\n{protocol[1]}", "name"),
        Column("clips", "clips", "count"),
        Column("ua", "selected\nUA", "percent"),
        Column("wa", "selected\nWA", "percent"),
        Column("honest_trial", "honest\ntrial", "count"),
        Column("honest", f"honest\n{m.upper()}", "percent"),
        Column("nested_trial", "nested\ntrial", "count"),
        Column("nested", f"nested\n{m.upper()}", "percent"),
    )
    number = scores.trials[found.best].number
    title = f"Test scores by fold: trial {number} (selected), and what each procedure chose"
    return Section("folds", title, (), Table(frame, columns))


def _published_section(
    published: Mapping[str, Any], scores: _Scores, params: Mapping[str, Any]
) -> Section:
    """A paper's rows beside this study's. Corpora differ, so gains over the first row compare."""
    m = str(published.get("metric", "ua"))
    constants = {name: x for name, x in params.items() if not isinstance(x, dict)}
    rows = list(published["rows"])
    found = [_row_of(row["params"], scores.trials, constants) for row in rows]
    first = found[0] if found else None
    made = []
    for i, (row, c) in enumerate(zip(rows, found, strict=True)):
        gained = None
        if i and c is not None and first is not None:
            gained = compare(scores.test[m][c], scores.test[m][first])
        paper = row.get("value")
        base = rows[0].get("value")
        made.append(
            {
                "name": str(row["name"]),
                "published": paper,
                "published_gain": paper - base if i and None not in (paper, base) else None,
                "trial": None if c is None else scores.trials[c].number,
                "here": None if c is None else scores.test[m][c].mean(),
                "gain": None if gained is None else gained.mean,
                "interval": None if gained is None else _interval(gained.low, gained.high),
            }
        )
    columns = (
        Column("name", "row", "text"),
        Column("published", f"published\n{m.upper()}", "percent"),
        Column("published_gain", "published\ngain", "points"),
        Column("trial", "trial", "count"),
        Column("here", f"here\n{m.upper()}", "percent"),
        Column("gain", "here\ngain", "points"),
        Column("interval", "95 %\ninterval", "range"),
    )
    frame = pd.DataFrame(made, columns=[c.name for c in columns], dtype=object)
    missing = sum(c is None for c in found)
    after = [f"Gains are over {rows[0]['name']}, here paired by fold."] if rows else []
    if missing:
        after.append(
            f"{_many(missing, 'row')} of the table {'has' if missing == 1 else 'have'} "
            "no complete trial here."
        )
    return Section(
        "published",
        f"Beside the published figures: {clean(str(published.get('source', 'the paper')))}",
        (),
        Table(frame, columns),
        tuple(after),
    )


def _row_of(
    wanted: Mapping[str, Any], trials: Sequence[TrialRow], constants: Mapping[str, Any]
) -> int | None:
    for c, trial in enumerate(trials):
        have = {**constants, **trial.params}
        if all(name in have and _same(have[name], x) for name, x in wanted.items()):
            return c
    return None


def _clips_section(scores: _Scores, rows: Sequence[FoldRow]) -> Section | None:
    """UA of the selected setting against the clips that give a test speaker's statistics."""
    best = scores.trials[scores.found.best].number
    mine = [row for row in rows if row.trial == best]
    names = [name for name in mine[0].scores if re.fullmatch(r"test_ua_\d+_clips", name)]
    if not names:
        return None
    full = np.array([row.scores["test_ua"] for row in mine])
    frame = pd.DataFrame(
        [
            {
                "clips": clips,
                "test": values.mean(),
                "sd": values.std(ddof=1) if len(values) > 1 else None,
                "loss": values.mean() - full.mean(),
            }
            for clips, values in [
                *(
                    (name.split("_")[2], np.array([row.scores[name] for row in mine]))
                    for name in sorted(names, key=lambda name: int(name.split("_")[2]))
                ),
                ("all", full),
            ]
        ]
    )
    return Section(
        "speaker_clips",
        f"Clips needed of a new speaker: trial {best} (selected)",
        table=Table(
            frame,
            (
                Column("clips", "clips of the speaker", "text"),
                Column("test", "test UA", "percent"),
                Column("sd", "± sd", "spread"),
                Column("loss", "against all", "points"),
            ),
        ),
        after=(
            "Each test speaker's features are normalised by statistics of that many of the "
            "speaker's own clips, drawn once whatever their class.",
        ),
    )


def _classes_section(
    scores: _Scores, rows: Sequence[FoldRow], classes: Sequence[str]
) -> Section | None:
    best = scores.trials[scores.found.best].number
    tables = [np.array(row.confusion) for row in rows if row.trial == best and row.confusion]
    if not tables or len({t.shape for t in tables}) != 1:
        return None
    counts = np.sum(tables, axis=0)
    if len(classes) != len(counts):
        classes = [f"class {i}" for i in range(len(counts))]
    made = []
    for i, label in enumerate(classes):
        wrong = counts[i].copy()
        wrong[i] = 0
        other = int(wrong.argmax())
        total = int(counts[i].sum())
        made.append(
            {
                "class": label,
                "clips": total,
                "recall": counts[i, i] / total if total else None,
                "taken_for": f"{classes[other]} ({wrong[other]})" if wrong.any() else None,
            }
        )
    columns = (
        Column("class", "class", "name"),
        Column("clips", "clips", "count"),
        Column("recall", "recall %", "percent"),
        Column("taken_for", "most often taken for (clips)"),
    )
    title = f"Classes: trial {best} (selected), all folds pooled"
    return Section("classes", title, (), Table(pd.DataFrame(made), columns))


def _trials_section(trials: Sequence[TrialRow], states: Mapping[str, int]) -> Section:
    said = [f"{n} {state}" for state, n in states.items() if n]
    line = f"{_many(len(trials), 'trial')}: {', '.join(said)}."
    if states[PRUNED]:
        line += " Trials stopped early have no full row and are not in the estimates."
    reasons: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        if trial.state == FAILED:
            reasons[_short(clean(trial.reason)) or "no reason was recorded"].append(trial.number)
    if not reasons:
        return Section("trials", "Trials", (line,))
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


def _stages_section(rows: Sequence[FoldRow], run: int, asked: int) -> Section:
    spent = duration(sum(row.seconds for row in rows))
    if not asked:
        return Section("stages", "Work", (f"{spent} of computing; no stage was asked for.",))
    made: dict[str, set[str]] = defaultdict(set)
    times: Counter[str] = Counter()
    for row in rows:
        for use in row.stages:
            times[use.name] += 1
            made[use.name].update([use.key] if use.made_here else [])
    frame = pd.DataFrame(
        [
            {
                "stage": name,
                "asked": times[name],
                "run": len(made[name]),
                "reused": times[name] - len(made[name]),
                "share": 1 - len(made[name]) / times[name],
            }
            for name in times
        ]
    )
    columns = (
        Column("stage", "stage", "name"),
        Column("asked", "asked for", "count"),
        Column("run", "computed", "count"),
        Column("reused", "reused", "count"),
        Column("share", "reused %", "percent"),
    )
    line = (
        f"{_many(len(rows), 'finished fold')} asked for {_many(asked, 'stage')}: {run} were "
        f"computed, {asked - run} ({percent((asked - run) / asked)} %) were there already. "
        f"Computing took {spent}, summed over cores."
    )
    return Section("stages", "Work", (line,), Table(frame, columns))


# -- small things --------------------------------------------------------------------------------


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _of(study: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = study.get(key)
    return found if isinstance(found, dict) else {}


def _protocol(study: Mapping[str, Any]) -> str:
    found = study.get("protocol", "")
    return str(found.get("name", "") if isinstance(found, dict) else found)


def _same(a: Any, b: Any) -> bool:
    # a grid's 0.30000000000000004 is the 0.3 that a table names
    if isinstance(a, float) and isinstance(b, int | float) and not isinstance(b, bool):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _listed(names: str | Iterable[Any]) -> str:
    return names if isinstance(names, str) else ", ".join(str(x) for x in names)


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
