"""Classifiers of scikit-learn on feature vectors: the baselines that a network has to beat.

One stage a fold. Each fit standardises what it learns from, perhaps balances the classes
(imbalanced-learn), and fits the classifier; scores without a scale become probabilities by a
calibration on clips that the classifier has not learnt from. No validation clip stops anything, so
what predicts the test part may learn from them too (`fit_on`); what predicts the validation part
never does.

A soft target is a clip that counts for each of its classes by that class's share, as sample weights
do: for logistic regression this is the cross entropy with the target. Nearest neighbours and the
majority class take no weights, so they learn from labels alone.

scikit-learn, imbalanced-learn and skops are imported inside functions: processes that only plan
import this module, and none that runs a stage with hard labels imports torch.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import classifier_files, fitting, targets
from trainables.fitting import equals, where
from trainables.labels import have_votes, labels_of
from trainables.stage import (
    Array,
    Artifact,
    Exporter,
    Method,
    NetworkState,
    Node,
    Param,
    Part,
    Setting,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

SVM = ("svm_linear", "svm_rbf")
UNWEIGHTED = ("majority", "knn")
"""models that take no sample weights"""
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "majority": {},
    "logistic": {"C": (0.001, 0.01, 0.1, 1.0)},
    "svm_linear": {"C": (0.001, 0.01, 0.1, 1.0)},
    "svm_rbf": {"C": (0.1, 1.0, 10.0, 100.0)},
    "knn": {"neighbours": (1, 3, 5, 11, 21)},
    "forest": {"min_leaf": (1, 2, 4, 8)},
    "boosting": {"learning_rate": (0.03, 0.1, 0.3)},
}
"""By model, what `inner` chooses among."""
CALIBRATION_FOLDS = 5
"""inner folds of a calibration, where `inner` names no number"""


def _unless_inner(name: str, *models: str) -> Callable[[Setting], bool]:
    """`Param.matters` of a classifier's parameter that `inner` may choose itself."""
    return lambda own: (
        own["model"] in models and not (own["inner"] > 1 and name in GRIDS[own["model"]])
    )


PARAMS: dict[str, Param] = {
    "model": Param(
        "svm_rbf",
        "the classifier: the training part's majority class, logistic regression, a support vector "
        "machine, nearest neighbours, a random forest, or boosted trees",
        tuple(GRIDS),
    ),
    **targets.declare(
        "votes",
        default="hard",
        help="label strategy; soft targets are sample weights (knn and majority: always hard)",
    ),
    # What is learnt from
    **where(
        lambda own: own["model"] != "majority",
        fit_on=Param(
            "train+validation",
            "what predicts the test part has learnt from the training part, or from the validation "
            "part too, as nothing is stopped by it; what predicts the validation part never has",
            ("train", "train+validation"),
        ),
    ),
    **where(
        lambda own: own["model"] != "majority" and own["strategy"] == "hard",
        resample=Param(
            "none",
            "balance the classes of what is learnt from: repeat clips (over), interpolate between "
            "them (smote), or leave some out (under); for strategy=hard",
            ("none", "over", "smote", "under"),
        ),
    ),
    **where(
        lambda own: own["model"] not in UNWEIGHTED and own["resample"] == "none",
        class_weight=dataclasses.replace(fitting.CLASS_WEIGHT, default="inverse"),
    ),
    # The classifiers
    **where(
        _unless_inner("C", "logistic", *SVM),
        C=Param(1.0, "how much errors cost beside the size of the weights", low=1e-6, high=1e6),
    ),
    **where(
        equals("model", "svm_rbf"),
        rbf_gamma=Param(
            1.0,
            "width of the RBF kernel exp(-gamma/D |x - y|^2), D features; 1 is scikit-learn's",
            low=1e-4,
            high=1e3,
        ),
    ),
    **where(
        _unless_inner("neighbours", "knn"),
        neighbours=Param(5, "nearest clips that vote", low=1, high=10000),
    ),
    **where(
        equals("model", "knn"),
        neighbour_weight=Param(
            "uniform", "each vote alike, or by one over the distance", ("uniform", "distance")
        ),
    ),
    **where(
        equals("model", "forest"),
        trees=Param(300, "of the forest", low=1, high=10000),
        split_features=Param(
            "sqrt", "how many features a split may choose among", ("sqrt", "log2", "all")
        ),
    ),
    **where(
        _unless_inner("min_leaf", "forest"),
        min_leaf=Param(1, "clips in a leaf of the forest, at least", low=1, high=10000),
    ),
    **where(
        _unless_inner("learning_rate", "boosting"),
        learning_rate=Param(0.1, "how far each round of boosting goes", low=1e-4, high=1.0),
    ),
    **where(
        equals("model", "boosting"),
        rounds=Param(100, "of boosting; a tree for each class in each", low=1, high=10000),
        leaves=Param(31, "of each boosted tree, at most", low=2, high=1000),
        l2=Param(0.0, "cost of the leaves' size in boosting", low=0.0, high=1e6),
    ),
    # Inside what is learnt from
    **where(
        lambda own: own["model"] != "majority",
        inner=Param(
            0,
            "choose C, neighbours, min_leaf or learning_rate by the UA of so many inner folds of "
            "what is learnt from; below 2: take them as the setting says",
            low=0,
            high=100,
        ),
        calibration=Param(
            "auto",
            "what makes probabilities: fitted to inner folds (5, or inner), a temperature (which "
            "never changes the likeliest class), a sigmoid or isotonic function of each class's "
            "score; the classifier's own, or softmax of its scores (none); auto: temperature for "
            "the SVMs, none for the others",
            ("auto", "none", "temperature", "sigmoid", "isotonic"),
        ),
    ),
    **where(
        lambda own: own["inner"] > 1 or own["calibration"] != "none",
        inner_by=Param(
            "speaker", "inner folds hold out speakers, or clips", ("speaker", "utterance")
        ),
    ),
}  # fmt: skip


