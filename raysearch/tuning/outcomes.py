"""Every test clip's outcome: its label, votes, and the probabilities by each estimate's choice.

Test labels lie in no other file that a study leaves. They are written once scoring is done, and no
stage reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.corpus import RECOGNISED
from raysearch.errors import BadInput
from raysearch.report.clip_means import MEAN, PLANTED
from raysearch.report.scoring import Scores, score
from raysearch.selection.measures import distributions
from raysearch.stages.atomic import replacing
from raysearch.stages.folds import Fold
from raysearch.stages.store import Damaged, Store
from raysearch.study.folder import StudyFolder, store_of
from raysearch.study.ledger import FoldRow
from raysearch.study.record import Record
from raysearch.tuning.clip_groups import ATTRIBUTES
from raysearch.tuning.prepare import StudyInputs, prepare

if TYPE_CHECKING:
    import pandas as pd

    from raysearch.data.corpora import Corpus

Choices = Mapping[str, Sequence[int]]
"""by name, the trial of each fold; of `mean`, its trials"""
_MEMBERS = 10
"""settings whose mean probabilities are `mean`, at most"""
_CHOICES, _LACKING = "choices", "lacking"
"""of the frame's attributes: what was chosen, and folds of which nothing is known"""


def predictions(folder: StudyFolder) -> pd.DataFrame:
    """A row a test clip of a fold (and a seed): what it is, and what was predicted of it.

    Columns: `clip`, `fold`, `rater` and `seed` where there are several, `corpus`, `speaker`,
    `session`, the columns of groups (sex, ...), `recognised` (by listeners), `label`, `planted`
    (the label that was learnt from, where a study plants wrong ones), `votes.CLASS` where there are
    votes; then for each choice (`honest`, `nested`, `selected`, `oracle`, and `baseline`, the first
    setting that was enqueued): the predicted class, `CHOICE_trial`, `CHOICE_temperature` (of the
    fold's validation clips) and `CHOICE.CLASS`, the probabilities. `oracle_NAME` is the oracle of
    another metric that the report shows, where it is another trial. `mean.CLASS` are the mean
    probabilities of the ten settings (of all, where there are fewer) that are best by validation;
    numbers have none. Clips that are not scored are left out.

    Args:
        folder: of a study, finished or not.

    Raises:
        BadInput: no trial is complete, or the corpus is needed and not there, or has changed.
    """
    record = Record.read(folder)
    scores = score(record)
    if scores is None:
        raise BadInput(f"study={record.name} has no complete trial, so there are no predictions")
    frame = _kept(folder, _choices(scores))
    if frame is None:
        study = folder.study("quiet=true")
        inputs = prepare(study)
        folder.check_fingerprint(study, inputs.fingerprint)
        frame = _written(folder, inputs, record, scores)
    return frame


def kept_predictions(folder: StudyFolder) -> pd.DataFrame | None:
    """Those that lie in the folder, where they are of the study as it is now; None otherwise."""
    scores = score(Record.read(folder))
    return None if scores is None else _kept(folder, _choices(scores))


def keep_predictions(
    folder: StudyFolder, inputs: StudyInputs, record: Record
) -> pd.DataFrame | None:
    """The predictions, written into a study's folder where they are not there; None before any."""
    scores = score(record)
    if scores is None:
        return None
    frame = _kept(folder, _choices(scores))
    return _written(folder, inputs, record, scores) if frame is None else frame


def _written(
    folder: StudyFolder, inputs: StudyInputs, record: Record, scores: Scores
) -> pd.DataFrame:
    frame = _frame(inputs, record, _choices(scores))
    with replacing(folder.predictions_file) as aside:
        frame.to_parquet(aside, index=False)
    return frame


def _kept(folder: StudyFolder, choices: Choices) -> pd.DataFrame | None:
    """What an earlier call wrote, where it is of these choices and whole."""
    import pandas as pd

    if not folder.predictions_file.is_file():
        return None
    frame = pd.read_parquet(folder.predictions_file)
    same = frame.attrs.get(_CHOICES) == {name: list(trials) for name, trials in choices.items()}
    return frame if same and not frame.attrs.get(_LACKING) else None


def _choices(scores: Scores) -> dict[str, list[int]]:
    """The trials that each estimate chose, by fold."""
    e, k = scores.estimates, len(scores.estimates.judges)
    rows = {"honest": e.honest_choices, "nested": e.nested_choices, "selected": (e.best,) * k}
    first = e.oracle_rows[scores.metric]
    rows["oracle"] = (first,) * k
    for m in scores.shown:
        if e.oracle_rows[m] != first:
            rows[f"oracle_{m}"] = (e.oracle_rows[m],) * k
    if scores.baseline is not None:
        rows["baseline"] = (scores.baseline,) * k
    rows[MEAN] = tuple(scores.order[:_MEMBERS])
    return {name: [scores.trials[c].number for c in each] for name, each in rows.items()}


