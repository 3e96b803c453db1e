"""From a study's configuration to what its stages read: corpus, features, folds and keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data import corpora, features
from raysearch.data.section import Tree
from raysearch.errors import BadInput
from raysearch.report import Layers, Truth
from raysearch.search.sampler import Sampler
from raysearch.search.scorer import Scorer
from raysearch.selection import SPEAKER
from raysearch.stages import (
    Answers,
    Context,
    Dataset,
    Moments,
    Runtime,
    context,
    facts_of,
    setting_identity,
)
from raysearch.stages.divisions import BY_SPEAKER, COLUMNS, values_of
from raysearch.stages.folds import Fold, divide
from raysearch.stages.inner_folds import inner_folds
from raysearch.stages.methods import method as find_method
from raysearch.study import Study
from raysearch.study.folder import check_home, features_of, store_for
from raysearch.study.space import Scalar, Space
from raysearch.tuning.cautions import (
    cautions,
    check_kind,
    check_needs,
    check_outer,
    check_targets,
    class_cautions,
    corpus_facts,
    grid_caution,
    shared_sentences,
    spoken_in,
)
from raysearch.tuning.clip_groups import Members, check_objectives, groups_of
from raysearch.tuning.label_noise import PlantedLabels, noise_notes, plant
from raysearch.tuning.target_raters import for_targets, of_rated_speakers, ratings_of
from trainables.stage import FoldFacts, Method, Sequences

if TYPE_CHECKING:
    import pandas as pd

    from raysearch.data.corpora import Corpus


@dataclass(frozen=True)
class StudyInputs:
    """All that follows from a study's configuration and the corpus on the disk."""

    study: Study
    method: Method
    space: Space
    """the searched and pinned parameters that this corpus can serve"""
    enqueued: tuple[tuple[str, Mapping[str, Scalar]], ...]
    """(name or '', setting) of those to be tried first, as far as this corpus can serve them"""
    corpus: Corpus
    folds: tuple[Fold, ...]
    fingerprint: str
    """of the corpus: ids, labels, votes and audio, and of features that lie ready"""
    notes: tuple[str, ...]
    """what a person must know: synthetic speech, simulated votes, what was left out"""
    ratings: corpora.Ratings | None = None
    """who rated what, where the method learns one rater's perception"""
    groups: Members = field(default_factory=dict)
    """of clips, for which UA is also given"""
    planted: PlantedLabels | None = None
    """what is learnt from, where some labels are wrong on purpose; the corpus has the right ones"""

    @property
    def simulated(self) -> frozenset[str]:
        """What of the data is not as people spoke and rated it: speech, votes, labels."""
        return self.corpus.simulated | (set() if self.planted is None else {"labels"})

    @property
    def feature_folder(self) -> Path:
        return features_of(Path(self.study.home))

    @property
    def outputs_in_words(self) -> str:
        """What is predicted: classes, or attributes."""
        names = ", ".join(self.corpus.outputs)
        if self.corpus.numbers:
            return f"{names} (numbers)"
        return f"{len(self.corpus.classes)} classes ({names})"

    def dataset(self, *, shared: bool = True, **extraction: Any) -> Dataset:
        """Extract what is missing and lay everything side by side.

        Args:
            shared: whether all processes see this machine's disk: layers of encoders are then read
                where they are stored, and never in memory as a whole.
            extraction: of `features.extract`.

        Raises:
            BadInput: the method does not take what a feature set gives, or a model is missing.
        """
        sets = features.extract(
            self.study.features, self.corpus, folder=self.feature_folder, **extraction
        )
        x, frames, scaled = side_by_side(sets, len(self.corpus.table), shared)
        return replace(
            self._dataset(x),
            frames=frames,
            moments={name: Moments.of(frames[name]) for name in scaled},
        )

    def feature_notes(self) -> tuple[str, ...]:
        """What the feature sets must tell: of untrained weights, of transcripts that are missing.

        Raises:
            BadInput: the method does not take what a feature set gives, a model is missing, or
                nothing is normalised that should be by speaker.
        """
        known, names = features.known(), self.study.features
        if self.study.normalise == "speaker" and not any(known[n].normalise for n in names):
            raise BadInput(
                f"normalise=speaker has no effect on features={', '.join(names)}, which are read "
                "as they are stored; leave it out"
            )
        return features.check(self.study.features, self.corpus, set(self.method.inputs))

    def sampler(self) -> Sampler:
        """The sampler of this study, with no history yet."""
        return Sampler(
            self.space,
            kind=self.study.sampler,
            seed=self.study.seed,
            enqueue=[setting for _, setting in self.enqueued],
            objectives=self.study.objective,
            identity=self._identities(),
        )

    def _identities(self) -> Callable[[Mapping[str, Scalar]], str]:
        def identity(setting: Mapping[str, Scalar]) -> str:
            full = self.method.resolve({**self.space.constants(), **setting})
            return setting_identity(self.method, full, self._facts)

        return identity

    @cached_property
    def _facts(self) -> tuple[FoldFacts, ...]:
        return facts_of(self._without_features())

    def _without_features(self) -> Dataset:
        return self._dataset(np.empty((len(self.corpus.table), 0), dtype=np.float32))

    def context(self, dataset: Dataset | None = None) -> Context:
        """What keys are made of; needs no features, only their names and versions.

        Args:
            dataset: of other folds than the study's.
        """
        known = features.known()
        versions = [known[name].identity for name in self.study.features]
        audio = features.row_digests(self.study.features, self.corpus)
        if dataset is None:
            dataset = self._without_features()
        runtime = runtime_of(self.study)
        exact = self.study.deterministic and runtime.gpus > 0
        device = runtime.computing if exact else ""
        return context(dataset, audio, versions, self.study.seed, device)

    def answers(self) -> tuple[Answers, ...]:
        """By fold, the labels that scoring alone may see."""
        if self.ratings is not None:
            return tuple(self._rater_answers(fold, self.ratings) for fold in self.folds)
        y = self.corpus.truth
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

    def scorer(self) -> Scorer:
        """What scores the study's folds."""
        names = tuple(fold.name for fold in self.folds)
        return Scorer(names, self.answers(), self.corpus.outputs, self.speaker_clips)

    def _answers(self, fold: Fold, y: NDArray[Any]) -> Answers:
        learnt = y if self.planted is None else self.planted.codes
        copies = 1 + len(self.speaker_clips)
        groups = dict(self.groups)
        if self.study.protocol.name in BY_SPEAKER:
            groups |= self._speakers(fold)
        return Answers(
            validation=learnt[fold.validation],
            unseen=np.concatenate([y[fold.select], *[y[fold.test]] * copies]),
            selected=len(fold.select),
            test=len(fold.test),
            continuous=bool(self.corpus.numbers),
            groups={
                name: (
                    rows[fold.validation],
                    np.concatenate([rows[fold.select], *[rows[fold.test]] * copies]),
                )
                for name, rows in groups.items()
            },
        )

    def _speakers(self, fold: Fold) -> dict[str, NDArray[np.bool_]]:
        """The clips of each test speaker: the intervals of such a study are over speakers."""
        speaker = self.corpus.table["speaker"].to_numpy(dtype=str)
        return {SPEAKER + name: speaker == name for name in np.unique(speaker[fold.test]).tolist()}

    def _rater_answers(self, fold: Fold, ratings: corpora.Ratings) -> Answers:
        return self._answers(fold, ratings.codes[:, ratings.raters.index(fold.rater)])

    @property
    def speaker_clips(self) -> tuple[int, ...]:
        """From how few clips a test speaker's statistics are also taken."""
        return self.study.speaker_clips if self.study.normalise == "speaker" else ()

    def split_table(self) -> list[Tree]:
        """One row a fold: who is where, and how many sentences test shares with training."""
        speakers = np.unique(self.corpus.table["speaker"].to_numpy(dtype=str), return_inverse=True)
        spoken = spoken_in(self.corpus)
        rows = []
        for fold in self.folds:
            test, shared = shared_sentences(spoken, fold)
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
                "speakers_train": int((np.bincount(speakers[1][fold.train]) > 0).sum()),
            }
            if test:
                row |= {"test_sentences": test, "also_in_training": shared}
            rows.append(row)
        return rows

    def _rated(self, fold: Fold) -> Tree:
        """The rater of a fold, and how many of its clips that rater rated."""
        if self.ratings is None:
            return {}
        mine = self.ratings.codes[:, self.ratings.raters.index(fold.rater)] >= 0
        parts = ("train", "validation", "select", "test")
        return {"rater": fold.rater} | {
            f"n_{part}": int(mine[getattr(fold, part)].sum()) for part in parts
        }

    def _dataset(self, x: NDArray[np.float32]) -> Dataset:
        table = self.corpus.table
        votes, outside, rule = self.corpus.votes, self.corpus.outside, self.corpus.rules.outside
        if self.planted is not None:
            votes = self.planted.votes
        if votes is not None and outside is not None and rule == "drop":
            votes = np.where(outside.sum(axis=1, keepdims=True) > 0, 0, votes)
        names, speaker = np.unique(table["speaker"].to_numpy(dtype=str), return_inverse=True)
        return Dataset(
            ids=table["id"].to_numpy(dtype=str),
            x=x,
            y=self.corpus.codes if self.planted is None else self.planted.codes,
            votes=votes,
            outside=outside if rule == "count" else None,
            speaker=speaker,
            speakers=tuple(names.tolist()),
            corpus=_corpus_numbers(table),
            classes=self.corpus.outputs,
            annotations=self.corpus.annotations,
            folds=self.folds,
            normalise=self.study.normalise,
            speaker_clips=self.speaker_clips,
            raters=() if self.ratings is None else self.ratings.raters,
            ratings=None if self.ratings is None else self.ratings.codes,
            own=None if self.ratings is None else self.ratings.own,
        )


