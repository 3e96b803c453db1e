"""From a study's configuration to what its stages read: corpus, features, folds and keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data import corpora, features
from raysearch.errors import BadInput
from raysearch.report import Layers, Truth
from raysearch.search.sampler import Sampler
from raysearch.stages import Answers, Context, Dataset, Moments, Runtime, context
from raysearch.stages.folds import Fold, divide
from raysearch.stages.methods import method as find_method
from raysearch.stages.store import Store
from raysearch.study import Study
from raysearch.study.folder import store_of
from raysearch.study.space import Space
from raysearch.tuning.target_raters import for_targets, of_rated_speakers, ratings_of
from trainables.stage import Method

if TYPE_CHECKING:
    from raysearch.data.corpora import Corpus


@dataclass(frozen=True)
class Material:
    """All that follows from a study's configuration and the corpus on the disk."""

    study: Study
    method: Method
    space: Space
    """the searched and pinned parameters that this corpus can serve"""
    enqueued: tuple[tuple[str, Mapping[str, Any]], ...]
    """(name or '', setting) of those to be tried first, as far as this corpus can serve them"""
    corpus: Corpus
    folds: tuple[Fold, ...]
    fingerprint: str
    """of the corpus: ids, labels, votes and audio"""
    notes: tuple[str, ...]
    """what the person must be told: synthetic speech, simulated votes, what was left out"""
    ratings: corpora.Ratings | None = None
    """who rated what, where the method learns one rater's perception"""

    @property
    def feature_folder(self) -> Path:
        return Path(self.study.home) / "store" / "features"

    def dataset(self, **extraction: Any) -> Dataset:
        """Extract what is missing and lay everything side by side.

        Raises:
            BadInput: the method does not take what a feature set gives, or a model is missing.
        """
        sets = features.extract(
            self.study.features, self.corpus, folder=self.feature_folder, **extraction
        )
        matrices = [one.matrix for one in sets if one.starts is None]
        if not matrices:
            matrices = [np.empty((len(self.corpus.table), 0), dtype=np.float32)]
        x = matrices[0] if len(matrices) == 1 else np.hstack(matrices)
        frames = {one.base: one.sequences for one in sets if one.starts is not None}
        scaled = [one.base for one in sets if one.starts is not None and one.normalise]
        return replace(
            self._dataset(x),
            frames=frames,
            moments={name: Moments.of(frames[name]) for name in scaled},
        )

    def feature_notes(self) -> tuple[str, ...]:
        """What the feature sets must tell: of untrained weights, of transcripts that are missing.

        Raises:
            BadInput: the method does not take what a feature set gives, or a model is missing.
        """
        return features.check(self.study.features, self.corpus, set(self.method.inputs))

    def sampler(self) -> Sampler:
        """The sampler of this study, with no history yet."""
        return Sampler(
            self.space,
            kind=self.study.sampler,
            seed=self.study.seed,
            enqueue=[setting for _, setting in self.enqueued],
            objectives=self.study.objective,
        )

    def context(self, dataset: Dataset | None = None) -> Context:
        """What keys are made of; needs no features, only their names and versions.

        Args:
            dataset: of other folds than the study's.
        """
        known = features.known()
        versions = [f"{name}-{known[name].version()}" for name in self.study.features]
        audio = features.row_digests(self.study.features, self.corpus)
        if dataset is None:
            dataset = self._dataset(np.empty((len(self.corpus.table), 0), dtype=np.float32))
        return context(dataset, audio, versions, self.study.seed)

    def answers(self) -> tuple[Answers, ...]:
        """By fold, the labels that scoring alone may see."""
        if self.ratings is not None:
            return tuple(self._rater_answers(fold, self.ratings) for fold in self.folds)
        y = self.corpus.codes
        sets = self.corpus.sets
        names = {} if sets is None else {"A": "A", "B": "B", "AB": "A+B"}
        agreed = {short: sets.where(name) for short, name in names.items()} if sets else {}
        return tuple(
            replace(
                self._answers(fold, y),
                sets={name: inside[fold.test] for name, inside in agreed.items()},
            )
            for fold in self.folds
        )

    def _answers(self, fold: Fold, y: NDArray[np.int64]) -> Answers:
        copies = 1 + len(self.speaker_clips)
        return Answers(
            validation=y[fold.validation],
            unseen=np.concatenate([y[fold.select], *[y[fold.test]] * copies]),
            selected=len(fold.select),
            test=len(fold.test),
        )

    def _rater_answers(self, fold: Fold, ratings: corpora.Ratings) -> Answers:
        return self._answers(fold, ratings.codes[:, ratings.raters.index(fold.rater)])

    @property
    def speaker_clips(self) -> tuple[int, ...]:
        """From how few clips a test speaker's statistics are also taken."""
        return self.study.speaker_clips if self.study.normalise == "speaker" else ()

    def split_table(self) -> list[dict[str, Any]]:
        """One row a fold: who is where, and how many sentences test shares with training."""
        table = self.corpus.table
        speakers = table["speaker"].to_numpy(dtype=str)
        sentences = table["transcript"].to_numpy(dtype=str)
        rows = []
        for fold in self.folds:
            test = set(sentences[fold.test]) - {""}
            row = {
                "name": fold.name,
                "index": fold.index,
                "test_groups": sorted(fold.test_groups),
                "val_groups": sorted(fold.val_groups),
                "n_train": len(fold.train),
                "n_validation": len(fold.validation),
                "n_select": len(fold.select),
                "n_test": len(fold.test),
                **self._rated(fold),
                "speakers_train": len(set(speakers[fold.train])),
            }
            if test:
                shared = test & set(sentences[fold.train])
                row |= {"test_sentences": len(test), "also_in_training": len(shared)}
            rows.append(row)
        return rows

    def _rated(self, fold: Fold) -> dict[str, Any]:
        """The rater of a fold, and how many of its clips that rater rated."""
        if self.ratings is None:
            return {}
        mine = self.ratings.codes[:, self.ratings.raters.index(fold.rater)] >= 0
        parts = ("train", "validation", "select", "test")
        return {"rater": fold.rater} | {
            f"n_{part}": int(mine[getattr(fold, part)].sum()) for part in parts
        }

    def _dataset(self, x: Any) -> Dataset:
        table = self.corpus.table
        votes, outside, rule = self.corpus.votes, self.corpus.outside, self.corpus.rules.outside
        if votes is not None and outside is not None and rule == "drop":
            votes = np.where(outside.sum(axis=1, keepdims=True) > 0, 0, votes)
        return Dataset(
            ids=table["id"].to_numpy(dtype=str),
            x=x,
            y=self.corpus.codes,
            votes=votes,
            outside=outside if rule == "count" else None,
            speaker=np.unique(table["speaker"].to_numpy(dtype=str), return_inverse=True)[1],
            corpus=np.unique(table["corpus"].to_numpy(dtype=str), return_inverse=True)[1],
            classes=self.corpus.classes,
            folds=self.folds,
            normalise=self.study.normalise,
            speaker_clips=self.speaker_clips,
            raters=() if self.ratings is None else self.ratings.raters,
            ratings=None if self.ratings is None else self.ratings.codes,
            own=None if self.ratings is None else self.ratings.own,
        )


