"""What a person must know of a study before it runs: what its scores say nothing about, and what
the corpus cannot serve."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.errors import BadInput
from raysearch.search.sampler import Sampler
from raysearch.selection import SHARE, Score
from raysearch.stages.divisions import COLUMNS, in_no_part, sides, unknown_speakers, values_of
from raysearch.stages.folds import Fold
from raysearch.stages.grouping import whole_groups
from raysearch.study import Study
from raysearch.study.space import Scalar, Space
from trainables.stage import Method

if TYPE_CHECKING:
    from raysearch.data.corpora import Corpus

_REMEDIES = {
    "votes": "rater votes, and the corpus has none; choose a corpus with votes, or let "
    "votes=simulate draw some",
    "unlabelled": "unlabelled speech in every fold, and a fold has none beside what it holds out; "
    "give corpus.unlabelled=NAME",
    "corpora": "two or more corpora; give corpus=[NAME, NAME]",
}


def corpus_facts(corpus: Corpus, folds: Sequence[Fold]) -> frozenset[str]:
    """What the data of every fold has, in the words that spaces and methods use."""
    facts = set()
    if corpus.votes is not None:
        facts.add("votes")
    if all(len(fold.unlabelled) for fold in folds):
        facts.add("unlabelled")
    if corpus.table.loc[corpus.table["label"] != "", "corpus"].nunique() > 1:
        facts.add("corpora")
    return frozenset(facts)


def check_kind(study: Study, method: Method) -> None:
    """See that the method predicts what the task asks for, and that objectives can score it.

    Raises:
        BadInput: it does not, or they cannot.
    """
    kind, problems = study.task.kind, []
    if kind not in method.kinds:
        problems.append(
            f"method={method.name} predicts {' or '.join(method.kinds)}, but task.kind={kind}; "
            + (
                "take space=attributes"
                if study.task.continuous
                else "write task={name: valence, kind: continuous}"
            )
        )
    for name in study.objective:
        if Score(name).row.continuous != study.task.continuous:
            problems.append(
                f"objective={name} scores {'classes' if study.task.continuous else 'numbers'}, "
                f"but task.kind={kind}; take one of "
                + ("ccc, rmse, mae, pooled_ccc" if study.task.continuous else "ua, wa, pooled_ua")
            )
    if problems:
        raise BadInput(problems)


def check_targets(study: Study, method: Method) -> None:
    """See that every setting of the space makes targets of the kind that the task asks for.

    Raises:
        BadInput: one does not.
    """
    if method.kind_of is None:
        return
    space = study.search_space(method)
    for setting in space.examples():
        kind = method.kind_of(method.resolve(setting))
        if kind != study.task.kind:
            raise BadInput(
                f"params.strategy={setting.get('strategy')} makes targets of the kind {kind}, but "
                f"task.kind={study.task.kind}; take a strategy of that kind, of those that "
                f"python -m raysearch plan method={method.name} and its help list: "
                f"{', '.join(map(str, method.params['strategy'].choices or ()))}"
            )


def check_needs(method: Method, space: Space, facts: frozenset[str]) -> None:
    """See that the corpus can serve every value that the space may propose.

    Raises:
        BadInput: it cannot; one problem a value and need.
    """
    constants = space.constants()
    problems: list[str] = []
    for setting in space.examples():
        searched = {name: value for name, value in setting.items() if name not in constants}
        what = "the pinned settings need"
        for name, value in searched.items():
            what = f"params.{name}={value} needs"
        lacking = sorted(method.needs(method.resolve(setting)) - facts)
        problems += [f"{what} {_REMEDIES.get(need, need)}" for need in lacking]
        if problems and not searched:
            break  # every other setting has the pinned ones too
    if problems:
        raise BadInput(problems)


def check_outer(method: Method, space: Space, enqueued: Iterable[Mapping[str, Scalar]]) -> None:
    """See that a search can be kept from hearing one group.

    Raises:
        BadInput: it cannot.
    """
    problem = ""
    if method.per_rater:
        problem = f"method={method.name} has folds for each rater of a clip, which cannot"
    settings = [method.resolve(example) for example in space.examples(enqueued)]
    if not problem and _across_folds(method, settings):
        problem = (
            f"method={method.name} has settings whose stages read other folds, which cannot; fix "
            "the parameter that makes them so"
        )
    if problem:
        raise BadInput(
            f"search.outer=true keeps each held-out group out of a search of its own, but {problem}"
            if "fix" in problem
            else f"search.outer=true keeps each held-out group out of a search of its own, but "
            f"{problem}; leave it out"
        )


def cautions(
    study: Study,
    method: Method,
    space: Space,
    enqueued: Iterable[Mapping[str, Scalar]],
    corpus: Corpus,
    folds: Sequence[Fold],
) -> list[str]:
    """Sentences that a person must read before the scores.

    Args:
        study: what is run.
        method: of the study.
        space: what this corpus can serve of it.
        enqueued: settings to be tried first.
        corpus: as loaded.
        folds: of the study.
    """
    settings = [method.resolve(example) for example in space.examples(enqueued)]
    notes = []
    notes += [_across_folds(method, settings), _shared_sentences(corpus, folds)]
    if study.protocol.name in COLUMNS:
        values = values_of(corpus.table, study.protocol.name, study.protocol.column)
        notes += sides(folds, corpus.table, values)
        if study.protocol.name == "split":
            notes += in_no_part(folds, values, corpus.labelled)
    if any(name.endswith("patience") for name in method.params):
        notes.append(_stopping(study))
    notes += [note for setting in settings for note in method.notes(setting)]
    notes.append(_half_precision(settings))
    return [note for note in notes if note]


def _half_precision(settings: Sequence[Mapping[str, object]]) -> str:
    """In what the networks' sums are, where that is not float32 alone."""
    names = (name for one in settings for name in one if name.split("_")[-1] == "precision")
    values = {str(one[name]) for name in dict.fromkeys(names) for one in settings}
    if values <= {"fp32"}:
        return ""
    return (
        f"networks' sums are in {' or '.join(sorted(values))} (precision), weights and losses in "
        "float32: scores differ from those of a study in fp32"
    )


