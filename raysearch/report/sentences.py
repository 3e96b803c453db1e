"""Every sentence about a study that more than one reader shows: reports, the end of `tune`, MLflow.

What an estimate means is written here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from raysearch.report.document import SHOWN, Comparison, Pair
from raysearch.report.scoring import Scores
from raysearch.report.speaker_intervals import PROTOCOLS, test_speakers
from raysearch.selection import (
    Difference,
    Estimate,
    Estimates,
    judges_of,
    lacking,
    metric_of,
)
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING
from raysearch.study.record import Record
from raysearch.study.wording import (
    amount,
    bare,
    clean,
    gap,
    grave,
    listed,
    many,
    percent,
    size,
    value,
)

STATES = {COMPLETE: "complete", FAILED: "failed", PRUNED: "stopped early", RUNNING: "running"}
"""how a trial's state is told"""

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SIMULATED = {
    "speech": "The speech is synthetic: these scores show that the machinery works, and say "
    "nothing about people.",
    "votes": "The raters' votes are simulated, not given by listeners.",
    "labels": "Wrong labels are planted in training and validation.",
}


# -- the study -----------------------------------------------------------------------------------
def headline(record: Record) -> tuple[str, ...]:
    """What was run, in two sentences: method and data; folds, trials and objective."""
    folds, classes = record.folds, record.classes
    corpus = listed(record.corpora or "?")
    # given parts, and each corpus of pairs, leave clips that nobody tests
    kind = "rating" if record.raters else "test clip" if record.protocol in PROTOCOLS else "clip"
    clips = many(sum(f.clips for f in folds), kind)
    what = f"Method {record.method} on {corpus}: {clips}"
    if record.raters:
        what += f" by {many(len(record.raters), 'target rater')} ({', '.join(record.raters)})"
    if record.continuous:
        what += f", {listed(classes)} as {'a number' if len(classes) == 1 else 'numbers'}"
    elif classes:
        what += f", {len(classes)} classes ({', '.join(classes)})"
    flip, confused = record.flip
    if flip:
        which = f"labels {' and '.join(confused)}" if confused else "labels"
        what += f", {percent(flip)} % of the {which} in training made wrong on purpose"
    ended = ", ".join(f"{n} {STATES[state]}" for state, n in record.states.items() if n)
    trials = many(len(record.trials), "trial") + (f" ({ended})" if ended else "")
    best = " and the best ".join(score.words for score in record.objectives)
    how = f"{many(len(folds), 'fold')}, {record.division}; {trials}, searched for the best {best}"
    return tuple(clean(f"{line}.") for line in (what, how))


def details(record: Record) -> tuple[str, ...]:
    """The rest of what was run: features, normalisation, seeds, what was searched and fixed."""
    by = {"fold": "the training part", "speaker": "each speaker"}.get(record.normalise)
    data = [
        f"features {listed(record.features)}" if record.features else "",
        f"z-normalised with statistics of {by}" if by else "",
        f"seed {record.seed}",
        f"{record.seeds} seeds a fold" if record.seeds > 1 else "",
    ]
    line = "; ".join(x for x in data if x)
    searched, fixed = _parameters(record)
    lines = [f"{line[0].upper()}{line[1:]}."]
    lines += [f"Searched: {', '.join(searched)}."] if searched else []
    lines += [f"Fixed: {', '.join(f'{n}={value(x)}' for n, x in fixed)}."] if fixed else []
    return tuple(clean(line) for line in lines)


def _parameters(record: Record) -> tuple[list[str], list[tuple[str, object]]]:
    """Names of the searched parameters, and the fixed ones with their values."""
    # what was left of the space on this data, where the ledger knows it
    params = record.params if record.space is None else record.space
    params = {
        n: x["const"] if isinstance(x, dict) and "const" in x else x for n, x in params.items()
    }
    searched = sorted(name for name, domain in params.items() if isinstance(domain, dict))
    return searched, [(n, x) for n, x in sorted(params.items()) if not isinstance(x, dict)]