def gather(study: Study, progress: Callable[[str], None] | None = None) -> Material:
    """Load and check the corpus, divide it, and see what the space can search on it.

    Raises:
        BadInput: where the corpus, the protocol or the space does not fit; nothing is written
            but what a corpus itself keeps (the demo's speech, the index of the audio).
    """
    method = find_method(study.method)
    corpus = corpora.load(
        study.corpus.name,
        root=study.corpus.root,
        classes=study.corpus.classes,
        on_bad=study.corpus.on_bad,
        unlabelled=study.corpus.unlabelled,
        # the demo's speech is a corpus like others: it does not change with the study's seed
        seed=int(study.corpus.options.get("seed", 0)),
        home=Path(study.home),
        options=study.corpus.options,
        progress=progress,
        votes=study.votes,
        task=study.task,
        per_rater=method.per_rater,
    )
    ratings = ratings_of(corpus, study, method)
    folds = divide(
        corpus.table,
        corpus.classes,
        protocol=study.protocol.name,
        folds=study.protocol.folds,
        validation=study.validation.rule,
        speakers=study.validation.speakers,
        share=study.validation.share,
        select=study.validation.select,
        seed=study.seed,
        voted=None if corpus.votes is None else corpus.votes.sum(axis=1) > 0,
        rated=None if ratings is None else of_rated_speakers(corpus, ratings),
    )
    told: list[str] = []
    if ratings is not None:
        folds, told = for_targets(folds, ratings, study, len(corpus.classes))
    facts = _facts(corpus)
    space, left_out = study.search_space(method).available(facts)
    enqueued, dropped = space.enqueued(study.enqueue, method, facts)
    if study.sampler != "listed":
        _check_needs(method, space, facts)
    elif not enqueued:
        raise BadInput([f"sampler=listed has no setting left to run: {line}" for line in dropped])
    notes = [*study.notes, *corpus.notes, *told, *left_out, *dropped]
    size = space.size() if study.sampler == "grid" else None
    if size is not None and size > study.trials:
        notes.append(
            f"sampler=grid: the space has {size} points and trials={study.trials} runs the first "
            f"{study.trials}; trials={size} runs every point"
        )
    notes += [
        line
        for line in (_across(method, space, enqueued), _shared_sentences(corpus, folds))
        if line
    ]
    if study.validation.select:
        notes.append(
            f"validation.select={study.validation.select}: the training is stopped by the "
            "validation speakers, and settings are scored on further ones"
        )
    else:
        notes.append(
            "settings are scored on the validation speakers that also stop the training, which "
            "flatters validation scores (not test scores); validation.select=1 keeps them apart"
        )
    found = Material(
        study=study,
        method=method,
        space=space,
        enqueued=tuple(enqueued),
        corpus=corpus,
        folds=folds,
        fingerprint=corpus.fingerprint,
        notes=tuple(notes),
        ratings=ratings,
    )
    notes += [*_told(method, space, found.enqueued), *found.feature_notes()]
    return replace(found, notes=tuple(dict.fromkeys(notes)))