def _stopping(study: Study) -> str:
    """Whether the speakers that score a setting stop its training too."""
    if study.validation.select:
        return (
            f"validation.select={study.validation.select}: the training is stopped by the "
            "validation speakers, and settings are scored on further ones"
        )
    return (
        "settings are scored on the validation speakers that also stop the training, which "
        "flatters validation scores (not test scores); validation.select=1 keeps them apart"
    )


def class_cautions(
    study: Study,
    corpus: Corpus,
    truths: Sequence[NDArray[np.int64]],
) -> list[str]:
    """What test groups that lack classes do to the scores, and speakers of one class to features.

    Args:
        study: what is run.
        corpus: as loaded.
        truths: by fold, the class of each test clip; -1 where it is not scored.
    """
    if study.normalise == "speaker" and unknown_speakers(corpus.table).any():
        raise BadInput(
            "normalise=speaker needs the speaker of every clip, but some are not known; use "
            "normalise=fold"
        )
    if corpus.numbers:
        return []
    k = len(corpus.classes)
    each = [len(set(truth[truth >= 0].tolist())) for truth in truths]
    few, one = sum(n < k for n in each), sum(n == 1 for n in each)
    notes = []
    if few:
        text = (
            f"{few} of {len(each)} folds test clips of fewer than {k} classes ({one} of one "
            "alone): the UA of such a fold is a mean over fewer recalls"
        )
        if few >= SHARE * len(each):
            text += ", so that the report's headline is the UA of all clips pooled"
        if "pooled_ua" not in study.objective:
            text += "; objective=pooled_ua chooses settings by all validation clips together"
        if (count := _whole_groups(study, corpus)) is not None:
            text += f"; protocol.group={count} tests groups of speakers that have every class"
        notes.append(text)
    if study.normalise == "speaker":
        labelled = corpus.table[corpus.table["label"] != ""]
        classes = labelled.groupby("speaker")["label"].nunique()
        alone = int((classes == 1).sum())
        if alone and k > 1:
            notes.append(
                f"normalise=speaker: {alone} of {len(classes)} speakers have clips of one class "
                "alone, and statistics of such a speaker erase what is to be told apart; use "
                "normalise=fold"
            )
    return notes