def warnings(record: Record, scores: Scores | None) -> tuple[str, ...]:
    """What the scores do not say, the gravest first."""
    # a corpus that says it itself, with more detail, is not repeated
    notes = " ".join(record.notes)
    words = {"speech": "synthetic", "votes": "simulated", "labels": "labels are planted"}
    lines = [
        _SIMULATED.get(kind, f"Simulated: {kind}.")
        for kind in sorted(record.simulated)
        if words.get(kind, kind) not in notes
    ]
    if record.normalise == "speaker":
        lines.append(
            "Features are normalised per speaker, test speakers included (transductive): the "
            "scores assume that a fair mixture of each new speaker's clips is at hand."
        )
    if record.protocol == "kfold":
        lines.append(
            "Folds divide clips, not speakers: every speaker is heard in training, so the scores "
            "say nothing about new speakers."
        )
    lines += record.notes
    lines += scores.estimates.notes if scores else ()
    lines += _crowded_epochs(record, scores) if scores else []
    sentences = dict.fromkeys(_sentence(clean(line)) for line in lines)
    return tuple(sorted(sentences, key=lambda line: not grave(line)))


_FEW = 0.25
"""share of trainings that are best in their first epoch, or in their last, of which people are told
"""


def _crowded_epochs(record: Record, scores: Scores) -> list[str]:
    """Whether the selected setting's trainings are best at once, or would have gone on."""
    rows = record.rows_of(scores.best.number)
    runs = [run for row in rows for run in (row.repeats or [row.scores]) if "best_epoch" in run]
    first = sum(run["best_epoch"] == 1 < run["last_epoch"] for run in runs)
    last = sum(run["best_epoch"] == run["last_epoch"] > 1 for run in runs)
    of = f"of {many(len(runs), 'training')} of the selected setting"
    lines = []
    if runs and first >= _FEW * len(runs):
        lines.append(
            f"the first epoch was the best of {first} {of}: such networks have hardly learnt; a "
            "larger params.patience or params.patience_steps, or another step size, may do better"
        )
    if runs and last >= _FEW * len(runs):
        lines.append(
            f"the last epoch allowed was the best of {last} {of}: a larger params.epochs may do "
            "better"
        )
    return lines


def _sentence(text: str) -> str:
    """`text` with a capital, where it begins with a plain word, and a full stop."""
    word = text.partition(" ")[0]
    if word.isalpha() and word.islower():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


# -- the estimates ---------------------------------------------------------------------------------
def meanings(
    unit: str = "speaker", units: str = "speakers", *, folds: int = 0, unjudged: int = 0
) -> dict[str, str]:
    """What each estimate is, in one sentence.

    Args:
        unit: what a fold holds out.
        units: its plural.
        folds: of the study.
        unjudged: those that no other fold can judge, as all test or validate on what they hold out:
            under loco every fold, under validation=share some.
    """
    if folds == 1:
        same = "The same as honest: with one test part there is no choice across folds."
        return {
            "honest": "the test part is scored with the setting that has the best score on the "
            "validation part. The figure to quote.",
            "nested": same,
            "selected": same,
            "oracle": "the setting with the best test score. Too high, and what many papers print.",
            "optimism": "oracle minus honest.",
        }
    honest = (
        f"each {unit} is scored with the setting that has the best validation score over the folds "
        f"that neither test nor validate on that {unit}"
    )
    nested = "Honest too, but a poorer way to choose."
    if unjudged and unjudged == folds:
        honest = (
            f"each {unit} is scored with the setting that has the best validation score in its own "
            f"fold, as every other fold tests or validates on that {unit}"
        )
        nested = "The same as honest here, by construction."
    elif unjudged:
        honest += f"; over its own fold where there is none, in {unjudged} of {folds} folds"
        nested = (
            f"Honest too. In {unjudged} of {folds} folds the same as honest, by construction; in "
            "the others a poorer way to choose."
        )
    return {
        "honest": f"{honest}. The figure to quote.",
        "nested": f"each {unit} is scored with the setting that has the best validation score in "
        f"its own fold. {nested}",
        "selected": "the one setting with the best validation score. A little too high where test "
        f"{units} also served for validation.",
        "oracle": "the setting with the best test score. Too high, and what many papers print.",
        "optimism": "oracle minus honest.",
    }


