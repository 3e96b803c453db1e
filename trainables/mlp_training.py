"""One training of RDLR: the five-layer network on feature vectors, with the loss of eq. 11.

Numbers of equations are those of Ahn et al. 2024 (Sensors 24, 4111). Torch is imported inside
functions: processes that only plan import this module.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import fitting
from trainables.class_loss import check_metric, loss_terms
from trainables.labels import labels_of
from trainables.metrics import corpus_accuracy
from trainables.stage import NetworkState, Part, Setting, StageInputs

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks import MLP
    from trainables.optimisation import Fit
    from trainables.passes import Precision
    from trainables.training import Refresh


def uses_unlabelled(own: Setting) -> bool:
    """Whether a training with these parameters reads unlabelled rows."""
    return bool(own["lambda_pel"] > 0 or (own["lambda_ae"] > 0 and own["ae_on"] == "both"))


def fit(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Setting,
) -> Fit:
    """Train one network and predict the parts asked for.

    Args:
        inputs: the fold; its validation part stops the training
        train: the rows to learn from; -1 in `y` is a row without a label
        target: [n, K] of these rows
        predict: parts to predict; of `test` the last hidden layer comes back too
        own: parameters of `rdlr.TRAINING`, and `cuts`

    Raises:
        ValueError: labels or unlabelled rows that the parameters need are not there
        NonFinite: the training diverged
    """
    y = labels_of(train)
    check_metric(own, y)
    unlabelled = uses_unlabelled(own)
    if unlabelled and not len(inputs.unlabelled):
        raise ValueError(
            "lambda_pel > 0 and ae_on='both' need unlabelled speech, but there is none; name some "
            "by corpus.unlabelled"
        )
    k, size = len(inputs.classes), train.x.shape[1]
    return fitting.fit(
        inputs,
        own,
        build=functools.partial(_network, size, k, dict(own)),
        forward=functools.partial(
            _forward, decode=own["lambda_ae"] > 0, reduction=own["ae_reduction"]
        ),
        infer=_infer,
        loss=functools.partial(
            _loss,
            own=dict(own),
            beta=fitting.class_weights(own, np.bincount(y[y >= 0], minlength=k)),
        ),
        score=functools.partial(
            _score, y=fitting.stop_labels(inputs), corpus=np.array(inputs.validation.corpus), k=k
        ),
        train={"x": train.x, "y": y, "target": target, "weight": np.ones(len(y), np.float32)},
        validation={"x": inputs.validation.x},
        predict={name: {"x": part.x} for name, part in predict.items()},
        embed={"test": "head"} if "test" in predict else {},
        side={"x": inputs.unlabelled.x} if unlabelled else {},
        side_batch=own["pel_batch"] if unlabelled else 0,
        refresh=_refresh(own, train, k),
        lr_scale={"proxies": own["proxy_lr_scale"]} if own["metric"] == "proxy_anchor" else {},
    )


def facts(result: Fit) -> dict[str, Any]:
    """What an artifact's `info` tells of a training; of corpus weights those of the last epoch."""
    weights = {
        name.rsplit("_", 1)[1]: values[-1]
        for name, values in result.curves.items()
        if name.startswith("corpus_weight_")
    }
    return result.facts | {"corpus_weights": weights}


def predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    """A trained network as a function: a part -> class probabilities [n, K]."""
    from trainables import passes

    predict = passes.predictor(
        build=functools.partial(
            _network, state.info["inputs"], len(state.classes), dict(state.params)
        ),
        weights=state.weights,
        infer=_infer,
        precision=state.params["precision"],
    )
    return lambda part: predict({"x": part.x})


def calibrate(rows: int = 512, steps: int = 8, width: float = 1.0) -> dict[str, float]:
    """Milliseconds of a step of the paper's network at batch 64, in fp32 and in bf16, here.

    Args:
        rows, steps: of an epoch
        width: of the network
    """
    import time

    from trainables.losses import target_loss
    from trainables.optimisation import train_epochs
    from trainables.training import Training

    rng = np.random.default_rng(0)
    features, k = 1582, 6
    own = {"dropout": 0.5, "width": width, "decoder_layers": 0, "metric": "none"}
    job = Training(
        build=functools.partial(_network, features, k, own),
        infer=_infer,
        loss=functools.partial(target_loss, weights=None),
        score=lambda probabilities: {"validation_ua": 0.0},
        train={
            "x": rng.normal(size=(rows, features)).astype(np.float32),
            "target": np.eye(k, dtype=np.float32)[rng.integers(k, size=rows)],
        },
        validation={},
        predict={},
        batch=rows // steps,
        epochs=4,
    )
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(3):  # in turns: what else the machine does meets both
        for precision, each in seconds.items():
            begun = time.perf_counter()
            train_epochs(dataclasses.replace(job, precision=precision))
            each.append(time.perf_counter() - begun)
    return {str(name): 1e3 * min(each) / (job.epochs * steps) for name, each in seconds.items()}


