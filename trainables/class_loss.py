"""What trainings towards classes minimise, by parameters that methods share.

Cross entropy or focal loss, with the relative difficulty and a metric loss beside it if wanted.
Numbers of equations are those of Ahn et al. 2024 (Sensors 24, 4111). Torch is imported inside
functions: processes that only plan read the parameters here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.fitting import above, equals, where
from trainables.stage import Param, Setting

if TYPE_CHECKING:
    from torch import Tensor

LOSS: dict[str, Param] = {
    "loss": Param("ce", "cross entropy or focal", ("ce", "focal")),
    **where(
        equals("loss", "focal"),
        focal_gamma=Param(2.0, "focal loss's exponent; 0 is cross entropy", low=0.0, high=10.0),
    ),
    "class_weight": Param(
        "inverse",
        "beta of eq. 5: 'inverse' class frequency (mean one over the training rows) or 'none'",
        ("none", "inverse"),
    ),
    "lambda_rd": Param(
        0.0,
        "weight of the relative difficulty, eq. 7 (paper: 0.1, 0.01, 0.001)",
        low=0.0,
        high=100.0,
    ),
    **where(
        above("lambda_rd"),
        rd_alpha=Param(1.0, "alpha of eq. 7 (paper: 1)", low=1e-3, high=1000.0),
        rd_delta=Param(0.0, "delta of eq. 7 (paper: 0)", low=-1.0, high=1.0),
    ),
}
METRIC: dict[str, Param] = {
    "metric": Param(
        "none", "metric loss on the last embedding", ("none", "contrastive", "proxy_anchor")
    ),
    "lambda_metric": Param(0.1, "weight of the metric loss", low=0.0, high=100.0),
    **where(
        equals("metric", "contrastive"),
        margin=Param(
            0.5,
            "contrastive: distance of classes that costs nothing (Proxy-Anchor's code: 0.5)",
            low=0.0,
            high=2.0,
        ),
    ),
    **where(
        equals("metric", "proxy_anchor"),
        proxy_alpha=Param(32.0, "alpha of eq. 3 (its authors: 32)", low=1e-3, high=1000.0),
        proxy_delta=Param(0.1, "delta of eq. 3 (its authors: 0.1)", low=-1.0, high=1.0),
        proxy_lr_scale=Param(
            100.0, "the proxies' step size over the network's (its authors: 100)", low=0.0, high=1e4
        ),
    ),
}


def settle_loss(own: Setting) -> dict[str, Any]:
    """`own` with losses that are the same made the same."""
    own = dict(own)
    if own["loss"] == "focal" and own["focal_gamma"] == 0:
        own["loss"] = "ce"
    if own["metric"] == "none" or own["lambda_metric"] == 0:
        own["metric"], own["lambda_metric"] = "none", 0.0
    return own


def check_metric(own: Setting, y: NDArray[np.int64]) -> None:
    """See that a metric loss has a class for each of the clips.

    Args:
        own: LOSS, METRIC and `augment_mixup`
        y: [n] of the clips to learn from, -1 without a label

    Raises:
        ValueError: it has not
    """
    if own["metric"] != "none" and (y < 0).any():
        raise ValueError(
            f"metric={own['metric']} needs a label of every clip, but label correction also learns "
            "from clips without one; use metric=none with it"
        )
    if own["metric"] != "none" and own["augment_mixup"]:
        raise ValueError(
            f"metric={own['metric']} compares clips by their class, and "
            f"augment_mixup={own['augment_mixup']} makes clips of two; take metric=none or "
            "augment_mixup=0"
        )


def loss_terms(
    module: Any,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    own: Setting,
    beta: NDArray[np.float32] | None,
) -> dict[str, Tensor]:
    """Cross entropy or focal loss + lambda_RD L_RD + a metric loss, by name.

    Args:
        module: with `proxies` [K, E], for Proxy-Anchor
        outputs: `logits` [n, K], and `embedding` [n, E] for a metric loss
        rows: `target` [n, K], `weight` [n], and `y` [n] for a metric loss
        own: LOSS and METRIC
        beta: [K] class weights, None for 1
    """
    import torch

    from trainables import losses

    logits, target = outputs["logits"], rows["target"]
    weights = None if beta is None else torch.as_tensor(beta, device=logits.device)
    if own["loss"] == "focal":
        main = losses.focal(logits, target, own["focal_gamma"], rows["weight"], weights)
    else:
        main = losses.cross_entropy(logits, target, rows["weight"], weights)
    terms = {own["loss"]: main}
    if own["lambda_rd"] > 0:
        rd = losses.relative_difficulty(logits, target, own["rd_alpha"], own["rd_delta"])
        terms["rd"] = own["lambda_rd"] * rd
    if own["metric"] != "none":
        metric = _metric(module, outputs["embedding"], rows["y"], own)
        terms[own["metric"]] = own["lambda_metric"] * metric
    return terms


def _metric(module: Any, embedding: Tensor, y: Tensor, own: Setting) -> Tensor:
    from trainables import losses

    if own["metric"] == "contrastive":
        return losses.contrastive(embedding, y, own["margin"])
    assert module.proxies is not None
    return losses.proxy_anchor(embedding, module.proxies, y, own["proxy_alpha"], own["proxy_delta"])