def choosing(record: Record) -> str:
    """By what the setting for a held-out group is chosen, after "chosen anew for every …"."""
    groups = [fold.groups for fold in record.folds]
    unjudged = sum(not judges_of(f, groups) for f in range(len(groups)))
    if unjudged == len(groups):
        return "by the validation score of its own fold"
    text = f"by the validation scores of folds in which that {record.unit} had no part"
    return text + (" (of its own fold, where there is none)" if unjudged else "")


def figure(metric: str, estimate: Estimate) -> str:
    """An estimate with its interval: "61.2 % (55.0 to 67.3)"."""
    within = _within(metric, estimate)
    return f"{amount(metric, estimate.mean)}{f' ({within})' if within else ''}"


def _within(metric: str, estimate: Estimate) -> str:
    """The interval of an estimate, cut to what it can be; "" where it has none."""
    if estimate.low is None or estimate.high is None:
        return ""
    least, greatest = metric_of(metric).ends
    low, high = max(least, estimate.low), min(greatest, estimate.high)
    return f"{bare(metric, low)} to {bare(metric, high)}"


def honest_figures(estimates: Estimates, metrics: Sequence[str]) -> str:
    """The honest estimate in one line: "honest estimate: UA 61.2 % (55.0 to 67.3), WA …".

    Args:
        estimates: of a study.
        metrics: those that are told.
    """
    each = [f"{metric_of(m).heading} {figure(m, estimates.honest[m])}" for m in metrics]
    if estimates.pooled is not None:
        each.insert(0, f"pooled UA {figure('ua', estimates.pooled)}")
    return f"honest estimate: {', '.join(each)}"


def result(record: Record, scores: Scores) -> str:
    """The figure to quote, with what it rests on."""
    pooled = scores.estimates.pooled
    head = pooled or scores.estimates.honest[scores.metric]
    m = "ua" if pooled else scores.metric
    metric = "UA of all clips pooled" if pooled else metric_of(m).heading
    speakers = test_speakers(record)
    how = f" by the cluster bootstrap over {speakers} test speakers:" if speakers else ""
    within = f" (95 % interval{how} {inside})" if (inside := _within(m, head)) else ""
    stopped = f" ({scores.stopped} of them stopped early)" if scores.cut else ""
    on = f"{record.units} the model has never heard"
    if record.unit == "part":
        on = "clips of held-out parts"
    return (
        f"Honest result: {amount(m, head.mean)} {metric} on {on}{within}, from "
        f"{many(len(scores.trials), 'setting')}{stopped} and "
        f"{many(len(scores.estimates.judges), 'fold')}."
    )


def pooling(record: Record, scores: Scores) -> tuple[str, ...]:
    """Why the pooled UA is the headline; empty where it is not."""
    if scores.estimates.pooled is None:
        return ()
    numbers = [scores.trials[c].number for c in scores.estimates.honest_choices]
    rows = [record.cells[n, fold.name] for n, fold in zip(numbers, record.folds, strict=True)]
    few, one = lacking([row.confusion for row in rows])
    mean = scores.estimates.honest["ua"].mean
    return (
        f"{few} of {many(len(rows), 'fold')} lack classes ({one} have one alone). The UA of a fold "
        f"is the mean recall of the classes that it has, so the mean of the table ({percent(mean)} "
        f"% UA) is no UA of {len(record.classes) or 'all'} classes. Where at least half of the "
        "folds lack classes, the headline is the UA of all folds' clips together, its interval by "
        f"the jackknife over {record.units}.",
    )


def optimism(scores: Scores, unit: str = "speaker") -> str:
    """What choosing on test scores would add to the claim, in one sentence.

    Args:
        scores: of the study.
        unit: what a fold holds out.
    """
    if len(scores.trials) == 1:
        return "With one setting there is nothing to choose, so all four estimates agree."
    rows = [metric_of(m) for m in scores.shown]
    gaps = {x.name: round(scores.estimates.optimism[x.name], 3) for x in rows}
    more = " and ".join(size(m, by) for m, by in gaps.items() if by > 0)
    less = " and ".join(size(m, -by) for m, by in gaps.items() if by < 0)
    plain = all(x.higher for x in rows)
    claim = (
        f"choosing on the test scores (oracle) would claim {more} {'more' if plain else 'better'}"
    )
    above = (
        f"honest is {less} {'above' if plain else 'better than'} the oracle, as it may take "
        f"another setting for every {unit}"
    )
    if more and less:
        return f"Quote honest: {claim}; {above}."
    if more:
        return f"Quote honest: {claim}."
    if less:
        return f"Quote honest: here {above}, and the oracle has one for all."
    return "Quote honest: here choosing on the test scores (oracle) would claim no more."