def _whole_groups(study: Study, corpus: Corpus) -> int | None:
    """The groups to propose where speakers lack classes; None where there are none."""
    column = {"loso": "speaker", "loseso": "session"}.get(study.protocol.name)
    if column is None or study.protocol.group is not None:
        return None
    table = corpus.table[corpus.table["label"] != ""]
    units, labels = (table[name].to_numpy(dtype=str) for name in (column, "label"))
    circle = study.validation.rule == "next"
    least = 2 + study.validation.speakers + study.validation.select if circle else 2
    return whole_groups(units, labels, len(corpus.classes), least)


def grid_caution(study: Study, sampler: Sampler) -> list[str]:
    """That `trials` ends a grid before its last point."""
    if study.sampler != "grid" or sampler.size is None or sampler.size <= study.trials:
        return []
    return [
        f"sampler=grid: the space has {sampler.size} points and trials={study.trials} runs the "
        f"first {study.trials}; trials={sampler.size} runs every point"
    ]


def _across_folds(method: Method, settings: Iterable[Mapping[str, object]]) -> str:
    """Whether the stages of some setting read those of other folds; '' where none does."""
    for setting in settings:
        if _reads_other_folds(method, setting):
            break
    else:
        return ""
    leak = (
        "labels of the held-out utterances reach training through the predictions of other folds' "
        "models"
    )
    # the parameter that makes the difference: another choice of it reads nothing
    for name, param in method.params.items():
        for other in param.choices or ():
            if not _reads_other_folds(method, {**setting, name: other}):
                return f"{name}={setting[name]}: {leak}; compare {name}={other}"
    return f"{method.name}: {leak}"


def _reads_other_folds(method: Method, setting: Mapping[str, object]) -> bool:
    return any(node.across for node in method.graph(setting))


def _shared_sentences(corpus: Corpus, folds: Sequence[Fold]) -> str:
    """How many of the test speakers' sentences training speakers say; '' where it is unknown."""
    counts = [shared_sentences(spoken, f) for spoken in [spoken_in(corpus)] for f in folds]
    test, shared = (sum(each) for each in zip(*counts, strict=True))
    if not test:
        return ""
    return (
        f"{shared / test:.0%} of the test speakers' sentences are also spoken in "
        "training: the scores say nothing about new sentences"
        if shared
        else "no sentence of the test speakers is spoken in training"
    )


def spoken_in(corpus: Corpus) -> NDArray[np.int64]:
    """[N] a number for the sentence of each clip, from 1 on; 0 where it is not known.

    Sentences are compared by their words: not by case, signs, blanks or forms of a letter.
    """
    texts = corpus.table["transcript"]
    words = {text: _plain(text) for text in texts.unique()}
    codes, _ = pd.factorize(texts.map(words).replace("", None))
    return np.asarray(codes + 1, dtype=np.int64)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def shared_sentences(spoken: NDArray[np.int64], fold: Fold) -> tuple[int, int]:
    """How many sentences the test clips of a fold say, and how many of these are in training.

    Args:
        spoken: [N], of `spoken_in`.
        fold: of the study.
    """
    parts = []
    for rows in (fold.test, fold.train):
        there = np.zeros(int(spoken.max(initial=0)) + 1, dtype=bool)
        there[spoken[rows]] = True
        there[0] = False
        parts.append(there)
    return int(parts[0].sum()), int((parts[0] & parts[1]).sum())
