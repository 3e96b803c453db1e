"""Attributes as numbers: valence, activation and dominance from features, on RDLR's network.

One stage a fold. The five-layer network of Ahn et al. 2024 has an output for each attribute. It is
trained on standardised targets (CCC does not change by that, and the squared error has one scale),
towards what the label strategy makes of the raters (`attribute_targets`), and is stopped by the CCC
of its validation part.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import augmentation, fitting, mlp_training
from trainables.attribute_targets import (
    TARGETS_OF_NUMBERS,
    annotations_of_part,
    sampled,
    settle_numbers,
    shrunk,
    spread_weights,
)
from trainables.embedding import embedding
from trainables.fitting import equals
from trainables.labels import means_of
from trainables.metrics import ccc_of, mae_of, rmse_of, sums
from trainables.stage import (
    Artifact,
    Exporter,
    FoldFacts,
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

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks import MLP
    from trainables.training import Refresh

PARAMS: dict[str, Param] = {
    **TARGETS_OF_NUMBERS,
    "loss": Param(
        "ccc", "1 - CCC of a batch (ccc), squared error (mse), or both (mixture)",
        ("ccc", "mse", "mixture"),
    ),
    "ccc_weight": Param(
        0.5,
        "share of 1 - CCC in the loss, the rest is the squared error; for mixture",
        low=0.0,
        high=1.0,
        matters=equals("loss", "mixture"),
    ),
    "dropout": Param(0.5, "share of hidden units dropped", low=0.0, high=0.95),
    "width": Param(1.0, "multiplies the hidden layers 1024-1024-512-512", low=1 / 64, high=8.0),
    **fitting.steps(
        batch=(64, "the CCC is that of a batch: small ones blur it"),
        lr=(2e-4, ""),
        weight_decay=(0.0, ""),
        epochs=(100, ""),
        patience=(5, "the CCC, here"),
        plateau_patience=(2, "the CCC, here"),
        plateau_factor=(1.0, ""),
        precision=("fp32", ""),
    ),
    **augmentation.declare(vectors=augmentation.always),
}  # fmt: skip


def canonical(setting: Setting) -> dict[str, Any]:
    """The parameters, with those that have no effect set to None."""
    own = settle_numbers(fitting.pick(PARAMS, setting))
    if own["loss"] == "mixture" and own["ccc_weight"] in (0, 1):
        own["loss"] = "ccc" if own["ccc_weight"] == 1 else "mse"
    return fitting.settle(PARAMS, own)


def _graph(setting: Setting) -> tuple[Node, ...]:
    params = {**canonical(setting), "cuts": None}
    return (Node("numbers", numbers, params=params, parts=("train", "validation", "test")),)


def _in_fold(node: Node, facts: FoldFacts) -> dict[str, Any]:
    """A batch that holds all clips is one however large."""
    clips = facts.parts["train"].clips
    return {
        **node.params,
        "batch": clips if node.params["batch"] >= clips - 1 else node.params["batch"],
    }


@takes(*PARAMS, "cuts")
def numbers(inputs: StageInputs, own: Setting) -> Artifact:
    """Train towards the strategy's targets and predict validation and test.

    Returns:
        arrays `validation` and `test` [n, A] on the ratings' scale, and `embedding_test`; info
        `curves`, `best_epoch`, `epochs`, `mean` and `scale` of the training part's targets by
        attribute, `ends`, its lowest and highest rating; with `inputs.keep_weights` the
        network's weights and `inputs`, a row's width

    Raises:
        ValueError: the training part has no ratings
        NonFinite: the training diverged
    """
    annotations = annotations_of_part(inputs.train)
    means = means_of(annotations)
    mean, scale = means.mean(axis=0), means.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
    ends = (float(np.nanmin(annotations)), float(np.nanmax(annotations)))
    draw = own["strategy"] == "sampled"
    standard = (annotations - mean) / scale
    truth = None if inputs.refit else _validation(inputs, mean, scale)
    result = fitting.fit(
        inputs,
        own,
        build=functools.partial(_network, inputs.train.x.shape[1], len(mean), dict(own)),
        infer=_infer,
        link="identity",
        monitor="validation_ccc",
        loss=functools.partial(_loss, own=dict(own)),
        score=functools.partial(_score, truth=truth, ends=[(end - mean) / scale for end in ends]),
        train={
            "x": inputs.train.x,
            "target": _targets(standard, own, inputs.seed),
            "weight": spread_weights(annotations, own["spread_power"] or 0.0),
        },
        validation={"x": inputs.validation.x},
        predict={name: {"x": part.x} for name, part in _parts(inputs).items()},
        embed={"test": "head"},
        refresh=functools.partial(_redraw, standard=standard, seed=inputs.seed) if draw else None,
    )
    info = {name.replace("_ua", "_ccc"): value for name, value in result.facts.items()}
    info |= {"mean": mean.tolist(), "scale": scale.tolist(), "ends": ends}
    if result.weights is not None:
        info["inputs"] = inputs.train.x.shape[1]
    arrays = {name: _rated(x, mean, scale, ends) for name, x in result.probabilities.items()}
    more = embedding(result.layers) | weight_arrays(result.weights)
    return Artifact(arrays={**arrays, **more}, info=info)


def _rated(
    values: NDArray[np.float32],
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    ends: tuple[float, float],
) -> NDArray[np.float32]:
    """Standardised predictions [n, A] on the scale of the ratings, and never beyond its ends.

    A feature that is far out in a new speaker's clips would else give numbers that no rater gives.
    """
    return np.clip(values * scale + mean, *ends).astype(np.float32)


def _parts(inputs: StageInputs) -> dict[str, Part]:
    return {"validation": inputs.validation, "test": inputs.test}


def _validation(
    inputs: StageInputs, mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[v, A] the standardised means of the part that stops the training."""
    truth = means_of(annotations_of_part(inputs.validation, "validation"))
    return np.asarray((truth - mean) / scale, dtype=np.float32)