def _network(inputs: int, classes: int, own: Setting) -> MLP:
    from trainables.networks import MLP

    return MLP(
        inputs,
        classes,
        dropout=own["dropout"],
        width=own["width"],
        decoder_layers=own["decoder_layers"] or 0,
        proxies=own["metric"] == "proxy_anchor",
    )


def _infer(module: MLP, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"]).logits


def _forward(
    module: MLP, rows: Mapping[str, Tensor], *, decode: bool, reduction: Any
) -> dict[str, Tensor]:
    from trainables.losses import reconstruction_error

    outputs = module(rows["x"], reconstruct=decode)
    by_name = {"logits": outputs.logits, "embedding": outputs.embedding}
    if decode:
        # Already an error a row, so that workers exchange [n] and not [n, D].
        assert outputs.reconstruction is not None
        by_name["error"] = reconstruction_error(rows["x"], outputs.reconstruction, reduction)
    return by_name


def _loss(
    module: MLP,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
    *,
    own: Setting,
    beta: NDArray[np.float32] | None,
) -> dict[str, Tensor]:
    """Eq. 11: L_CWW + lambda_RD L_RD + lambda_AE L_AE + lambda_PEL L_PEL, and a metric loss."""
    import torch

    from trainables import losses

    terms = loss_terms(module, outputs, rows, own, beta)
    if own["lambda_ae"] > 0:
        errors = outputs["error"]
        if own["ae_on"] == "both":
            errors = torch.cat([errors, side_outputs["error"]])
        terms["ae"] = own["lambda_ae"] * errors.mean()
    if own["lambda_pel"] > 0:
        terms["pel"] = own["lambda_pel"] * losses.pseudo_label(side_outputs["logits"])
    return terms


def _score(
    probabilities: NDArray[np.float32], *, y: NDArray[np.int64], corpus: NDArray[np.int64], k: int
) -> dict[str, float]:
    """Mean over corpora of the validation UA (section 3.2), and the mean of -log p of the label."""
    by_corpus = corpus_accuracy(y, probabilities.argmax(axis=1), corpus, k)
    own = probabilities[np.arange(len(y)), y].astype(np.float64)
    return {
        "validation_ua": float(np.mean(list(by_corpus.values()))),
        "validation_loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
    }


def _refresh(own: Setting, train: Part, k: int) -> Callable[[NDArray[np.float32]], Refresh] | None:
    """What sets the corpus-wise weights after an epoch, where there are several corpora."""
    if own["lambda_w"] == 0 or len(np.unique(train.corpus)) < 2:
        return None
    return functools.partial(
        _corpus_weights,
        y=np.array(train.y),
        corpus=np.array(train.corpus),
        k=k,
        exponent=own["lambda_w"],
    )


def _corpus_weights(
    probabilities: NDArray[np.float32],
    *,
    y: NDArray[np.int64],
    corpus: NDArray[np.int64],
    k: int,
    exponent: float,
) -> Refresh:
    """Eq. 6 after an epoch, from the training UA: validation scores would leak into the fit.

    Clips without a label have no accuracy: their weight is that of their corpus's labelled ones.
    """
    import torch

    from trainables.losses import corpus_weights
    from trainables.training import Refresh

    has_label = y >= 0
    guess = probabilities.argmax(axis=1)
    accuracy = corpus_accuracy(y[has_label], guess[has_label], corpus[has_label], k)
    weights = corpus_weights(torch.tensor(list(accuracy.values())), exponent).numpy()
    by_corpus = dict(zip(accuracy, weights, strict=True))
    rows = np.array([by_corpus.get(int(c), 1.0) for c in corpus], dtype=np.float32)
    curves = {f"corpus_weight_{c}": float(weight) for c, weight in by_corpus.items()}
    curves |= {f"training_ua_{c}": float(ua) for c, ua in accuracy.items()}
    return Refresh(columns={"weight": rows}, curves=curves)