def _told(
    method: Method, space: Space, enqueued: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[str]:
    """What the method tells of the pinned settings, and of those that the space may propose."""
    settings: list[Mapping[str, Any]] = [{}, *(setting for _, setting in enqueued)]
    for name, domain in space.domains.items():
        settings += [{name: value} for value in domain.examples()]
    constants = space.constants()
    return [
        note
        for setting in settings
        for note in method.notes(method.resolve({**constants, **setting}))
    ]


def _across(method: Method, space: Space, enqueued: list[tuple[str, dict[str, Any]]]) -> str:
    """Whether the space may propose a setting whose stages read those of other folds."""
    constants = space.constants()
    tried = [
        {**constants, name: value}
        for name, domain in space.domains.items()
        for value in domain.examples()
    ]
    for setting in [constants, *({**constants, **row} for _, row in enqueued), *tried]:
        full = method.resolve(setting)
        if not _reads_other_folds(method, full):
            continue
        # the setting that makes the difference: another choice with which nothing is read
        for name, param in method.params.items():
            for other in param.choices or ():
                if not _reads_other_folds(method, {**full, name: other}):
                    return (
                        f"{name}={full[name]}: labels of the held-out utterances reach training "
                        f"through the predictions of other folds' models; compare {name}={other}"
                    )
        return (
            f"{method.name}: labels of the held-out utterances reach training through the "
            "predictions of other folds' models"
        )
    return ""


def _reads_other_folds(method: Method, setting: Mapping[str, Any]) -> bool:
    return any(node.across for node in method.graph(setting))


def _shared_sentences(corpus: Corpus, folds: tuple[Fold, ...]) -> str:
    """Whether the test speakers say what the training speakers say, where that is known."""
    sentences = corpus.table["transcript"].to_numpy(dtype=str)
    test = {(f.index, text) for f in folds for text in sentences[f.test] if text}
    if not test:
        return ""
    shared = {(f.index, text) for f in folds for text in sentences[f.train] if text} & test
    return (
        f"{len(shared) / len(test):.0%} of the test speakers' sentences are also spoken in "
        "training: the scores say nothing about new sentences"
        if shared
        else "no sentence of the test speakers is spoken in training"
    )


def _facts(corpus: Corpus) -> frozenset[str]:
    """What the data has, in the words that spaces and methods use."""
    facts = set()
    if corpus.votes is not None:
        facts.add("votes")
    if (corpus.table["label"] == "").any():
        facts.add("unlabelled")
    if corpus.table.loc[corpus.table["label"] != "", "corpus"].nunique() > 1:
        facts.add("corpora")
    return frozenset(facts)


_NEEDS = {
    "votes": "rater votes, and the corpus has none; choose a corpus with votes, or let "
    "votes=simulate draw some",
    "unlabelled": "unlabelled speech, and there is none; give corpus.unlabelled=NAME",
    "corpora": "two or more corpora; give corpus=[NAME, NAME]",
}


def _check_needs(method: Method, space: Space, facts: frozenset[str]) -> None:
    """Every value that the space may propose can be served by this corpus."""
    constants = space.constants()
    problems = [
        f"the pinned settings need {_NEEDS.get(need, need)}"
        for need in sorted(method.needs(method.resolve(constants)) - facts)
    ]
    if not problems:
        for name, domain in space.domains.items():
            for value in domain.examples():
                setting = method.resolve({**constants, name: value})
                problems += [
                    f"params.{name}={value} needs {_NEEDS.get(need, need)}"
                    for need in sorted(method.needs(setting) - facts)
                ]
    if problems:
        raise BadInput(problems)


def layers_of(material: Material, trials: Sequence[int | str]) -> Layers:
    """What pictures of the last layers of these trials are made of. Labels are for scoring alone,
    so no file of a study holds them: they come from the corpus."""
    truth = {
        fold.name: Truth(one.unseen[one.selected : one.selected + one.test], one.selected)
        for fold, one in zip(material.folds, material.answers(), strict=True)
    }
    return Layers(tuple(trials), truth, Store(store_of(material.study)))


def runtime_of(study: Study) -> Runtime:
    """How a study's stages run."""
    return Runtime(
        cpus=study.cpus,
        gpus=study.gpus,
        threads=study.threads or max(1, int(study.cpus)),
        workers=study.workers,
        timeout=study.timeout,
        memory=study.memory,
    )