def canonical(setting: Setting) -> dict[str, Any]:
    """The stage's parameters, with those that have no effect set to None.

    Args:
        setting: every parameter of the method
    """
    own = {**setting}
    if own["model"] in UNWEIGHTED:
        own["strategy"] = "hard"
    own |= targets.canonical(own)
    if own["strategy"] != "hard":
        own["resample"] = "none"
    if own["calibration"] == "auto":
        own["calibration"] = "temperature" if own["model"] in SVM else "none"
    if own["model"] == "majority":
        own |= {"inner": 0, "calibration": "none"}
    if own["inner"] < 2:
        own["inner"] = 0
    return fitting.settle(PARAMS, own)


def _graph(setting: Setting) -> tuple[Node, ...]:
    return (Node("fit", fit, canonical(setting), parts=("train", "validation", "test")),)


def _needs(setting: Setting) -> frozenset[str]:
    return STRATEGIES[canonical(setting)["strategy"]].needs


def _notes(setting: Setting) -> tuple[str, ...]:
    if setting["model"] not in UNWEIGHTED or setting["strategy"] == "hard":
        return ()
    return (
        f"model={setting['model']} takes no sample weights, so it learns from hard labels whatever "
        f"strategy={setting['strategy']} says",
    )


# --- The stage ------------------------------------------------------------------------------


@takes(*PARAMS)
def fit(inputs: StageInputs, own: Setting) -> Artifact:
    """Fit the classifier, and predict validation and test.

    Parameters are those of METHOD; None where they have no effect (`canonical`).

    Returns:
        arrays `validation` and `test` [n, K] probabilities; info `clips` that what predicts the
        test part has learnt from, `dropped` (clips without a vote, left out because the strategy
        reads votes), `chosen` by the inner folds, and `converged`; with `inputs.keep_weights` the
        fitted classifier, as skops writes it, and the version of scikit-learn

    Raises:
        ValueError: votes, classes or speakers that the setting needs are not there
        ImportError: imbalanced-learn or skops is not installed, and the setting or export needs it
    """
    from sklearn import config_context
    from threadpoolctl import threadpool_limits

    labels_of(inputs.train)
    both = inputs.train
    if own["fit_on"] == "train+validation" and len(inputs.validation):
        both = both.join(inputs.validation)
    k = len(inputs.classes)
    # scikit-learn hands sample weights through pipelines by its metadata routing
    with threadpool_limits(inputs.threads), config_context(enable_metadata_routing=True):
        model, facts = _learn(inputs, both, own)
        own_validation = model
        if both is not inputs.train:
            own_validation, _ = _learn(inputs, inputs.train, own)
        arrays: dict[str, Array] = {
            "validation": classifier_files.probabilities(own_validation, inputs.validation.x, k),
            "test": classifier_files.probabilities(model, inputs.test.x, k),
        }
    if inputs.keep_weights:
        import sklearn

        arrays |= weight_arrays({"skops": classifier_files.dump(model)})
        facts["sklearn"] = sklearn.__version__
    return Artifact(arrays, facts)


