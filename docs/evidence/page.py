"""Make a page of evidence: run what its studies lack, then write its JSON, its figure, its text.

    python docs/evidence/page.py label_strategies_urdu corpus.root=TABLE.csv home=runs

`NAME.yaml` beside this file has the question, the studies as words of `tune`, and the finding,
which a person wrote who had seen the table. The words of the command line are added to those of
each study: where its speech lies, and the home. A study that is finished runs nothing again, and an
interrupted one goes on, so the command may be given again at any time. `NAME.json` holds every
figure, fold by fold; `NAME.md` and `NAME.svg` are drawn from it and the texts of `NAME.yaml`:

    python docs/evidence/page.py label_strategies_urdu
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raysearch.report import figures
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import Scores, score
from raysearch.selection import compare, holm, interval, pooled_ua
from raysearch.selection.measures import ece_of
from raysearch.stages.atomic import write_whole
from raysearch.study import load_study
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import TrialRow
from raysearch.study.record import Record
from raysearch.study.software import versions
from raysearch.study.space import NAME

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Plain = dict[str, Any]


# -- from studies to JSON --------------------------------------------------------------------------
def facts_of(name: str, words: Sequence[str]) -> Plain:
    """Run the studies of a page, and gather all that it shows.

    Args:
        name: of the page.
        words: added to each study's.
    """
    page = texts_of(name)
    records, commands = [], []
    for own in page["studies"]:
        command = [sys.executable, "-m", "raysearch", "tune", *own, *words]
        subprocess.run(command, check=True, cwd=ROOT)
        study = load_study([*own, *words], cwd=ROOT)
        records.append(Record.read(StudyFolder.of(study)))
        commands.append(shlex.join(["python", "-m", "raysearch", "tune", *own]))
    return {
        "commands": commands,
        "rows": rows_of(records, page["reference"]),
        "claims": claims_of(records[0]),
        "corpus": {
            "classes": list(records[0].classes),
            "folds": {fold.name: fold.clips for fold in records[0].folds},
            "unit": records[0].units,
            "seeds": records[0].seeds,
        },
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, no graphics card",
        "core_hours": sum(row.seconds for one in records for row in one.fold_rows) / 3600,
        "wall_hours": sum(map(_wall, records)) / 3600,
        "versions": versions(),
    }


def texts_of(name: str) -> Plain:
    """What a person wrote of a page, and its studies."""
    page: Plain = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    return {**page, "name": name}


def facts_there(name: str) -> Plain:
    """The figures that were kept of a page, with its texts."""
    kept: Plain = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return {**kept, **texts_of(name)}


def rows_of(records: Sequence[Record], reference: str) -> list[Plain]:
    """A row a complete setting of each study, and its paired difference to the reference's row.

    Holm's correction is over the rows of a study; intervals of differences are widened for as many
    (Bonferroni), so that all of a study's hold together.
    """
    rows = [_row(record, trial) for record in records for trial in _complete(record)]
    first = next(row for row in rows if row["name"] == reference)
    for record in records:
        own = [row for row in rows if row["study"] == record.name and row is not first]
        groups = [fold.groups for fold in record.folds]
        base = [first["folds"][fold.name] for fold in record.folds]
        each = [compare([*row["folds"].values()], base, groups) for row in own]
        corrected = holm([1.0 if d.p is None else d.p for d in each])
        for row, d, p in zip(own, each, corrected, strict=True):
            half = _half_width(d.sd or 0.0, d.n, len(own))
            row["difference"] = {"mean": d.mean, "low": d.mean - half, "high": d.mean + half}
            row["difference"] |= {"p_holm": p, "family": len(own)}
    return rows


def _half_width(sd: float, n: int, family: int) -> float:
    """Half of a t interval over n differences that holds for a whole family at once (95 %)."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - 0.025 / family) * sd / n**0.5)


def _complete(record: Record) -> list[TrialRow]:
    return [trial for trial in record.trials if trial.state == "complete"]


def _row(record: Record, trial: TrialRow) -> Plain:
    """What a setting scores: by fold, their mean, all clips pooled, and how sure it was."""
    rows = record.rows_of(trial.number)
    ua = np.array([row.scores["test_ua"] for row in rows])
    mean, low, high, sd = interval(ua)
    pooled = pooled_ua([row.confusion for row in rows], [fold.groups for fold in record.folds])
    bins = np.sum([row.reliability["plain"] for row in rows], axis=0)
    return {
        "study": record.name,
        "name": _name(record, trial),
        "params": dict(trial.params),
        "folds": {row.fold: row.scores["test_ua"] for row in rows},
        "ua": {"mean": mean, "low": low, "high": high, "sd": sd},
        "pooled": {"mean": pooled.mean, "low": pooled.low, "high": pooled.high},
        "nll": float(np.mean([row.scores["test_nll"] for row in rows])),
        "ece": ece_of(bins),
    }


def _name(record: Record, trial: TrialRow) -> str:
    """How the study's space names a setting."""
    constants = {**record.constants, **trial.params}
    for entry in record.enqueued:
        own = {name: value for name, value in entry.items() if name != NAME}
        same = all(constants.get(k) == v for k, v in own.items())
        if NAME in entry and same and set(own) >= set(trial.params):
            return str(entry[NAME])
    return f"trial {trial.number}"


