"""What a study may claim: honest, nested, selected and oracle scores, and paired comparisons.

From two matrices, validation scores V [C, K] and test scores T [C, K] of C settings on K folds.
Pure numpy and scipy.special (scipy.stats takes a second to import); it knows no ledger, nothing of
a fold but its groups, and no third-party system.
"""

from raysearch.selection.choices import (
    Judge,
    by_mean,
    choice_scores,
    honest_choice,
    judges_of,
    pareto,
)
from raysearch.selection.differences import (
    Difference,
    compare,
    compare_over_draws,
    holm,
    signed_rank,
)
from raysearch.selection.estimating import (
    KINDS,
    Estimate,
    Estimates,
    estimates,
    estimates_over_draws,
)
from raysearch.selection.imputing import impute
from raysearch.selection.intervals import (
    FoldGroups,
    Groups,
    Matrix,
    Score,
    interval,
    of_all,
    over_groups,
    worst_mean,
)
from raysearch.selection.pooling import SHARE, lacking, pooled_ua

__all__ = [
    "KINDS",
    "SHARE",
    "Difference",
    "Estimate",
    "Estimates",
    "FoldGroups",
    "Groups",
    "Judge",
    "Matrix",
    "Score",
    "by_mean",
    "choice_scores",
    "compare",
    "compare_over_draws",
    "estimates",
    "estimates_over_draws",
    "holm",
    "honest_choice",
    "impute",
    "interval",
    "judges_of",
    "lacking",
    "of_all",
    "over_groups",
    "pareto",
    "pooled_ua",
    "signed_rank",
    "worst_mean",
]