def _learn(inputs: StageInputs, part: Part, own: Setting) -> tuple[Any, dict[str, Any]]:
    """A classifier of the part's clips, and what is told of its fit."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV

    clips = part
    if "votes" in STRATEGIES[own["strategy"]].needs:
        clips = part.take(have_votes(part, own["strategy"]))
    rows, y, weight = _lesson(clips, own, len(inputs.classes))
    x = clips.x[rows].astype(np.float64)
    words = {} if weight is None else {"sample_weight": weight}
    model = _pipeline(inputs, own, x.shape[1], weight is not None)
    splits = _splits(clips, rows, own)
    chosen: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always", ConvergenceWarning)
        if own["inner"]:
            grid = {_ARGUMENTS[n]: list(values) for n, values in GRIDS[own["model"]].items()}
            score = _ua_scorer(weight is not None)
            search = GridSearchCV(
                model, grid, scoring=score, cv=splits, refit=False, error_score="raise"
            )
            model.set_params(**search.fit(x, y, **words).best_params_)
            chosen = {name: search.best_params_[_ARGUMENTS[name]] for name in GRIDS[own["model"]]}
        if own["calibration"] not in ("none", None):
            method = own["calibration"]
            model = CalibratedClassifierCV(model, method=method, cv=splits, ensemble=False)
        model.fit(x, y, **words)
    return model, {
        "clips": len(clips),
        "dropped": len(part) - len(clips),
        "chosen": chosen,
        "converged": not any(issubclass(each.category, ConvergenceWarning) for each in records),
    }


def _lesson(
    clips: Part, own: Setting, k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64] | None]:
    """What is learnt: by row, the clip, a class of it, and how much it counts (None: all alike).

    A clip has a row for each class that its target holds; `class_weight` multiplies a class's rows
    by n / (K mass of the class), which has mean one. Hard labels are weighed by the classifier,
    which does the same with the rows of each fit.
    """
    y = labels_of(clips)
    if own["strategy"] == "hard":
        return np.arange(len(y)), y, None
    target = targets.of_setting(own, y=y, k=k, votes=clips.votes)
    rows, classes = np.nonzero(target > 0)
    weight = target[rows, classes].astype(np.float64)
    if own["class_weight"] == "inverse":
        mass = np.bincount(classes, weight, minlength=k)
        weight = weight * (mass.sum() / (np.count_nonzero(mass) * np.maximum(mass, 1e-12)))[classes]
    return rows, classes, weight


def _splits(
    clips: Part, rows: NDArray[np.int64], own: Setting
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The inner folds: the rows that each learns from, and those that it predicts.

    Speakers are dealt out by scikit-learn, so that the folds have about as many clips each.
    """
    if own["inner_by"] is None:
        return []
    number_of = own["inner"] or CALIBRATION_FOLDS
    y = labels_of(clips)
    if own["inner_by"] == "speaker":
        from sklearn.model_selection import GroupKFold

        fitting.check_speakers(clips, "inner_by=speaker", "inner_by=utterance")
        fold = np.empty(len(clips), dtype=np.int64)
        divider = GroupKFold(min(number_of, len(np.unique(clips.speaker))))
        for number, (_, mine) in enumerate(divider.split(clips.x, y, clips.speaker)):
            fold[mine] = number
    else:
        fold = fitting.inner_folds(clips, number_of, "utterance")
    for number in np.unique(fold):
        if lost := set(y.tolist()) - set(y[fold != number].tolist()):
            raise ValueError(
                f"inner_by={own['inner_by']} leaves an inner fold without a clip of class number "
                f"{min(lost)} to learn from; take inner_by=utterance, or calibration=none without "
                "inner"
            )
    each = fold[rows]
    return [(np.flatnonzero(each != n), np.flatnonzero(each == n)) for n in np.unique(fold)]


# --- scikit-learn ---------------------------------------------------------------------------

_ARGUMENTS = {
    "C": "classifier__C",
    "neighbours": "classifier__n_neighbors",
    "min_leaf": "classifier__min_samples_leaf",
    "learning_rate": "classifier__learning_rate",
}
"""parameter of GRIDS -> argument of the pipeline"""