def claims_of(record: Record) -> Plain:
    """The estimates of the first study: what an honest choice scores, and one on test scores."""
    scores: Scores | None = score(record)
    assert scores is not None, f"{record.name} has no complete trial"
    e = scores.estimates
    return {
        kind: {"mean": one.mean, "low": one.low, "high": one.high}
        for kind in e.kinds
        for one in [e.of(kind)["ua"]]
    } | {"optimism": e.optimism["ua"]}


def _wall(record: Record) -> float:
    """Seconds from the first trial's start to the last one's end, pauses included."""
    ends = [trial.ended for trial in record.trials if trial.ended is not None]
    return max(ends) - min(trial.started for trial in record.trials)


# -- from JSON to a page ---------------------------------------------------------------------------
def text_of(facts: Plain) -> str:
    """The page as Markdown; every figure of it is one of `facts`."""
    corpus, rows, made = facts["corpus"], facts["rows"], facts["versions"]
    family = next(row["difference"]["family"] for row in rows if "difference" in row)
    blocks = "\n".join(f"    {command}" for command in facts["commands"])
    claims = "; ".join(f"{kind} {_figure(x)}" for kind, x in facts["claims"].items() if _has(x))
    clips = corpus["folds"].values()
    lines = [
        f"# {facts['title']}",
        f"**Question.** {facts['question'].strip()}",
        f"**Finding.** {facts['finding'].strip()}",
        _table(rows, facts["reference"]),
        f"UA in %, with 95 % intervals. *Pooled*: all test clips together, the interval by the "
        f"jackknife over {corpus['unit']}. *Mean*: over {len(clips)} {corpus['unit']}. "
        f"*Difference*: of the mean to {facts['reference']}, in points, paired over "
        f"{corpus['unit']}; the intervals of a study hold together (Bonferroni, {family} rows in "
        "the first), p is Holm's. NLL and ECE are of the test clips, without a temperature.",
        f"![differences to {facts['reference']}]({facts['name']}.svg)",
        f"Choosing among the rows of the first study, mean UA of {corpus['unit']}: {claims}. "
        "Oracle chooses on test scores; minus honest it is "
        f"{100 * facts['claims']['optimism']:+.1f} points.",
        "## How it was made",
        blocks,
        f"{facts['data'].strip()} {sum(clips)} clips, {len(corpus['classes'])} classes "
        f"({', '.join(corpus['classes'])}), {len(clips)} {corpus['unit']}; "
        f"{corpus['seeds']} seeds a fold.",
        f"{facts['core_hours']:.2f} core hours in {facts['wall_hours']:.2f} hours on "
        f"{facts['machine']}; {facts['remark'].strip()} "
        + ", ".join(f"{name} {made[name]}" for name in ("raysearch", "torch", "python"))
        + f". `{facts['name']}.json` has every figure by fold; `docs/evidence/page.py` makes this "
        "page.",
    ]
    return "\n\n".join(lines) + "\n"


def _has(x: object) -> bool:
    return isinstance(x, Mapping)


def _figure(x: Mapping[str, Any]) -> str:
    """ "48.1 (39.0 to 57.2)", of fractions."""
    return f"{100 * x['mean']:.1f} ({100 * x['low']:.1f} to {100 * x['high']:.1f})"


def _table(rows: Sequence[Plain], reference: str) -> str:
    lines = [
        "| | pooled UA | mean UA | difference | p | NLL | ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        d = row.get("difference")
        between = "" if d is None else f"{100 * d['low']:+.1f} to {100 * d['high']:+.1f}"
        change = "" if d is None else f"{100 * d['mean']:+.1f} ({between})"
        p = "" if d is None else f"{d['p_holm']:.3f}" if d["p_holm"] >= 0.001 else "< 0.001"
        name = f"**{row['name']}**" if row["name"] == reference else row["name"]
        lines.append(
            f"| {name} | {_figure(row['pooled'])} | {_figure(row['ua'])} | {change} | {p} | "
            f"{row['nll']:.3f} | {100 * row['ece']:.1f} |"
        )
    return "\n".join(lines)


def plot_of(facts: Plain) -> Intervals:
    """Every row's difference to the reference."""
    marks = [
        Mark(row["name"], *(100 * row["difference"][end] for end in ("mean", "low", "high")))
        for row in facts["rows"]
        if "difference" in row
    ]
    axis = f"test UA minus that of {facts['reference']}, in points, paired 95 % intervals"
    return Intervals(facts["name"], facts["title"], axis, tuple(marks), zero=True)


def main(name: str, words: Sequence[str]) -> None:
    """Write a page, from its studies where words are given, else from its JSON."""
    file = HERE / f"{name}.json"
    if words:
        text = json.dumps(facts_of(name, words), indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(file, text + "\n")
    facts = facts_there(name)
    write_whole(HERE / f"{name}.svg", figures.svg(plot_of(facts)))
    write_whole(HERE / f"{name}.md", text_of(facts))
    print(HERE / f"{name}.md")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
