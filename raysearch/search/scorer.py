"""Scores of a fold: from class probabilities to unweighted and weighted accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.stages import Answers
from raysearch.stages.executor import FoldOutcome, StageFailed
from raysearch.study.ledger import FoldRow, StageUse
from trainables import metrics

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Scorer:
    """Scores the folds of a study. It alone sees the labels of what is held out."""

    folds: tuple[str, ...]
    """names, by index"""
    answers: tuple[Answers, ...]
    """by fold"""
    classes: int
    speaker_clips: tuple[int, ...]
    """the test part is predicted once more with statistics from so few clips of a speaker"""

    def row(self, trial: int, fold: int, outcomes: Sequence[FoldOutcome]) -> FoldRow:
        """The ledger's row of a fold: mean scores and summed counts over its seeds.

        Args:
            trial: its number.
            fold: its index.
            outcomes: one a seed.

        Raises:
            StageFailed: the method returned probabilities that cannot be scored.
        """
        return _over_seeds([self._row(trial, fold, one) for one in outcomes])

    def _row(self, trial: int, fold: int, outcome: FoldOutcome) -> FoldRow:
        k, answers = self.classes, self.answers[fold]
        validation = self._guesses(fold, "validation", outcome.validation, answers.validation)
        unseen = self._guesses(fold, "test", outcome.test, answers.unseen)
        cut = answers.selected
        end = cut + answers.test
        test = _Part(answers.unseen[cut:end], unseen[cut:end])
        val = _Part(answers.validation, validation)
        if cut:
            val = _Part(answers.unseen[:cut], unseen[:cut])
        scores = {**val.scores("val", k), **test.scores("test", k)}
        for name, inside in answers.sets.items():
            part = _Part(test.truth[inside], test.guess[inside])
            if part.known.any():  # a fold may have no clip of a set
                scores |= {f"{score}_{name}": x for score, x in part.scores("test", k).items()}
        for place, clips in enumerate(self.speaker_clips):
            start = end + place * answers.test
            part = _Part(test.truth, unseen[start : start + answers.test])
            scores[f"test_ua_{clips}_clips"] = part.scores("test", k)["test_ua"]
        return FoldRow(
            trial=trial,
            fold=self.folds[fold],
            index=fold,
            scores=scores,
            confusion=test.confusion(k),
            val_confusion=val.confusion(k),
            seconds=outcome.seconds,
            stages=tuple(StageUse(*use) for use in outcome.uses),
        )

    def _guesses(
        self, fold: int, part: str, probabilities: NDArray[np.float32], y: Labels
    ) -> Labels:
        """[n] The likeliest class of each utterance."""
        where = f"fold {self.folds[fold]!r}"
        if probabilities.shape != (len(y), self.classes):
            raise StageFailed(
                f"{where}: the method returned {part} probabilities of shape "
                f"{probabilities.shape} for {len(y)} utterances of {self.classes} classes"
            )
        if not np.isfinite(probabilities).all():
            raise StageFailed(f"{where}: its {part} scores are not finite")
        return probabilities.argmax(axis=1)


@dataclass(frozen=True)
class _Part:
    """True and predicted classes [n] of a part of a fold."""

    truth: Labels
    """-1 for what is not scored: clips that a target rater has not rated"""
    guess: Labels

    @property
    def known(self) -> NDArray[np.bool_]:
        return self.truth >= 0

    def scores(self, name: str, k: int) -> dict[str, float]:
        """UA and WA of the part `name`, of k classes."""
        y, guess = self.truth[self.known], self.guess[self.known]
        return {
            f"{name}_ua": metrics.unweighted_accuracy(y, guess, k),
            f"{name}_wa": metrics.weighted_accuracy(y, guess, k),
        }

    def confusion(self, k: int) -> list[list[int]]:
        return metrics.confusion(self.truth[self.known], self.guess[self.known], k)


def _over_seeds(rows: list[FoldRow]) -> FoldRow:
    """One row of a fold's trainings: mean scores, summed counts."""
    if len(rows) == 1:
        return rows[0]
    return replace(
        rows[0],
        scores={
            name: float(np.mean([row.scores[name] for row in rows])) for name in rows[0].scores
        },
        confusion=np.sum([row.confusion for row in rows], axis=0).tolist(),
        val_confusion=np.sum([row.val_confusion for row in rows], axis=0).tolist(),
        seconds=sum(row.seconds for row in rows),
        stages=tuple(use for row in rows for use in row.stages),
        repeats=tuple(row.scores for row in rows),
    )