def side_by_side(
    sets: Sequence[features.FeatureSet], n: int, shared: bool = True
) -> tuple[NDArray[np.float32], dict[str, Sequences], list[str]]:
    """The vectors of n clips [n, D], their frames by feature set, and which of these are scaled."""
    matrices = [one.matrix for one in sets if one.starts is None]
    if not matrices:
        matrices = [np.empty((n, 0), dtype=np.float32)]
    x = matrices[0] if len(matrices) == 1 else np.hstack(matrices)
    frames = {one.base: one.rows(shared) for one in sets if one.starts is not None}
    return x, frames, [one.base for one in sets if one.starts is not None and one.normalise]


def _corpus_numbers(table: pd.DataFrame) -> NDArray[np.int64]:
    """[N] a number for each corpus: an unlabelled one renumbers none of the others."""
    corpus = table["corpus"].to_numpy(dtype=str)
    labelled = set(corpus[(table["label"] != "").to_numpy()].tolist())
    order = sorted(set(corpus.tolist()), key=lambda name: (name not in labelled, name))
    number = {name: place for place, name in enumerate(order)}
    return np.array([number[name] for name in corpus.tolist()], dtype=np.int64)


def prepare(study: Study, progress: Callable[[str], None] | None = None) -> StudyInputs:
    """Load and check the corpus, divide it, and see what the space can search on it.

    Nothing is written but what a corpus itself keeps: the demo's speech, the index of the audio.

    Args:
        study: what is to be run.
        progress: shows a person what is being done.

    Raises:
        BadInput: the corpus, the protocol or the space does not fit.
    """
    check_home(Path(study.home))
    method = find_method(study.method)
    check_kind(study, method)
    check_targets(study, method)
    corpus = _load(study, method, progress)
    ratings = ratings_of(corpus, study, method)
    folds = _divide(study, corpus, ratings)
    target_notes: list[str] = []
    if ratings is not None:
        folds, target_notes = for_targets(folds, ratings, study, len(corpus.classes))
    facts = corpus_facts(corpus, folds)
    space, left_out = study.search_space(method).available(facts)
    enqueued, dropped = space.enqueued(study.enqueue, method, facts)
    if study.sampler != "listed":
        check_needs(method, space, facts)
    elif not enqueued:
        raise BadInput([f"sampler=listed has no setting left to run: {line}" for line in dropped])
    planted = plant(corpus, study, method)
    groups = groups_of(corpus.table, study.groups)
    check_objectives(study.objective, corpus.classes, groups)
    notes = [*study.notes, *corpus.notes, *target_notes, *left_out, *dropped]
    notes += noise_notes(study, corpus, planted)
    notes += cautions(study, method, space, [setting for _, setting in enqueued], corpus, folds)
    inputs = StudyInputs(
        study=study,
        method=method,
        space=space,
        enqueued=tuple(enqueued),
        corpus=corpus,
        folds=folds,
        fingerprint=_fingerprint(study, corpus),
        notes=tuple(notes),
        ratings=ratings,
        groups=groups,
        planted=planted,
    )
    notes += class_cautions(
        study, corpus, [one.unseen[one.selected :][: one.test] for one in inputs.answers()]
    )
    notes += [*inputs.feature_notes(), *grid_caution(study, inputs.sampler())]
    return replace(inputs, notes=tuple(dict.fromkeys(notes)))


