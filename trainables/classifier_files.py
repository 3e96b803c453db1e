"""A fitted classifier: what it predicts, and its bytes without a pickle, checked when read.

skops builds the types that it trusts, and those that are named here. scikit-learn and skops are
imported inside functions: processes that only plan import this module.
"""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.stage import Array


def probabilities(model: Any, x: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Class probabilities [n, k] of rows [n, D]; 0 for classes that the model has not learnt.

    Args:
        model: fitted to class indices in 0 .. k - 1
        x: finite
        k: number of classes
    """
    shares = np.zeros((len(x), k))
    if not len(x):
        return shares.astype(np.float32)
    rows = x.astype(np.float64)
    if hasattr(model, "predict_proba"):
        shares[:, model.classes_] = model.predict_proba(rows)
    else:
        from scipy.special import softmax

        scores = model.decision_function(rows)
        if scores.ndim == 1:  # two classes have one score, that of the second
            scores = np.stack([np.zeros(len(rows)), scores], axis=1)
        shares[:, model.classes_] = softmax(scores, axis=1)
    return shares.astype(np.float32)


_TREES = {
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
}
_TRUSTED = {
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    *_TREES,
}
"""Types of these classifiers that skops does not trust by itself. Of trees it cannot know that
their nodes name each other and features that are there: `_check_trees` does."""


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            "a fitted classifier needs skops, which is not here: pip install skops"
        ) from error
    return skops.io


def dump(model: Any) -> NDArray[np.uint8]:
    """A fitted classifier as bytes without a pickle, and without what only its fit needed."""
    calibrated = getattr(model, "calibrated_classifiers_", ())
    for each in calibrated:
        each.estimator = _bare(each.estimator)
    if calibrated:
        model.set_params(cv=None, estimator=calibrated[0].estimator)
    else:
        model = _bare(model)
    data = _skops().dumps(model, compression=zipfile.ZIP_DEFLATED)
    return np.frombuffer(data, dtype=np.uint8)


def _bare(model: Any) -> Any:
    """A pipeline without its sampler, which predicts nothing, and without requests of weights."""
    from sklearn.pipeline import Pipeline

    steps = [step for step in model.steps if step[0] != "sampler"]
    for _, step in steps:
        vars(step).pop("_metadata_request", None)
    return Pipeline(steps)


def load(data: bytes, version: str) -> Any:
    """The classifier that `dump` wrote.

    Args:
        data: of `dump`
        version: of scikit-learn, when it was written

    Raises:
        ImportError: skops is not installed, or scikit-learn is of another version
        ValueError: the bytes hold something else than such a classifier
    """
    import sklearn

    if sklearn.__version__ != version:
        raise ImportError(
            f"it was fitted by scikit-learn {version}, but here is {sklearn.__version__}"
        )
    skops = _skops()
    try:
        foreign = set(skops.get_untrusted_types(data=data)) - _TRUSTED
        if foreign:
            raise ValueError(f"it holds {', '.join(sorted(foreign))}, which no classifier has")
        model = skops.loads(data, trusted=sorted(_TRUSTED))
        _check_trees(model)
    except (zipfile.BadZipFile, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"the fitted classifier is damaged: {error}") from error
    return model


def _check_trees(model: Any) -> None:
    """See that the nodes of all trees name nodes and features that are there.

    scikit-learn follows them without a look, so that other numbers would end the process.
    """
    for each in getattr(model, "calibrated_classifiers_", ()):
        _check_trees(each.estimator)
    if hasattr(model, "calibrated_classifiers_"):
        return
    classifier = model.named_steps["classifier"]
    width = model.n_features_in_
    for tree in getattr(classifier, "estimators_", ()):
        nodes = tree.tree_
        inner = nodes.children_left >= 0
        _check_nodes(
            (nodes.children_left[inner], nodes.children_right[inner]),
            nodes.feature[inner],
            nodes.node_count,
            width,
        )
    for round_ in getattr(classifier, "_predictors", ()):
        for tree in round_:
            inner = tree.nodes[tree.nodes["is_leaf"] == 0]
            _check_nodes(
                (inner["left"], inner["right"]), inner["feature_idx"], len(tree.nodes), width
            )


def _check_nodes(children: tuple[Array, Array], feature: Array, count: int, width: int) -> None:
    inside = [((side > 0) & (side < count)).all() for side in children]
    if not all(inside) or not ((feature >= 0) & (feature < width)).all():
        raise ValueError("the fitted trees are damaged: a node names one that is not there")