# -- differences -----------------------------------------------------------------------------------
def difference(
    d: Difference,
    a: str,
    b: str,
    *,
    p: float | None = None,
    unit: str = "speakers",
    metric: str = "ua",
) -> str:
    """What a paired difference shows, in one sentence.

    Args:
        d: a - b, from `compare`.
        a, b: what was compared.
        p: the p value after Holm's correction where the test is one of a family (default: the
            paired t test's own).
        unit: what a fold holds out, in the plural ("speakers", "sessions", "corpora", "folds").
        metric: of what.
    """
    unit = paired_over(d, unit)
    of = " points" if metric_of(metric).percent else f" {metric_of(metric).heading}"
    if d.n > 1 and d.p is None:
        return (
            f"{a} and {b}: the difference is {gap(metric, d.mean)}{of} for each of {_number(d.n)} "
            f"{unit}. Without a spread there is no interval and no test."
        )
    if d.low is None or d.high is None or d.p is None:
        return f"{a} and {b}: one fold cannot show a difference."
    interval = f"95 % interval {gap(metric, d.low)} to {gap(metric, d.high)}"
    corrected = "" if p is None else " after Holm's correction"
    p = d.p if p is None else p
    chance = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    if p < SHOWN:
        verb = "higher" if d.mean > 0 else "lower"
        return (
            f"{a} scores {bare(metric, abs(d.mean))}{of} {verb} than {b} "
            f"({interval}; {chance}{corrected})."
        )
    return (
        f"{a} and {b}: no difference that {_number(d.n)} {unit} can show "
        f"({gap(metric, d.mean)}{of}, {interval}; {chance}{corrected})."
    )


def paired_over(d: Difference, units: str) -> str:
    """What a difference is over, in the plural: what folds hold out, or test speakers."""
    return "test speakers" if d.speakers else units


def no_difference(a: str, others: Sequence[str], n: int, *, unit: str = "speakers") -> str:
    """One sentence where none of several settings differs from `a` by what `n` folds can show."""
    return f"{a} and each of {', '.join(others)}: no difference that {_number(n)} {unit} can show."


def family(pairs: Sequence[Pair], unit: str) -> tuple[str, ...]:
    """What pairs of one family show: a sentence each, or one for several that show nothing.

    Args:
        pairs: of one comparison.
        unit: what a fold holds out, in the plural.
    """
    lines = [pair.sentence for pair in pairs if pair.shown or pair.p is None]
    rest = [pair for pair in pairs if not pair.shown and pair.p is not None]
    for a in dict.fromkeys(pair.a for pair in rest):
        mine = [pair for pair in rest if pair.a == a]
        d = mine[0].difference
        if len(mine) == 1:
            lines += [pair.sentence for pair in mine]
        else:
            over = paired_over(d, unit)
            lines.append(no_difference(a, [pair.b for pair in mine], d.n, unit=over))
    return tuple(clean(line) for line in lines)


def comparison(one: Comparison, unit: str) -> tuple[str, ...]:
    """What a comparison says: of the settings, all pairs; of a parameter, those of its best value.

    Args:
        one: the comparison.
        unit: what a fold holds out, in the plural.
    """
    if one.parameter is None:
        return family(one.pairs, unit)
    best = f"{one.parameter}={one.levels[0].name}"
    return family([pair for pair in one.pairs if pair.a == best], unit)


def few_settings(one: Comparison) -> str:
    """How few settings a comparison of values rests on."""
    each = ", ".join(f"{level.name} in {level.settings}" for level in one.levels)
    return clean(f"Settings tried: {each}. So few say little; more trials say more.")


def _number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)