def _fingerprint(study: Study, corpus: Corpus) -> str:
    """Of all in the corpus that can change a result: of a given division too."""
    text = features.fingerprint(study.features, corpus)
    name = study.protocol.name
    if name not in COLUMNS:
        return text
    values = [text, *values_of(corpus.table, name, study.protocol.column).tolist()]
    if study.validation.rule == "column" and "validation" in corpus.table:
        values += corpus.table["validation"].tolist()
    return hashlib.sha256("\x1f".join(values).encode()).hexdigest()


def _load(study: Study, method: Method, progress: Callable[[str], None] | None) -> Corpus:
    return corpora.load(
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


def inner_inputs(inputs: StudyInputs) -> tuple[StudyInputs, ...]:
    """By fold of a study, the inputs of a search that never hears what the fold tests.

    Raises:
        BadInput: the method reads other folds or target raters, or a division lacks a class.
    """
    study = inputs.study
    check_outer(inputs.method, inputs.space, [setting for _, setting in inputs.enqueued])
    each = inner_folds(
        inputs.folds,
        lambda turn: _divide(study, inputs.corpus, inputs.ratings, turn),
        study.search.folds,
    )
    return tuple(replace(inputs, folds=folds) for folds in each)


def _divide(
    study: Study, corpus: Corpus, ratings: corpora.Ratings | None, turn: int = 0
) -> tuple[Fold, ...]:
    return divide(
        corpus.table,
        corpus.classes,
        protocol=study.protocol.name,
        folds=study.protocol.folds,
        group=study.protocol.group,
        column=study.protocol.column,
        parts={name: getattr(study.protocol, name) for name in ("train", "dev", "test")},
        validation=study.validation.rule,
        speakers=study.validation.speakers,
        share=study.validation.share,
        select=study.validation.select,
        seed=study.seed,
        voted=None if corpus.votes is None else corpus.votes.sum(axis=1) > 0,
        rated=None if ratings is None else of_rated_speakers(corpus, ratings),
        turn=turn,
    )


def layers_of(inputs: StudyInputs, trials: Sequence[int | str]) -> Layers:
    """What pictures of the last layers of trials are made of.

    Labels are for scoring alone, so no file of a study holds them: they come from the corpus.

    Args:
        inputs: of the study.
        trials: their numbers, or `SELECTED`.
    """
    truth = {
        fold.name: Truth(one.unseen[one.selected : one.selected + one.test], one.selected)
        for fold, one in zip(inputs.folds, inputs.answers(), strict=True)
    }
    return Layers(tuple(trials), truth, store_for(inputs.study))


def runtime_of(study: Study) -> Runtime:
    """How a study's stages run."""
    return Runtime(
        cpus=study.cpus,
        gpus=study.gpus,
        threads=study.threads or max(1, int(study.cpus)),
        workers=study.workers,
        timeout=study.timeout,
        memory=study.memory,
        cuda=study.cuda,
    )
