"""RDLR: relative difficulty and labelling reliability (Ahn et al. 2024, Sensors 24, 4111).

Two stages a fold. `pretrained` trains the model that tells which labels look unreliable (only
where the strategy asks for predictions), `student` trains towards the targets made from it. The
first knows nothing of gamma or of the strategy, so a sweep over them trains it once a fold.

Torch is imported inside the stages: the processes which only plan, count and score read this
module for its parameters and stay light.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import fitting, targets
from trainables.embedding import embedding
from trainables.labels import partition
from trainables.metrics import corpus_accuracy
from trainables.stage import (
    Artifact,
    Exporter,
    Method,
    NetworkState,
    Node,
    Param,
    Part,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from trainables.epochs import Fit
    from trainables.networks import MLP
    from trainables.training import Refresh

SERVED = tuple(name for name, s in STRATEGIES.items() if "group" not in s.needs)
"""Strategies of this method: those that need no groups of segments, as a row is an utterance."""

PARAMS: dict[str, Param] = {
    # Targets
    "strategy": Param("lr", "label strategy: what the student is trained towards", SERVED),
    **targets.PARAMS,
    "dominant": Param(
        "label",
        "what makes a class dominant in the votes, for label correction: the clip's label, the "
        "most votes, or more than half of them",
        ("label", "plurality", "majority"),
    ),
    # Loss terms
    "loss": Param("ce", "cross entropy or focal", ("ce", "focal")),
    "focal_gamma": Param(2.0, "focal loss's exponent; 0 is cross entropy", low=0.0, high=10.0),
    "class_weight": Param(
        "inverse",
        "beta of eq. 5: 'inverse' class frequency (mean one over the training rows) or 'none'",
        ("none", "inverse"),
    ),
    "lambda_w": Param(
        0.0,
        "exponent of the corpus-wise weights, eq. 6 (paper: 1 to 4); without "
        "effect on a single corpus",
        low=0.0,
        high=16.0,
    ),
    "lambda_rd": Param(
        0.0,
        "weight of the relative difficulty, eq. 7 (paper: 0.1, 0.01, 0.001)",
        low=0.0,
        high=100.0,
    ),
    "rd_alpha": Param(1.0, "alpha of eq. 7 (paper: 1)", low=1e-3, high=1000.0),
    "rd_delta": Param(0.0, "delta of eq. 7 (paper: 0)", low=-1.0, high=1.0),
    "lambda_ae": Param(
        0.0,
        "weight of the reconstruction, eq. 12 (paper: 0.5, 0.1, 0.01, 0.001)",
        low=0.0,
        high=100.0,
    ),
    "ae_reduction": Param(
        "mean",
        "squared error over the features: 'mean', or 'sum' as eq. 12 "
        "is printed (1582 times the mean for IS10)",
        ("mean", "sum"),
    ),
    "ae_on": Param(
        "labelled",
        "rows to reconstruct: 'labelled' (eq. 11) or 'both', the unlabelled too (the paper's text)",
        ("labelled", "both"),
    ),
    "decoder_layers": Param(3, "3: the paper's 1024-1024-D; 2: the public code's, linear", (2, 3)),
    "lambda_pel": Param(
        0.0,
        "weight of the pseudo-labels on unlabelled speech, eq. 13 (paper: 0.0001)",
        low=0.0,
        high=100.0,
    ),
    "pel_batch": Param(32, "unlabelled rows a step, M' (paper: 32)", low=1, high=65536),
    "metric": Param(
        "none", "metric loss on the last embedding", ("none", "contrastive", "proxy_anchor")
    ),
    "lambda_metric": Param(0.1, "weight of the metric loss", low=0.0, high=100.0),
    "margin": Param(
        0.5,
        "contrastive: distance of classes that costs nothing (Proxy-Anchor's code: 0.5)",
        low=0.0,
        high=2.0,
    ),
    "proxy_alpha": Param(32.0, "alpha of eq. 3 (its authors: 32)", low=1e-3, high=1000.0),
    "proxy_delta": Param(0.1, "delta of eq. 3 (its authors: 0.1)", low=-1.0, high=1.0),
    "proxy_lr_scale": Param(
        100.0, "the proxies' step size over the network's (its authors: 100)", low=0.0, high=1e4
    ),
    # Network and optimiser
    "batch": Param(
        64, "rows a step (paper: 1024 to 4096, on tens of thousands of clips)", low=2, high=65536
    ),
    "lr": Param(2e-4, "Adam's step size (paper: 2e-4)", low=1e-7, high=1.0),
    "dropout": Param(0.5, "share of hidden units dropped (paper: 0.5)", low=0.0, high=0.95),
    "width": Param(1.0, "multiplies the hidden layers 1024-1024-512-512", low=1 / 64, high=8.0),
    "weight_decay": Param(0.0, "Adam's L2 term", low=0.0, high=1.0),
    "epochs": Param(100, "epochs at most", low=1, high=10000),
    "patience": Param(
        5, "epochs without a better validation UA until the end (paper: 5)", low=1, high=10000
    ),
    "plateau_patience": Param(
        2,
        "epochs without a better validation UA until the step size is cut (paper: 2)",
        low=0,
        high=10000,
    ),
    "plateau_factor": Param(
        1.0,
        "and by what (paper: 0.1); 1 leaves it, which on corpora of "
        "hundreds of clips is 3 points better",
        low=1e-3,
        high=1.0,
    ),
    # The model that decides the mask
    "mask_model": Param(
        "fixed",
        "settings of the pre-trained model: 'fixed' takes pretrained_*, "
        "one model a fold whatever the trial; 'tied' follows the trial's own",
        ("fixed", "tied"),
    ),
    "mask": Param(
        "in_sample",
        "predictions on the training part by a model trained on it "
        "('in_sample', paper) or on other speakers of it ('out_of_fold')",
        ("in_sample", "out_of_fold"),
    ),
    "mask_folds": Param(5, "groups of speakers for out_of_fold", low=2, high=1000),
    "pretrained_smoothing": Param(
        0.1, "label smoothing of the pre-trained model (paper: LS, 0.1)", low=0.0, high=1.0
    ),
    "pretrained_class_weight": Param("inverse", "as class_weight", ("none", "inverse")),
    "pretrained_lambda_w": Param(1.0, "as lambda_w", low=0.0, high=16.0),
    "pretrained_lambda_rd": Param(0.1, "as lambda_rd", low=0.0, high=100.0),
    "pretrained_lambda_ae": Param(0.0, "as lambda_ae", low=0.0, high=100.0),
    "pretrained_lambda_pel": Param(0.0, "as lambda_pel", low=0.0, high=100.0),
    "pretrained_batch": Param(64, "as batch", low=2, high=65536),
    "pretrained_lr": Param(2e-4, "as lr", low=1e-7, high=1.0),
    "pretrained_dropout": Param(0.5, "as dropout", low=0.0, high=0.95),
    "pretrained_width": Param(1.0, "as width", low=1 / 64, high=8.0),
    "pretrained_epochs": Param(100, "as epochs", low=1, high=10000),
    "pretrained_patience": Param(5, "as patience", low=1, high=10000),
}

FIT = (
    "strategy", "gamma", "smoothing", "lr_base", "target_norm", "wdsl_alpha", "correction_lambda",
    "correct", "dominant", "loss", "focal_gamma", "class_weight", "lambda_w",
    "lambda_rd", "rd_alpha", "rd_delta", "lambda_ae", "ae_reduction", "ae_on", "decoder_layers",
    "lambda_pel", "pel_batch",
    "metric", "lambda_metric", "margin", "proxy_alpha", "proxy_delta", "proxy_lr_scale",
    "batch", "lr", "dropout", "width", "weight_decay", "epochs", "patience", "plateau_patience",
    "plateau_factor",
)  # fmt: skip
"""Parameters of one training."""

FIXED = (
    "class_weight", "lambda_w", "lambda_rd", "lambda_ae", "lambda_pel",
    "batch", "lr", "dropout", "width", "epochs", "patience",
)  # fmt: skip
"""Those that a fixed mask model takes from pretrained_*; the others are the method's defaults."""

