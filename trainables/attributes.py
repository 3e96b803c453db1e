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
from trainables.attribute_lesson import (
    LOSS_OF_NUMBERS,
    attribute_lesson,
    scale_of_facts,
    settle_loss_of_numbers,
    with_ccc,
)
from trainables.attribute_targets import TARGETS_OF_NUMBERS, settle_numbers
from trainables.embedding import embedding
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

PARAMS: dict[str, Param] = {
    **TARGETS_OF_NUMBERS,
    **LOSS_OF_NUMBERS,
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
    return fitting.settle(PARAMS, settle_loss_of_numbers(own))


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
    lesson = attribute_lesson(inputs, own)
    parts = {"validation": inputs.validation, "test": inputs.test}
    result = fitting.fit(
        inputs,
        own,
        build=functools.partial(_network, inputs.train.x.shape[1], len(inputs.classes), dict(own)),
        infer=_infer,
        score=lesson.score,
        train={"x": inputs.train.x, **lesson.columns},
        validation={"x": inputs.validation.x},
        predict={name: {"x": part.x} for name, part in parts.items()},
        embed={"test": "head"},
        **lesson.training,
    )
    info = with_ccc(result.facts) | lesson.scale.facts()
    if result.weights is not None:
        info["inputs"] = inputs.train.x.shape[1]
    arrays = {name: lesson.scale.rated(x) for name, x in result.probabilities.items()}
    more = embedding(result.layers) | weight_arrays(result.weights)
    return Artifact(arrays={**arrays, **more}, info=info)


def _network(inputs: int, outputs: int, own: Setting) -> MLP:
    from trainables.networks import MLP

    return MLP(inputs, outputs, dropout=own["dropout"], width=own["width"])


def _infer(module: MLP, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"]).logits


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
    scale = scale_of_facts(state.info)
    return lambda part: scale.rated(predict({"x": part.x}))


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
