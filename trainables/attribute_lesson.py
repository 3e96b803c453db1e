"""What a training towards numbers learns, minimises and is stopped by; methods share it.

Targets are standardised by the training part's (CCC does not change by that, and the squared error
has one scale). Torch is imported inside functions: processes that only plan read the parameters.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.attribute_targets import annotations_of_part, sampled, shrunk, spread_weights
from trainables.fitting import equals
from trainables.labels import means_of
from trainables.metrics import ccc_of, mae_of, rmse_of, sums
from trainables.stage import Param, Setting, StageInputs

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.training import Refresh

Numbers = NDArray[np.float32]
LOSS_OF_NUMBERS: dict[str, Param] = {
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
}  # fmt: skip


def settle_loss_of_numbers(own: Setting) -> dict[str, Any]:
    """`own` with losses that are the same made the same."""
    if own["loss"] == "mixture" and own["ccc_weight"] in (0, 1):
        return {**own, "loss": "ccc" if own["ccc_weight"] == 1 else "mse"}
    return dict(own)


@dataclass(frozen=True)
class Scale:
    """The ratings of a training part: what standardises its means, and its ends."""

    mean: Numbers
    """[A]"""
    deviation: Numbers
    """[A]"""
    ends: tuple[float, float]
    """the lowest and the highest rating"""

    def standard(self, ratings: Numbers) -> Numbers:
        """Ratings [..., A], standardised."""
        return np.asarray((ratings - self.mean) / self.deviation, dtype=np.float32)

    def rated(self, values: Numbers) -> Numbers:
        """Standardised predictions [n, A] on the scale of the ratings, and never beyond its ends.

        A feature that is far out in a new speaker's clips would else give numbers that no rater
        gives.
        """
        return np.clip(values * self.deviation + self.mean, *self.ends).astype(np.float32)

    def facts(self) -> dict[str, Any]:
        """`mean`, `scale` and `ends`, as an artifact's `info` holds them."""
        return {"mean": self.mean.tolist(), "scale": self.deviation.tolist(), "ends": self.ends}


def scale_of_facts(facts: Mapping[str, Any]) -> Scale:
    """The scale that `Scale.facts` wrote."""
    mean, deviation = (np.array(facts[name], np.float32) for name in ("mean", "scale"))
    return Scale(mean, deviation, (facts["ends"][0], facts["ends"][1]))


@dataclass(frozen=True)
class AttributeLesson:
    """What a training towards numbers is given beside its network and its inputs."""

    scale: Scale
    columns: Mapping[str, NDArray[Any]]
    """`target` [n, A], standardised, and `weight` [n] of the training part's clips"""
    score: Callable[[Numbers], dict[str, float]]
    """standardised predictions of the validation part -> its scores by name"""
    training: Mapping[str, Any]
    """`link`, `monitor`, `loss` and `refresh`: arguments of `loop.Training`"""


def attribute_lesson(inputs: StageInputs, own: Setting) -> AttributeLesson:
    """What the training part's ratings, the label strategy and the loss ask for.

    Args:
        inputs: of the stage; its validation part stops the training
        own: LOSS_OF_NUMBERS and `attribute_targets.TARGETS_OF_NUMBERS`

    Raises:
        ValueError: a part has no ratings
    """
    annotations = annotations_of_part(inputs.train)
    means = means_of(annotations)
    deviation = means.std(axis=0)
    scale = Scale(
        means.mean(axis=0),
        np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32),
        (float(np.nanmin(annotations)), float(np.nanmax(annotations))),
    )
    standard = scale.standard(annotations)
    ends = [scale.standard(np.array(end, np.float32)) for end in scale.ends]
    truth = None
    if not inputs.refit:
        truth = scale.standard(means_of(annotations_of_part(inputs.validation, "validation")))
    redraw = None
    if own["strategy"] == "sampled":
        redraw = functools.partial(_redraw, standard=standard, seed=inputs.seed)
    return AttributeLesson(
        scale=scale,
        columns={
            "target": _targets(standard, own, inputs.seed),
            "weight": spread_weights(annotations, own["spread_power"] or 0.0),
        },
        score=functools.partial(_score, truth=truth, ends=ends),
        training={
            "link": "identity",
            "monitor": "validation_ccc",
            "loss": functools.partial(_loss, own=dict(own)),
            "refresh": redraw,
        },
    )


def with_ccc(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a training that was stopped by its CCC, under that name."""
    return {name.replace("_ua", "_ccc"): value for name, value in facts.items()}


def _targets(standard: Numbers, own: Setting, seed: int) -> Numbers:
    """[n, A] of the first epoch."""
    if own["strategy"] == "sampled":
        return sampled(standard, np.random.default_rng([seed, 0]))
    means = means_of(standard)
    return shrunk(means, own["shrinkage"]) if own["strategy"] == "shrunk" else means


def _redraw(predictions: Numbers, *, standard: Numbers, seed: int) -> Refresh:
    """Other ratings for the next epoch; the predictions so far are the state of the draw."""
    from trainables.training import Refresh

    digest = hashlib.sha256(np.ascontiguousarray(predictions).tobytes()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    return Refresh(columns={"target": sampled(standard, rng)})


def _loss(
    module: Any,
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


def _score(predictions: Numbers, *, truth: Numbers | None, ends: list[Numbers]) -> dict[str, float]:
    """The CCC, which stops the training, and errors in units of the standardised targets."""
    predictions = np.clip(predictions, *ends)
    table = sums(predictions, truth if truth is not None else predictions)
    ccc = float(ccc_of(table))
    return {
        "validation_ccc": ccc,
        "validation_rmse": float(rmse_of(table)),
        "validation_mae": float(mae_of(table)),
    }