_PRETRAINED = tuple(
    name for name in FIT if name not in ("dominant", *targets.PARAMS) or name == "smoothing"
)
"""What `pretrained` takes of FIT: its strategy is label smoothing or hard."""


def canonical(setting: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of one training, with those that have no effect set to None.

    Settings that train the same thing get the same stage key: gamma does not matter to hard
    labels, nor alpha to a relative difficulty of weight 0; smoothing by 0 is the hard label; focal
    loss with exponent 0 is cross entropy.

    Args:
        setting: at least the parameters named in FIT
    """
    own = {name: setting[name] for name in FIT}
    own |= targets.canonical(own)
    if own["loss"] == "focal" and own["focal_gamma"] == 0:
        own["loss"] = "ce"
    if own["metric"] == "none" or own["lambda_metric"] == 0:
        own["metric"], own["lambda_metric"] = "none", 0.0
    uses_side = own["lambda_pel"] > 0 or (own["lambda_ae"] > 0 and own["ae_on"] == "both")
    effects = {
        "dominant": "sets" in STRATEGIES[own["strategy"]].needs,
        "focal_gamma": own["loss"] == "focal",
        "rd_alpha": own["lambda_rd"] > 0,
        "rd_delta": own["lambda_rd"] > 0,
        "ae_reduction": own["lambda_ae"] > 0,
        "ae_on": own["lambda_ae"] > 0,
        "decoder_layers": own["lambda_ae"] > 0,
        "pel_batch": uses_side,
        "plateau_patience": own["plateau_factor"] < 1,
        "margin": own["metric"] == "contrastive",
        "proxy_alpha": own["metric"] == "proxy_anchor",
        "proxy_delta": own["metric"] == "proxy_anchor",
        "proxy_lr_scale": own["metric"] == "proxy_anchor",
    }
    for name, matters in effects.items():
        if not matters:
            own[name] = None
    # Whole and broken numbers of one value are one setting: 0 and 0.0 must not differ in a key.
    return {name: PARAMS[name].typed(value) for name, value in own.items()}


def _mask_setting(setting: Mapping[str, Any]) -> dict[str, Any]:
    """The training parameters of the pre-trained model: the whole system without LR."""
    if setting["mask_model"] == "tied":
        base = {name: setting[name] for name in FIT}
    else:
        base = {name: PARAMS[name].default for name in FIT}
        base |= {name: setting[f"pretrained_{name}"] for name in FIXED}
    smoothing = setting["pretrained_smoothing"]
    return canonical(base | {"strategy": "label_smoothing", "smoothing": smoothing})


def _uses_unlabelled(own: Mapping[str, Any]) -> bool:
    return bool(own["lambda_pel"] > 0 or (own["lambda_ae"] > 0 and own["ae_on"] == "both"))


def _graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    own = canonical(setting)
    side = ("unlabelled",) if _uses_unlabelled(own) else ()
    strategy = STRATEGIES[own["strategy"]]
    # Label correction also learns from the clips that have votes and no label.
    more = ("undecided",) if "sets" in strategy.needs else ()
    parts = ("train", "validation", "test", *more, *side)
    last = Node("student", student, params={**own, "cuts": None}, parts=parts)
    if "predictions" not in strategy.needs:
        return (last,)
    first = _mask_setting(setting)
    folds = int(setting["mask_folds"]) if setting["mask"] == "out_of_fold" else None
    mask = {"mask": setting["mask"], "mask_folds": folds, "cuts": None}
    first_side = ("unlabelled",) if _uses_unlabelled(first) else ()
    teacher = Node(
        "pretrained",
        pretrained,
        params={name: first[name] for name in _PRETRAINED} | mask,
        parts=("train", "validation", *more, *first_side),
    )
    return (teacher, replace(last, parents={"pretrained": "pretrained"}))


def _needs(setting: Mapping[str, Any]) -> frozenset[str]:
    own = canonical(setting)
    strategy = STRATEGIES[own["strategy"]]
    trainings = [own]
    if "predictions" in strategy.needs:
        trainings.append(_mask_setting(setting))
    needs = {"votes"} if "votes" in strategy.needs else set()
    if any(map(_uses_unlabelled, trainings)):
        needs.add("unlabelled")
    return frozenset(needs)


# --- Stages ---------------------------------------------------------------------------------


@takes(*FIT, "cuts")
def student(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    """Train towards the strategy's targets and predict validation and test.

    Parameters are those of METHOD; None where they have no effect (`canonical`).

    Returns:
        arrays `validation` and `test` [n, K] probabilities, and `embedding_test`, the network's
        last hidden layer for the test rows (`embedding`); info `curves`, `best_epoch`, `epochs`,
        `best_validation_ua`, `corpus_weights` by corpus index (those of the last epoch), `dropped`
        (training rows without a vote, left out because the strategy reads votes) and `flagged`
        (share of training rows that the pre-trained model gets wrong); with
        `inputs.keep_weights` also the network's weights and info `inputs`, the width of a row

    Raises:
        ValueError: the strategy needs votes or predictions and there are none
        NonFinite: the training diverged
    """
    strategy = own["strategy"]
    parent = inputs.parents.get("pretrained")
    predictions = None if parent is None else parent.arrays["train"]
    train = inputs.train
    if "sets" in STRATEGIES[strategy].needs and len(inputs.undecided):
        train = train.join(inputs.undecided)
        if parent is not None:
            predictions = np.concatenate([parent.arrays["train"], parent.arrays["undecided"]])
    train, predictions, dropped = _with_votes(train, predictions, strategy)
    fitted = _fit(
        inputs,
        train,
        inputs.validation,
        {"validation": inputs.validation, "test": inputs.test},
        predictions,
        own,
    )
    info = _facts(fitted) | {"dropped": dropped}
    if predictions is not None:
        assert train.y is not None
        labelled = train.y >= 0
        wrong = predictions.argmax(axis=1)[labelled] != train.y[labelled]
        info["flagged"] = float(np.mean(wrong))
    if fitted.weights is not None:
        info["inputs"] = train.x.shape[1]
    arrays = fitted.probabilities | embedding(fitted.layers) | weight_arrays(fitted.weights)
    return Artifact(arrays=arrays, info=info)


@takes(*_PRETRAINED, "mask", "mask_folds", "cuts")
def pretrained(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    """Train the model without LR and predict the training part, in eval mode.

    `mask="in_sample"` predicts the rows it was trained on, as the paper does; a model that has
    learnt them by heart finds nothing unreliable. "out_of_fold" divides the training speakers
    into `mask_folds` groups (fewer where there are fewer speakers) and predicts each group by a
    model trained on the others, stopped by the same validation part.

    Returns:
        array `train` [n, K] probabilities in row order, and `undecided` where there are such clips;
        info `flagged`, the share of rows that
        it gets wrong, and for each training its curves and best epoch

    Raises:
        ValueError: out_of_fold with a single training speaker
        NonFinite: the training diverged
    """
    train = inputs.train
    assert train.y is not None
    if own["mask"] == "in_sample":
        asked = {"train": train, "undecided": inputs.undecided}
        asked = {name: part for name, part in asked.items() if len(part)}
        fitted = _fit(inputs, train, inputs.validation, asked, None, own)
        arrays, runs = fitted.probabilities, [_facts(fitted)]
    else:
        arrays, runs = _out_of_fold(inputs, own["mask_folds"], own)
    flagged = float(np.mean(arrays["train"].argmax(axis=1) != train.y))
    info: dict[str, Any] = {"flagged": flagged, "runs": runs}
    if len(runs) == 1:
        info["curves"] = runs[0]["curves"]
    return Artifact(arrays=arrays, info=info)


def _out_of_fold(
    inputs: StageInputs, folds: int, own: Mapping[str, Any]
) -> tuple[dict[str, NDArray[np.float32]], list[dict[str, Any]]]:
    """Predictions of each training row by a model that has not heard its speaker."""
    train, undecided = inputs.train, inputs.undecided
    if len(np.unique(train.speaker)) < 2:
        raise ValueError(
            "mask='out_of_fold' needs two training speakers or more, but the training part has "
            f"{len(np.unique(train.speaker))}; use mask='in_sample'"
        )
    # Speakers without a labelled clip are in no training, and any model may predict theirs.
    speakers = np.unique(train.speaker)
    k = len(inputs.classes)
    made = {
        name: np.zeros((len(part), k), dtype=np.float32)
        for name, part in (("train", train), ("undecided", undecided))
        if len(part)
    }
    runs = []
    for number, group in enumerate(fitting.by_group(speakers, folds, inputs.seed)):
        held = np.isin(train.speaker, group)
        also = np.isin(undecided.speaker, group)
        if number == 0:
            also |= ~np.isin(undecided.speaker, speakers)
        here = fitting.training(inputs, number)
        left = {"train": train.take(held)}
        if also.any():
            left["undecided"] = undecided.take(also)
        fitted = _fit(here, train.take(~held), inputs.validation, left, None, own)
        for name, rows in (("train", held), ("undecided", also)):
            if rows.any():
                made[name][rows] = fitted.probabilities[name]
        runs.append(_facts(fitted))
    return made, runs


def _with_votes(
    train: Part, predictions: NDArray[np.float32] | None, strategy: str
) -> tuple[Part, NDArray[np.float32] | None, int]:
    """The rows that a strategy reading votes can use: those with at least one vote."""
    if "votes" not in STRATEGIES[strategy].needs:
        return train, predictions, 0
    if train.votes is None:
        raise ValueError(f"the strategy {strategy!r} needs votes, but this corpus has none")
    keep = train.votes.sum(axis=1) > 0
    if not keep.any():
        raise ValueError(f"the strategy {strategy!r} needs votes, but no training row has one")
    kept = None if predictions is None else predictions[keep]
    return train.take(keep), kept, int((~keep).sum())


def _facts(fitted: Fit) -> dict[str, Any]:
    weights = {
        name.rsplit("_", 1)[1]: values[-1]
        for name, values in fitted.curves.items()
        if name.startswith("corpus_weight_")
    }
    return fitted.facts | {"corpus_weights": weights}


# --- One training ---------------------------------------------------------------------------


def _fit(
    inputs: StageInputs,
    train: Part,
    validation: Part,
    predict: Mapping[str, Part],
    predictions: NDArray[np.float32] | None,
    own: Mapping[str, Any],
) -> Fit:
    """Train one network with the loss of eq. 11 and predict the parts asked for."""
    import torch

    from trainables.loop import Training, fit
    from trainables.losses import class_weights

    if train.y is None or not len(train):
        raise ValueError("a training needs labelled rows in its training part")
    if not inputs.refit and (validation.y is None or not len(validation)):
        raise ValueError("a training needs labelled rows in its validation part")
    k = len(inputs.classes)
    y = torch.as_tensor(train.y)
    label, sets = y, None
    if "sets" in STRATEGIES[own["strategy"]].needs:
        assert train.votes is not None
        divided = partition(
            train.votes, outside=train.outside, label=train.y, dominant=own["dominant"]
        )
        sets = torch.as_tensor(divided.part)
        label = torch.as_tensor(np.where(divided.dominant >= 0, divided.dominant, train.y))
    labelled = train.y >= 0
    if not labelled.all() and own["metric"] != "none":
        raise ValueError(
            f"metric={own['metric']} needs a label of every clip, but label correction also learns "
            "from clips without one; use metric=none with it"
        )
    target = targets.build(
        own["strategy"],
        y=label,
        k=k,
        sets=sets,
        votes=None if train.votes is None else torch.as_tensor(np.array(train.votes)),
        predictions=None if predictions is None else torch.as_tensor(np.array(predictions)),
        **{name: own.get(name) for name in targets.PARAMS},
    )
    columns: dict[str, NDArray[Any]] = {
        "x": train.x,
        "y": train.y,
        "target": target.numpy(),
        "weight": np.ones(len(train), dtype=np.float32),
    }
    weights = class_weights(y[y >= 0], k).numpy() if own["class_weight"] == "inverse" else None
    unlabelled = _uses_unlabelled(own)
    if unlabelled and not len(inputs.unlabelled):
        raise ValueError(
            "lambda_pel > 0 and ae_on='both' need unlabelled speech, but there is none; name some "
            "by corpus.unlabelled"
        )
    # Clips without a label have no accuracy: their corpus's weight is that of its labelled ones.
    several = own["lambda_w"] > 0 and len(np.unique(train.corpus)) > 1
    proxies = own["metric"] == "proxy_anchor"
    return fit(
        Training(
            build=functools.partial(
                _network,
                inputs=train.x.shape[1],
                classes=k,
                dropout=own["dropout"],
                width=own["width"],
                decoder_layers=own["decoder_layers"] or 0,
                proxies=proxies,
            ),
            forward=functools.partial(
                _forward, decode=own["lambda_ae"] > 0, reduction=own["ae_reduction"]
            ),
            infer=_infer,
            loss=functools.partial(_loss, own=dict(own), weights=weights),
            score=functools.partial(
                _score, y=np.array(validation.y), corpus=np.array(validation.corpus), k=k
            ),
            train=columns,
            validation={} if inputs.refit else {"x": validation.x},
            predict={name: {"x": part.x} for name, part in predict.items()},
            embed={"test": "head"} if "test" in predict else {},
            side={"x": inputs.unlabelled.x} if unlabelled else {},
            side_batch=own["pel_batch"] if unlabelled else 0,
            refresh=functools.partial(
                _corpus_weights,
                y=np.array(train.y),
                corpus=np.array(train.corpus),
                k=k,
                exponent=own["lambda_w"],
            )
            if several
            else None,
            batch=own["batch"],
            lr=own["lr"],
            lr_scale={"proxies": own["proxy_lr_scale"]} if proxies else {},
            weight_decay=own["weight_decay"],
            epochs=own["epochs"],
            patience=own["patience"],
            plateau_patience=own["plateau_patience"] or 0,
            plateau_factor=own["plateau_factor"],
            cuts=own["cuts"] or (),
            # Most trainings end within seconds and never save.
            checkpoint_every=1,
            checkpoint_seconds=30.0,
            **inputs.training,
        )
    )


def _network(**sizes: Any) -> MLP:
    from trainables.networks import MLP

    return MLP(**sizes)


def _infer(module: MLP, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"]).logits


def _forward(
    module: MLP, rows: Mapping[str, Tensor], *, decode: bool, reduction: str | None
) -> dict[str, Tensor]:
    from trainables.losses import reconstruction_error

    outputs = module(rows["x"], reconstruct=decode)
    named = {"logits": outputs.logits, "embedding": outputs.embedding}
    if decode:
        # Already an error a row, so that workers exchange [n] and not [n, D].
        assert outputs.reconstruction is not None
        how: Any = reduction
        named["error"] = reconstruction_error(rows["x"], outputs.reconstruction, how)
    return named


def _loss(
    module: MLP,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
    *,
    own: Mapping[str, Any],
    weights: NDArray[np.float32] | None,
) -> dict[str, Tensor]:
    """Eq. 11: L_CWW + lambda_RD L_RD + lambda_AE L_AE + lambda_PEL L_PEL, and a metric loss."""
    import torch

    from trainables import losses

    logits, target = outputs["logits"], rows["target"]
    beta = None if weights is None else torch.as_tensor(weights, device=logits.device)
    if own["loss"] == "focal":
        main = losses.focal(logits, target, own["focal_gamma"], rows["weight"], beta)
    else:
        main = losses.cross_entropy(logits, target, rows["weight"], beta)
    terms = {own["loss"]: main}
    if own["lambda_rd"] > 0:
        rd = losses.relative_difficulty(logits, target, own["rd_alpha"], own["rd_delta"])
        terms["rd"] = own["lambda_rd"] * rd
    if own["lambda_ae"] > 0:
        errors = outputs["error"]
        if own["ae_on"] == "both":
            errors = torch.cat([errors, side_outputs["error"]])
        terms["ae"] = own["lambda_ae"] * errors.mean()
    if own["lambda_pel"] > 0:
        terms["pel"] = own["lambda_pel"] * losses.pseudo_label(side_outputs["logits"])
    if own["metric"] == "contrastive":
        pairs = losses.contrastive(outputs["embedding"], rows["y"], own["margin"])
        terms["contrastive"] = own["lambda_metric"] * pairs
    elif own["metric"] == "proxy_anchor":
        assert module.proxies is not None
        anchors = losses.proxy_anchor(
            outputs["embedding"],
            module.proxies,
            rows["y"],
            own["proxy_alpha"],
            own["proxy_delta"],
        )
        terms["proxy_anchor"] = own["lambda_metric"] * anchors
    return terms


def _score(
    probabilities: NDArray[np.float32],
    *,
    y: NDArray[np.int64],
    corpus: NDArray[np.int64],
    k: int,
) -> dict[str, float]:
    """Mean over corpora of the validation UA (section 3.2), and the mean of -log p of the label."""
    by_corpus = corpus_accuracy(y, probabilities.argmax(axis=1), corpus, k)
    own = probabilities[np.arange(len(y)), y].astype(np.float64)
    return {
        "validation_ua": float(np.mean(list(by_corpus.values()))),
        "validation_loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
    }


def _corpus_weights(
    probabilities: NDArray[np.float32],
    *,
    y: NDArray[np.int64],
    corpus: NDArray[np.int64],
    k: int,
    exponent: float,
) -> Refresh:
    """Eq. 6 after an epoch, from the training UA: validation scores would leak into the fit."""
    import torch

    from trainables.losses import corpus_weights
    from trainables.training import Refresh

    labelled = y >= 0
    guess = probabilities.argmax(axis=1)
    accuracy = corpus_accuracy(y[labelled], guess[labelled], corpus[labelled], k)
    weights = corpus_weights(torch.tensor(list(accuracy.values())), exponent).numpy()
    by_corpus = dict(zip(accuracy, weights, strict=True))
    rows = np.array([by_corpus.get(int(c), 1.0) for c in corpus], dtype=np.float32)
    curves = {f"corpus_weight_{c}": float(weight) for c, weight in by_corpus.items()}
    curves |= {f"training_ua_{c}": float(ua) for c, ua in accuracy.items()}
    return Refresh(columns={"weight": rows}, curves=curves)


def _predictor(trained: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    from trainables.passes import predictor

    own = trained.params
    predict = predictor(
        build=functools.partial(
            _network,
            inputs=trained.info["inputs"],
            classes=len(trained.classes),
            dropout=own["dropout"],
            width=own["width"],
            decoder_layers=own["decoder_layers"] or 0,
            proxies=own["metric"] == "proxy_anchor",
        ),
        weights=trained.weights,
        infer=_infer,
    )
    return lambda part: predict({"x": part.x})


def _export_notes(setting: Mapping[str, Any]) -> tuple[str, ...]:
    if setting["plateau_factor"] >= 1:
        return ()
    return (
        f"plateau_factor={setting['plateau_factor']} cuts the step size by validation scores, of "
        "which a refit has none: it is cut after as many epochs as in the median of the folds; "
        "how=ensemble keeps their own cuts",
    )


METHOD = Method(
    name="rdlr",
    summary="relative difficulty, labelling reliability and their rivals on one five-layer network",
    params=PARAMS,
    graph=_graph,
    needs=_needs,
    features=("is10",),
    paper="Ahn, Han, Lee, Shin: Speech Emotion Recognition Incorporating Relative Difficulty and "
    "Labeling Reliability. Sensors 24, 4111 (2024)",
    export=Exporter(
        _predictor,
        several=lambda setting: "votes" in STRATEGIES[setting["strategy"]].needs,
        notes=_export_notes,
    ),
)
