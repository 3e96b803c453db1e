"""Scores of a fold: from class probabilities, or numbers, to the metrics of the table of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.selection import SCORED, SPEAKER
from raysearch.selection.measures import (
    brier_of,
    distributions,
    fit_temperature,
    nll_of,
    reliability,
    scaled,
)
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
    outputs: tuple[str, ...]
    """the classes; the attributes where numbers are predicted"""
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

    def test_row(self, trial: int, fold: int, tests: Sequence[NDArray[np.float32]]) -> FoldRow:
        """The row of a fold's test part alone, where its clips were heard otherwise.

        Args:
            trial: its number.
            fold: its index.
            tests: by seed, predictions [n, K] of the test clips.

        Raises:
            StageFailed: a prediction is not finite.
        """
        answers, k, rows = self.answers[fold], len(self.outputs), []
        truth = answers.unseen[answers.selected :][: answers.test]
        for each in tests:
            p = self._checked(fold, "test", each, truth)
            row = FoldRow(trial, self.folds[fold], fold, {}, [], 0.0, ())
            if answers.continuous:
                table = metrics.sums(p, truth)
                scores = {
                    f"test_{m.name}": float(m.of(table)) for m in SCORED.values() if m.continuous
                }
                groups = _speaker_sums(p, truth, _tested(answers))
                sums = {"test": table.tolist()}
                rows.append(replace(row, scores=scores, groups=groups, sums=sums))
            else:
                part = _Part(truth, p)
                scores, counts = part.scores("test", k), part.confusion(k)
                groups = {
                    name: {"test": part.only(inside).confusion(k)}
                    for name, inside in _tested(answers).items()
                }
                rows.append(replace(row, scores=scores, confusion=counts, groups=groups))
        return _over_seeds(rows)

    def _row(self, trial: int, fold: int, outcome: FoldOutcome) -> FoldRow:
        k, answers = len(self.outputs), self.answers[fold]
        validation = self._checked(fold, "validation", outcome.validation, answers.validation)
        unseen = self._checked(fold, "test", outcome.test, answers.unseen)
        cut = answers.selected
        end = cut + answers.test
        if answers.continuous:
            return self._numbers(trial, fold, outcome, validation, unseen)
        test = _Part(answers.unseen[cut:end], unseen[cut:end])
        val = _Part(answers.validation, validation)
        if cut:
            val = _Part(answers.unseen[:cut], unseen[:cut])
        scores = {**val.scores("val", k), **test.scores("test", k)}
        reliability = _calibration(val, test, scores)
        scores |= _epochs(outcome)
        for name, inside in answers.sets.items():
            part = test.only(inside)
            if part.known.any():  # a fold may have no clip of a set
                each = part.scores("test", k)
                scores |= {f"{score}_{name}": each[score] for score in ("test_ua", "test_wa")}
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
            groups={
                name: {
                    "val": val.only(theirs[:cut] if cut else mine).confusion(k),
                    "test": test.only(theirs[cut:end]).confusion(k),
                }
                for name, (mine, theirs) in answers.groups.items()
            },
            reliability=reliability,
        )

    def _numbers(
        self,
        trial: int,
        fold: int,
        outcome: FoldOutcome,
        validation: NDArray[np.float32],
        unseen: NDArray[np.float32],
    ) -> FoldRow:
        """The row of a fold whose predictions are numbers; it has sums and no confusions."""
        answers = self.answers[fold]
        cut, n = answers.selected, answers.test
        truth = answers.unseen[cut : cut + n]
        tables = {
            "val": metrics.sums(unseen[:cut], answers.unseen[:cut])
            if cut
            else metrics.sums(validation, answers.validation),
            "test": metrics.sums(unseen[cut : cut + n], truth),
        }
        scores = {
            f"{part}_{metric.name}": float(metric.of(table))
            for part, table in tables.items()
            for metric in SCORED.values()
            if metric.continuous
        }
        scores |= _epochs(outcome)
        for name, ccc in zip(self.outputs, metrics.each_ccc(tables["test"]), strict=True):
            scores |= {f"test_ccc_{name}": float(ccc)} if len(self.outputs) > 1 else {}
        for place, clips in enumerate(self.speaker_clips, start=1):
            start = cut + place * n
            few = metrics.sums(unseen[start : start + n], truth)
            scores[f"test_ccc_{clips}_clips"] = float(metrics.ccc_of(few))
        return FoldRow(
            trial=trial,
            fold=self.folds[fold],
            index=fold,
            scores=scores,
            confusion=[],
            seconds=outcome.seconds,
            stages=tuple(StageUse(*use) for use in outcome.uses),
            groups=_speaker_sums(unseen[cut : cut + n], truth, _tested(answers)),
            sums={name: table.tolist() for name, table in tables.items()},
        )

    def _checked(
        self, fold: int, part: str, probabilities: NDArray[np.float32], y: Labels
    ) -> NDArray[np.float32]:
        """The predictions [n, K] of a part, where they can be scored."""
        where = f"fold {self.folds[fold]!r}"
        if probabilities.shape != (len(y), len(self.outputs)):
            raise StageFailed(
                f"{where}: the method returned {part} predictions of shape "
                f"{probabilities.shape} for {len(y)} utterances of {len(self.outputs)} outputs "
                f"({', '.join(self.outputs)})"
            )
        if not np.isfinite(probabilities).all():
            raise StageFailed(f"{where}: its {part} scores are not finite")
        return probabilities


def _tested(answers: Answers) -> dict[str, NDArray[np.bool_]]:
    """By group, which of the test clips are of it."""
    end = answers.selected + answers.test
    return {name: theirs[answers.selected : end] for name, (_, theirs) in answers.groups.items()}


def _speaker_sums(
    p: NDArray[np.float32], truth: NDArray[Any], groups: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, list[Any]]]:
    """What each single test speaker adds to the sums of the test part."""
    return {
        name: {"test": metrics.sums(p[inside], truth[inside]).tolist()}
        for name, inside in groups.items()
        if name.startswith(SPEAKER)
    }


def _epochs(outcome: FoldOutcome) -> dict[str, float]:
    """When the last training was best, and when it had to end, where both are known."""
    epochs = {"best_epoch": outcome.best_epoch, "last_epoch": outcome.last_epoch}
    if None in epochs.values():
        return {}
    return {name: float(epoch) for name, epoch in epochs.items() if epoch is not None}


def _calibration(val: _Part, test: _Part, scores: dict[str, float]) -> dict[str, list[list[float]]]:
    """Tables of reliability of the test part, before and after a temperature; adds its scores.

    The temperature is fitted on the part that scores the setting, by speakers of which the test
    part has none.
    """
    temperature = fit_temperature(*val.answered)
    p, y = test.answered
    after = scaled(p, temperature)
    scores |= {
        "temperature": temperature,
        "test_nll_scaled": nll_of(after, y),
        "test_brier_scaled": brier_of(after, y),
    }
    return {"plain": reliability(p, y).tolist(), "scaled": reliability(after, y).tolist()}


@dataclass(frozen=True)
class _Part:
    """True classes [n] and predicted probabilities [n, K] of a part of a fold."""

    truth: Labels
    """-1 for what is not scored: clips that a target rater has not rated"""
    probabilities: NDArray[np.float32]

    @property
    def known(self) -> NDArray[np.bool_]:
        return self.truth >= 0

    @property
    def answered(self) -> tuple[NDArray[np.float64], Labels]:
        """Probabilities that sum to 1 and labels of the clips that are scored."""
        return distributions(self.probabilities[self.known]), self.truth[self.known]

    def only(self, inside: NDArray[np.bool_]) -> _Part:
        """Some of its clips."""
        return _Part(self.truth[inside], self.probabilities[inside])

    def scores(self, name: str, k: int) -> dict[str, float]:
        """Every metric of the part `name`, of k classes."""
        given = {"counts": (self.confusion(k),), "probabilities": self.answered}
        return {
            f"{name}_{metric.name}": float(metric.of(*given[metric.needs]))
            for metric in SCORED.values()
            if metric.needs in given
        }

    def confusion(self, k: int) -> list[list[int]]:
        known = self.known
        if not known.any():
            return np.zeros((k, k), dtype=np.int64).tolist()
        return metrics.confusion(self.truth[known], self.probabilities[known].argmax(axis=1), k)


def _over_seeds(rows: list[FoldRow]) -> FoldRow:
    """One row of a fold's trainings: mean scores, summed counts."""
    if len(rows) == 1:
        return rows[0]
    return replace(
        rows[0],
        scores={
            name: float(np.mean([row.scores[name] for row in rows])) for name in rows[0].scores
        },
        confusion=_sum([row.confusion for row in rows]),
        val_confusion=_sum([row.val_confusion for row in rows]),
        seconds=sum(row.seconds for row in rows),
        stages=tuple(use for row in rows for use in row.stages),
        repeats=tuple(row.scores for row in rows),
        groups={
            name: {part: _sum([row.groups[name][part] for row in rows]) for part in parts}
            for name, parts in rows[0].groups.items()
        },
        sums={name: _sum([row.sums[name] for row in rows]) for name in rows[0].sums},
        reliability={
            name: _sum([row.reliability[name] for row in rows]) for name in rows[0].reliability
        },
    )


def _sum(tables: list[Any]) -> list[Any]:
    """Tables of one shape, added cell by cell."""
    total: list[Any] = np.sum(tables, axis=0).tolist()
    return total