def _pipeline(inputs: StageInputs, own: Setting, width: int, weighted: bool) -> Any:
    """Scaling, resampling where the setting has some, and the classifier; none of it fitted."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    classifier: Any = _classifier(own, width, inputs.seed, inputs.threads)
    scale: Any = StandardScaler()
    if weighted:
        scale.set_fit_request(sample_weight=False)
        classifier.set_fit_request(sample_weight=True)
    if own["resample"] in ("none", None):
        return Pipeline([("scale", scale), ("classifier", classifier)])
    try:
        from imblearn import over_sampling, pipeline, under_sampling
    except ImportError as error:
        raise ImportError(
            f"resample={own['resample']} needs imbalanced-learn, which is not here: "
            "pip install imbalanced-learn"
        ) from error
    sampler = {
        "over": over_sampling.RandomOverSampler,
        "smote": over_sampling.SMOTE,
        "under": under_sampling.RandomUnderSampler,
    }[own["resample"]](random_state=inputs.seed)
    return pipeline.Pipeline([("scale", scale), ("sampler", sampler), ("classifier", classifier)])


def _classifier(own: Setting, width: int, seed: int, threads: int) -> BaseEstimator:
    """The classifier of a setting; what `inner` will choose is as scikit-learn has it."""
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC, LinearSVC

    values = {name: own[name] for name in PARAMS if own[name] is not None}
    hard = own["class_weight"] == "inverse" and own["strategy"] == "hard"
    balance = "balanced" if hard else None
    match own["model"]:
        case "majority":
            return DummyClassifier(strategy="prior")
        case "logistic":
            return LogisticRegression(C=values.get("C", 1.0), max_iter=5000, class_weight=balance)
        case "svm_linear":
            return LinearSVC(
                C=values.get("C", 1.0), max_iter=20000, class_weight=balance, random_state=seed
            )
        case "svm_rbf":
            # ties of its votes are broken by the scores that become probabilities
            return SVC(
                C=values.get("C", 1.0),
                gamma=own["rbf_gamma"] / width,
                break_ties=True,
                class_weight=balance,
            )
        case "knn":
            # `brute`: a tree of rows is nothing that skops writes
            return KNeighborsClassifier(
                values.get("neighbours", 5), weights=own["neighbour_weight"], algorithm="brute"
            )
        case "forest":
            return RandomForestClassifier(
                own["trees"],
                max_features=None if own["split_features"] == "all" else own["split_features"],
                min_samples_leaf=values.get("min_leaf", 1),
                n_jobs=threads,
                class_weight=balance,
                random_state=seed,
            )
    return HistGradientBoostingClassifier(
        learning_rate=values.get("learning_rate", 0.1),
        max_iter=own["rounds"],
        max_leaf_nodes=own["leaves"],
        l2_regularization=own["l2"],
        class_weight=balance,
        early_stopping=False,  # by clips of speakers that it learns from
        random_state=seed,
    )


def _ua_scorer(weighted: bool) -> Any:
    from sklearn.metrics import make_scorer

    scorer = make_scorer(_weighted_ua)
    return scorer.set_score_request(sample_weight=True) if weighted else scorer


def _weighted_ua(
    y: NDArray[np.int64],
    prediction: NDArray[np.int64],
    sample_weight: NDArray[np.float64] | None = None,
) -> float:
    """UA of rows that count by their weights: the mean over the classes in `y` of their recalls."""
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    totals = np.bincount(y, weight)
    hits = np.bincount(y, weight * (y == prediction))
    return float((hits[totals > 0] / totals[totals > 0]).mean())


def predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    """A fitted classifier as a function: a part -> class probabilities [n, K].

    Raises:
        ImportError, ValueError: of `classifier_files.load`
    """
    data = np.asarray(state.weights["skops"], dtype=np.uint8).tobytes()
    model = classifier_files.load(data, state.info["sklearn"])
    return lambda part: classifier_files.probabilities(model, part.x, len(state.classes))


METHOD = Method(
    name="classical",
    summary="classifiers of scikit-learn on feature vectors: the baselines",
    params=PARAMS,
    graph=_graph,
    needs=_needs,
    notes=_notes,
    features=("egemaps",),
    paper="Pedregosa et al.: Scikit-learn: Machine Learning in Python. JMLR 12 (2011)",
    export=Exporter(predictor, several=lambda setting: targets.several(canonical(setting))),
)
