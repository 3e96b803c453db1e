"""What a reader must know before the numbers: what was searched, on what, with which cautions."""

from __future__ import annotations

from raysearch.report.document import Section
from raysearch.report.scoring import Scores
from raysearch.study.ledger import FAILED, PRUNED, RUNNING
from raysearch.study.record import Record
from raysearch.study.wording import clean, listed, many, value

_OBJECTIVES = {
    "ua": "mean validation UA",
    "wa": "mean validation WA",
    "pooled_ua": "validation UA of all folds pooled",
    "worst_ua": "validation UA of the worst quarter of folds",
}
_SIMULATED = {
    "speech": "The speech is synthetic: these scores show that the machinery works, and say "
    "nothing about people.",
    "votes": "The raters' votes are simulated, not given by listeners.",
}


def headline(record: Record) -> tuple[str, ...]:
    """Sentences: the method, the data, how it was divided, what was searched."""
    folds, classes = record.folds, record.classes
    corpus = listed(record.corpora) or "?"
    clips = many(sum(f.clips for f in folds), "rating" if record.raters else "clip")
    what = f"Method {record.method} on {corpus}: {clips}"
    if record.raters:
        what += f" by {many(len(record.raters), 'target rater')} ({', '.join(record.raters)})"
    if classes:
        what += f", {len(classes)} classes ({', '.join(classes)})"
    best = " and the best ".join(_OBJECTIVES[score.name] for score in record.objectives)
    by = {"fold": "the training part", "speaker": "each speaker"}.get(record.normalise)
    details = [
        f"{many(len(folds), 'fold')}, {record.division}",
        f"searched for the best {best}",
        f"features {listed(record.features)}" if record.features else "",
        f"z-normalised with statistics of {by}" if by else "",
        f"seed {record.seed}",
        f"{record.seeds} seeds a fold" if record.seeds > 1 else "",
    ]
    lines = [what + ".", "; ".join(x for x in details if x) + "."]
    # what was left of the space on this data, where the ledger knows it
    params = record.params if record.space is None else record.space
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


def warnings(record: Record, scores: Scores | None) -> tuple[str, ...]:
    """Cautions: what the scores do not say."""
    # a corpus that says it itself, with more detail, is not repeated
    said = " ".join(record.notes)
    words = {"speech": "synthetic", "votes": "simulated"}
    found = [
        _SIMULATED.get(kind, f"Simulated: {kind}.")
        for kind in sorted(record.simulated)
        if words.get(kind, kind) not in said
    ]
    if record.normalise == "speaker":
        found.append(
            "Features are normalised per speaker, test speakers included (transductive): the "
            "scores assume that a fair mixture of each new speaker's clips is at hand."
        )
    if record.protocol == "kfold":
        found.append(
            "Folds divide clips, not speakers: every speaker is heard in training, so the scores "
            "say nothing about new speakers."
        )
    found += record.notes
    found += scores.found.notes if scores else ()
    return tuple(dict.fromkeys(clean(x) for x in found))


def no_result(record: Record) -> Section:
    """Why there are no estimates."""
    states = record.states
    if states[RUNNING]:
        why = "No trial has finished all its folds yet, so there are no estimates."
    elif states[FAILED]:
        why = "No trial completed: there are no estimates. The reasons of the failures are below."
    elif states[PRUNED]:
        why = "Every trial was stopped early, so there are no estimates: no setting has all folds."
    else:
        why = "No trial has been run yet, so there are no estimates."
    return Section("estimates", "No result yet", (why,))