def _targets(standard: NDArray[np.float32], own: Setting, seed: int) -> NDArray[np.float32]:
    """[n, A] of the first epoch."""
    if own["strategy"] == "sampled":
        return sampled(standard, np.random.default_rng([seed, 0]))
    means = means_of(standard)
    return shrunk(means, own["shrinkage"]) if own["strategy"] == "shrunk" else means


def _redraw(
    predictions: NDArray[np.float32], *, standard: NDArray[np.float32], seed: int
) -> Refresh:
    """Other ratings for the next epoch; the predictions so far are the state of the draw."""
    import hashlib

    from trainables.training import Refresh

    digest = hashlib.sha256(np.ascontiguousarray(predictions).tobytes()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    return Refresh(columns={"target": sampled(standard, rng)})


def _network(inputs: int, outputs: int, own: Setting) -> MLP:
    from trainables.networks import MLP

    return MLP(inputs, outputs, dropout=own["dropout"], width=own["width"])


def _infer(module: MLP, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"]).logits


def _loss(
    module: MLP,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
    *,
    own: Setting,
) -> dict[str, Tensor]:
    """share * (1 - CCC) + (1 - share) * squared error."""
    from trainables import losses

    share: float = {"ccc": 1.0, "mse": 0.0, "mixture": own["ccc_weight"]}[own["loss"]]
    arguments = (outputs["logits"], rows["target"], rows["weight"])
    terms = {}
    if share > 0:
        terms["ccc"] = share * losses.concordance(*arguments)
    if share < 1:
        terms["mse"] = (1 - share) * losses.squared_error(*arguments)
    return terms


def _score(
    predictions: NDArray[np.float32],
    *,
    truth: NDArray[np.float32] | None,
    ends: list[NDArray[np.float32]],
) -> dict[str, float]:
    """The CCC, which stops the training, and errors in units of the standardised targets."""
    predictions = np.clip(predictions, *ends)
    table = sums(predictions, truth if truth is not None else predictions)
    ccc = float(ccc_of(table))
    return {
        "validation_ccc": ccc,
        "validation_rmse": float(rmse_of(table)),
        "validation_mae": float(mae_of(table)),
    }


def predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    """A trained network as a function: a part -> the attributes [n, A] on the ratings' scale."""
    from trainables import passes

    predict = passes.predictor(
        build=functools.partial(
            _network, state.info["inputs"], len(state.classes), dict(state.params)
        ),
        weights=state.weights,
        infer=_infer,
        link="identity",
        precision=state.params["precision"],
    )
    mean, scale = (np.array(state.info[name], np.float32) for name in ("mean", "scale"))
    ends = (state.info["ends"][0], state.info["ends"][1])
    return lambda part: _rated(predict({"x": part.x}), mean, scale, ends)


METHOD = Method(
    name="attributes",
    summary="valence, activation and dominance as numbers, on RDLR's five-layer network",
    params=PARAMS,
    graph=_graph,
    in_fold=_in_fold,
    features=("is10",),
    kinds=("continuous",),
    calibrate=mlp_training.calibrate,
    export=Exporter(predictor),
)
