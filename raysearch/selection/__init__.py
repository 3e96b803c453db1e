"""What a study may claim: honest, nested, selected and oracle scores, and paired comparisons.

From two matrices, validation scores V [C, K] and test scores T [C, K] of C settings on K folds.
Pure numpy and scipy.special (scipy.stats takes a second to import); it knows no ledger, nothing of
a fold but its groups, and no third-party system.
"""

from raysearch.selection.choices import Judge, by_mean, honest_choice, judged, pareto
from raysearch.selection.differences import (
    Difference,
    compare,
    compare_over_draws,
    gain,
    holm,
    nothing,
    sentence,
)
from raysearch.selection.estimating import Estimate, Estimates, estimates, estimates_over_draws
from raysearch.selection.imputing import impute
from raysearch.selection.intervals import FoldGroups, Matrix, interval, over_groups
from raysearch.selection.scores import Score, of_all, worst_mean

__all__ = [
    "Difference",
    "Estimate",
    "Estimates",
    "FoldGroups",
    "Judge",
    "Matrix",
    "Score",
    "by_mean",
    "compare",
    "compare_over_draws",
    "estimates",
    "estimates_over_draws",
    "gain",
    "holm",
    "honest_choice",
    "impute",
    "interval",
    "judged",
    "nothing",
    "of_all",
    "over_groups",
    "pareto",
    "sentence",
    "worst_mean",
]