def _frame(inputs: StudyInputs, record: Record, choices: Choices) -> pd.DataFrame:
    import pandas as pd

    store, members = Store(store_of(inputs.study)), choices[MEAN]
    single = {name: trials for name, trials in choices.items() if name != MEAN}
    parts, lacking = [], []
    for f, (fold, answers) in enumerate(zip(inputs.folds, inputs.answers(), strict=True)):
        truth = answers.unseen[answers.selected :][: answers.test]
        known = np.isfinite(truth).all(axis=1) if answers.continuous else truth >= 0
        scored = np.flatnonzero(known)
        facts = _facts(inputs, fold, truth).iloc[scored]
        every = {*members, *(trials[f] for trials in single.values())}
        rows = {t: record.cells.get((t, fold.name)) for t in sorted(every)}
        for seed in range(record.seeds):
            outcomes = {
                t: p[answers.selected :][: answers.test][scored]
                for t, row in rows.items()
                if row is not None
                and (p := _probabilities(store, row, seed, record.seeds)) is not None
            }
            columns = _mean(outcomes, members, inputs.corpus)
            for name, t in [(name, trials[f]) for name, trials in single.items()]:
                p = outcomes.get(t, np.full((len(scored), len(record.classes)), np.nan))
                columns |= _columns(name, t, rows[t], seed, p, inputs.corpus)
            sought = {name: [trials[f]] for name, trials in single.items()} | {MEAN: members}
            lacking += [
                f"{name} of {fold.name}"
                for name, trials in sought.items()
                if not outcomes.keys() >= set(trials)
            ]
            part = facts.assign(**columns)
            if record.seeds > 1:
                part.insert(2, "seed", seed)
            parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = {_CHOICES: {n: list(trials) for n, trials in choices.items()}, _LACKING: lacking}
    return frame


def _facts(inputs: StudyInputs, fold: Fold, truth: NDArray[Any]) -> pd.DataFrame:
    """What is known of the test clips of a fold, in their order."""
    import pandas as pd

    corpus = inputs.corpus
    table = corpus.table.iloc[fold.test]
    frame = pd.DataFrame({"clip": table["id"].to_numpy(), "fold": fold.name})
    if fold.rater:
        frame["rater"] = fold.rater
    more = dict.fromkeys([*ATTRIBUTES, *inputs.study.groups, RECOGNISED])
    for name in ("corpus", "speaker", "session", *(x for x in more if x in table)):
        if (corpus.table[name].astype(str) != "").any():
            frame[name] = table[name].astype(str).to_numpy()
    if corpus.numbers:
        return frame.assign(**dict(zip(corpus.numbers, truth.T, strict=True)))
    names = np.array([*corpus.classes, ""], dtype=object)
    frame["label"] = names[truth]
    if inputs.planted is not None:
        frame[PLANTED] = names[inputs.planted.codes[fold.test]]
    if corpus.votes is not None:
        for name, votes in zip(corpus.classes, corpus.votes[fold.test].T, strict=True):
            frame[f"votes.{name}"] = votes
    return frame


def _mean(
    outcomes: Mapping[int, NDArray[np.float32]], members: Sequence[int], corpus: Corpus
) -> dict[str, Any]:
    """The mean probabilities of those trials whose outcomes are there; {} of numbers, or none."""
    each = [distributions(outcomes[t]) for t in members if t in outcomes]
    if corpus.numbers or not each:
        return {}
    mean = np.stack(each).mean(axis=0).astype(np.float32)
    return {f"{MEAN}.{name}": mean[:, k] for k, name in enumerate(corpus.outputs)}


def _columns(
    name: str,
    trial: int,
    row: FoldRow | None,
    seed: int,
    p: NDArray[np.float32],
    corpus: Corpus,
) -> dict[str, Any]:
    """What a choice predicts of a fold's test clips."""
    scores = {} if row is None else (row.repeats[seed] if row.repeats else row.scores)
    each = {f"{name}.{output}": p[:, k] for k, output in enumerate(corpus.outputs)}
    if corpus.numbers:
        return {f"{name}_trial": trial, **each}
    known = np.isfinite(p).all(axis=1)
    best = np.where(known, np.nan_to_num(p).argmax(axis=1), -1)
    return {
        name: np.array([*corpus.classes, ""], dtype=object)[best],
        f"{name}_trial": trial,
        f"{name}_temperature": scores.get("temperature", np.nan),
        **each,
    }


def _probabilities(store: Store, row: FoldRow, seed: int, seeds: int) -> NDArray[np.float32] | None:
    """[n, k] of what one training of a fold predicted; None where the store has it no more."""
    each = len(row.stages) // seeds
    try:
        entry = store.get(row.stages[(seed + 1) * each - 1].key)
    except Damaged:
        return None
    return None if entry is None else entry[0].arrays["test"]


def incomplete(frame: pd.DataFrame) -> str:
    """What predictions lack, in a sentence; "" where they are whole."""
    lacking: list[str] = frame.attrs.get(_LACKING, [])
    if not lacking:
        return ""
    few = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
    return (
        f"predictions lack the probabilities of {few}: the trial did not run the fold, or the "
        "store has it no more; the same tune command computes what the store lost"
    )
