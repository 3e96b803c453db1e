"""What a reader must know before the numbers: what was searched, on what, with which cautions."""

from __future__ import annotations

from raysearch.report.document import Section
from raysearch.report.scoring import Scores
from raysearch.study.ledger import FAILED, PRUNED, RUNNING
from raysearch.study.record import Kept
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


def headline(kept: Kept) -> tuple[str, ...]:
    """Sentences: the method, the data, how it was divided, what was searched."""
    study, folds, classes = kept.study, kept.folds, kept.classes
    corpus = listed(kept.part("corpus").get("name", "?"))
    clips = many(sum(f.clips for f in folds), "rating" if kept.raters else "clip")
    what = f"Method {study.get('method', '?')} on {corpus}: {clips}"
    if kept.raters:
        what += f" by {many(len(kept.raters), 'target rater')} ({', '.join(kept.raters)})"
    if classes:
        what += f", {len(classes)} classes ({', '.join(classes)})"
    best = " and the best ".join(_OBJECTIVES[score.name] for score in kept.objectives)
    by = {"fold": "the training part", "speaker": "each speaker"}.get(str(study.get("normalise")))
    details = [
        f"{many(len(folds), 'fold')}, {kept.division}",
        f"searched for the best {best}",
        f"features {listed(study['features'])}" if study.get("features") else "",
        f"z-normalised with statistics of {by}" if by else "",
        f"seed {study.get('seed', 0)}",
        f"{kept.seeds} seeds a fold" if kept.seeds > 1 else "",
    ]
    lines = [what + ".", "; ".join(x for x in details if x) + "."]
    # what was left of the space on this data, where the ledger knows it
    params = kept.part("params") if kept.space is None else kept.space
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


def warnings(kept: Kept, scores: Scores | None) -> tuple[str, ...]:
    """Cautions: what the scores do not say."""
    # a corpus that says it itself, with more detail, is not repeated
    said = " ".join(kept.notes)
    words = {"speech": "synthetic", "votes": "simulated"}
    found = [
        _SIMULATED.get(kind, f"Simulated: {kind}.")
        for kind in sorted(kept.simulated)
        if words.get(kind, kind) not in said
    ]
    if kept.study.get("normalise") == "speaker":
        found.append(
            "Features are normalised per speaker, test speakers included (transductive): the "
            "scores assume that a fair mixture of each new speaker's clips is at hand."
        )
    if kept.protocol == "kfold":
        found.append(
            "Folds divide clips, not speakers: every speaker is heard in training, so the scores "
            "say nothing about new speakers."
        )
    found += kept.notes
    found += scores.found.notes if scores else ()
    return tuple(dict.fromkeys(clean(x) for x in found))


def no_result(kept: Kept) -> Section:
    """Why there are no estimates."""
    states = kept.states
    if states[RUNNING]:
        why = "No trial has finished all its folds yet, so there are no estimates."
    elif states[FAILED]:
        why = "No trial completed: there are no estimates. The reasons of the failures are below."
    elif states[PRUNED]:
        why = "Every trial was stopped early, so there are no estimates: no setting has all folds."
    else:
        why = "No trial has been run yet, so there are no estimates."
    return Section("estimates", "No result yet", (why,))
