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
    with_outer,
)
from raysearch.selection.imputing import impute
from raysearch.selection.intervals import (
    FoldGroups,
    Groups,
    Matrix,
    interval,
    over_groups,
    worst_mean,
)
from raysearch.selection.measures import class_f1, class_recalls, ua_of
from raysearch.selection.pooling import SHARE, lacking, pooled_ccc, pooled_gap, pooled_ua
from raysearch.selection.resampling import compare_over_speakers, over_speakers
from raysearch.selection.scores import (
    METRICS,
    OBJECTIVES,
    RECALL,
    SCORED,
    SPEAKER,
    WORST_GROUP,
    Metric,
    Score,
    group_names,
    is_objective,
    metric_of,
)

__all__ = [
    "KINDS",
    "METRICS",
    "OBJECTIVES",
    "RECALL",
    "SCORED",
    "SHARE",
    "SPEAKER",
    "WORST_GROUP",
    "Difference",
    "Estimate",
    "Estimates",
    "FoldGroups",
    "Groups",
    "Judge",
    "Matrix",
    "Metric",
    "Score",
    "by_mean",
    "choice_scores",
    "class_f1",
    "class_recalls",
    "compare",
    "compare_over_draws",
    "compare_over_speakers",
    "estimates",
    "estimates_over_draws",
    "group_names",
    "holm",
    "honest_choice",
    "impute",
    "interval",
    "is_objective",
    "judges_of",
    "lacking",
    "metric_of",
    "over_groups",
    "over_speakers",
    "pareto",
    "pooled_ccc",
    "pooled_gap",
    "pooled_ua",
    "signed_rank",
    "ua_of",
    "with_outer",
    "worst_mean",
]
