"""The one table of scores: what each is, what it is made of, which way is better, who may use it.

A *metric* is a figure of one part of one fold (`val_NAME` and `test_NAME` of the ledger); a
*score*, or objective, is what the folds of a setting are worth together. A study's keys, the
scoring of folds, estimates, reports and trackers all read this table: a new metric is one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from raysearch.selection.intervals import Matrix, worst_mean
from raysearch.selection.measures import (
    brier_of,
    class_recalls,
    ece_of,
    kappa_of,
    macro_f1_of,
    nll_of,
    ua_of,
    wa_of,
)
from trainables.metrics import ccc_of, mae_of, rmse_of

Needs = Literal["counts", "probabilities", "bins", "sums"]
"""What a metric's function is called with.

- counts: confusions [..., k, k] -> [...]
- probabilities: (probabilities [n, k], labels [n]) -> number
- bins: a table of `measures.reliability` -> number; of all folds together alone
- sums: `trainables.metrics.sums` [..., A, 7] -> [...], of numbers; they add up as counts do
"""


@dataclass(frozen=True)
class Metric:
    """One row of the table."""

    name: str
    heading: str
    """how tables call it"""
    words: str
    """what it is: "UA is …" """
    needs: Needs
    of: Callable[..., Any]
    higher: bool = True
    """whether more is better"""
    percent: bool = True
    """whether people read it in % and its differences in points; else as a number"""
    ends: tuple[float, float] = (0.0, 1.0)
    """the least and the greatest that it can be"""
    objective: bool = True
    """whether settings may be chosen by it"""
    raced: bool = True
    """whether a race may stop settings by its mean over folds: the rules were tried on fractions
    of which more is better"""

    @property
    def continuous(self) -> bool:
        """Whether it scores numbers, and not classes."""
        return self.needs == "sums"

    @property
    def sign(self) -> int:
        """What makes more of it better: 1, or -1 where less is."""
        return 1 if self.higher else -1


_TABLE = (
    Metric("ua", "UA", "the mean recall of the classes", "counts", ua_of),
    Metric("wa", "WA", "the share of clips that are right", "counts", wa_of),
    Metric("macro_f1", "macro F1", "the mean F1 of the classes", "counts", macro_f1_of),
    Metric(
        "kappa", "kappa", "Cohen's, the agreement beyond chance", "counts", kappa_of,
        percent=False, ends=(-1.0, 1.0),
    ),
    Metric(
        "nll", "NLL", "the mean of −ln p of the label", "probabilities", nll_of,
        higher=False, percent=False, ends=(0.0, np.inf), raced=False,
    ),
    Metric(
        "brier", "Brier", "the squared error of all probabilities of a clip", "probabilities",
        brier_of, higher=False, percent=False, ends=(0.0, 2.0), raced=False,
    ),
    # whoever always answers by the classes' shares is perfectly calibrated, so nothing is chosen by
    # it
    Metric(
        "ece", "ECE", "how far confidence is from the share that is right", "bins", ece_of,
        higher=False, objective=False, raced=False,
    ),
    Metric(
        "ccc", "CCC", "the concordance of predictions and raters' means", "sums", ccc_of,
        percent=False, ends=(-1.0, 1.0),
    ),
    Metric(
        "rmse", "RMSE", "the root of the mean squared error, in units of the ratings", "sums",
        rmse_of, higher=False, percent=False, ends=(0.0, np.inf), raced=False,
    ),
    Metric(
        "mae", "MAE", "the mean absolute error, in units of the ratings", "sums", mae_of,
        higher=False, percent=False, ends=(0.0, np.inf), raced=False,
    ),
)  # fmt: skip
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _TABLE}
SCORED: Mapping[str, Metric] = {n: m for n, m in METRICS.items() if m.needs != "bins"}
"""those that each fold has"""


def metric_of(name: str) -> Metric:
    """The row of a metric; of a name that the table does not have, one read in % as UA is."""
    return METRICS.get(name) or Metric(name, name.upper(), "", "counts", ua_of)


# -- what folds are worth together -----------------------------------------------------------------
Over = Literal["mean", "pooled", "worst", "group", "class"]
WORST_GROUP, RECALL = "worst_group_ua", "recall_"


class FoldScores(Protocol):
    """A finished fold, as far as an objective reads it (`raysearch.study.ledger.FoldRow`)."""

    @property
    def scores(self) -> Mapping[str, float]: ...
    @property
    def val_confusion(self) -> Sequence[Sequence[int]]: ...
    @property
    def groups(self) -> Mapping[str, Mapping[str, Sequence[Sequence[int]]]]: ...
    @property
    def sums(self) -> Mapping[str, Sequence[Sequence[float]]]: ...


@dataclass(frozen=True)
class Score:
    """The objective: what a setting's validation folds are worth together.

    - `METRIC`, as `ua`: the mean over folds.
    - `pooled_METRIC`: of all folds' clips together. It is better where folds lack classes, as a
      class that a fold has one clip of then counts as one clip.
    - `worst_METRIC`: the mean of the worst quarter of the folds, ceil(K / 4) of them: what the
      speakers that are served worst may expect.
    - `worst_group_ua`: the UA of all clips of the group (of `sex`, `age`, ...) that has the lowest.
    - `recall_CLASS`: the recall of one class in all folds' clips together.

    Args:
        name: of the score.
        classes: of the study, in order; for `recall_CLASS` alone.
    """

    name: str
    classes: tuple[str, ...] = ()

    @property
    def over(self) -> Over:
        """How folds are taken together."""
        if self.name == WORST_GROUP:
            return "group"
        if self.name in METRICS:
            return "mean"
        start = self.name.partition("_")[0]
        ways: dict[str, Over] = {"pooled": "pooled", "worst": "worst", "recall": "class"}
        return ways.get(start, "mean")

    @property
    def metric(self) -> str:
        """The metric of one fold that goes with it."""
        if self.over in ("group", "class"):
            return "ua"
        return self.name if self.over == "mean" else self.name.partition("_")[2]

    @property
    def row(self) -> Metric:
        """That metric's row of the table."""
        return metric_of(self.metric)

    @property
    def raced(self) -> bool:
        """Whether a race may judge by it: it is the mean of folds, and on the rules' scale."""
        return self.over == "mean" and self.row.raced

    @property
    def words(self) -> str:
        """It in words: "mean validation UA"."""
        heading = self.row.heading
        return {
            "mean": f"mean validation {heading}",
            "pooled": f"validation {heading} of all folds pooled",
            "worst": f"validation {heading} of the worst quarter of folds",
            "group": "validation UA of the worst group",
            "class": f"validation recall of {self.name.removeprefix(RECALL)}",
        }[self.over]

    @property
    def heading(self) -> str:
        """It as a column's heading, in two lines."""
        heading = self.row.heading
        return {
            "mean": f"val\n{heading}",
            "pooled": f"val {heading}\npooled",
            "worst": f"val {heading}\nworst ¼",
            "group": "val UA\nworst group",
            "class": f"val recall\n{self.name.removeprefix(RECALL)}",
        }[self.over]

    def merit(self, value: ArrayLike) -> Matrix:
        """Scores so turned that more is better, which is what every choice maximises."""
        return self.row.sign * np.asarray(value, dtype=np.float64)

    def of(self, folds: Iterable[FoldScores]) -> float:
        """The score of one or more folds."""
        folds = list(folds)
        if self.over in ("mean", "worst"):
            return float(self.together(np.array([f.scores[f"val_{self.metric}"] for f in folds])))
        return float(self.together(np.array(self.counts(folds))))

    def counts(self, folds: Sequence[FoldScores], names: Sequence[str] = ()) -> Matrix:
        """Validation counts [K, k, k] of folds; by group [K, G, k, k] where groups are judged.

        Args:
            folds: K folds.
            names: of the groups; default those that these folds have.
        """
        if self.row.continuous:
            return np.array([fold.sums["val"] for fold in folds], dtype=np.float64)
        if self.over != "group":
            return np.array([fold.val_confusion for fold in folds], dtype=np.float64)
        names = names or group_names(folds)
        empty = np.zeros(np.shape(folds[0].val_confusion))
        return np.array(
            [[fold.groups.get(name, {}).get("val", empty) for name in names] for fold in folds],
            dtype=np.float64,
        )

    def together(self, folds: Matrix) -> Matrix:
        """The score [...] of K folds.

        Args:
            folds: what each fold has: [..., K] values of the metric, or counts [..., K, k, k] where
                clips are pooled ([..., K, G, k, k] by group).
        """
        if self.over == "mean":
            mean: Matrix = folds.mean(axis=-1)
            return mean
        if self.over == "worst":
            return self.row.sign * worst_mean(self.row.sign * folds)
        if self.over == "group":
            each = ua_of(folds.sum(axis=-4))
            # a group without a clip in these folds is not the worst
            return np.asarray(np.where(np.isnan(each), np.inf, each).min(axis=-1))
        whole = folds.sum(axis=-3)
        if self.over == "class":
            recall = class_recalls(whole)[..., self.classes.index(self.name.removeprefix(RECALL))]
            return np.asarray(np.nan_to_num(recall))
        return np.asarray(self.row.of(whole))


def group_names(folds: Iterable[FoldScores]) -> tuple[str, ...]:
    """The groups that folds have clips of, as "sex=female", in order; single speakers are none."""
    every = {name for fold in folds for name in fold.groups}
    return tuple(sorted(name for name in every if not name.startswith(SPEAKER)))


def _objectives() -> tuple[str, ...]:
    names = [name for name, metric in METRICS.items() if metric.objective]
    pooled = [f"pooled_{name}" for name in names if METRICS[name].needs in ("counts", "sums")]
    return (*names, *pooled, *(f"worst_{name}" for name in names), WORST_GROUP)


SPEAKER = "speaker:"
"""what the name of a single speaker's clips begins with, among a fold's groups"""
OBJECTIVES = _objectives()
"""names that a study may give as its objective, beside `recall_CLASS`"""


def is_objective(name: str) -> bool:
    """Whether a study may choose its settings by a score of this name."""
    return name in OBJECTIVES or (name.startswith(RECALL) and len(name) > len(RECALL))
