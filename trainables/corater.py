"""Co-rater training: one rater's perception, helped by what others heard (Chou and Lee 2020).

A fold has a target rater and is scored on that rater's own ratings. `others_h` and `others_s` learn
the other raters' majority and their vote shares; they are handed no rating of the target.
`rater` learns the target's ratings, all of them or a share. `fusion` learns the target's ratings
from the last hidden vectors of these models, which are frozen: they are read once, in eval mode,
and stored, so that a fusion trains a small network on vectors and changes nothing else. Others are
one pair of stages for every share and every fusion, and a share's `rater` is one for every fusion.

The share of the target's ratings is drawn where the rater's model is trained, and the fusion takes
its rows from there. Shares are nested: of each class, the first so many in one seeded order.

A model judges as one target rater does: it is the network of the last stage, and with a fusion the
frozen models beneath it.

Torch is imported inside the stages: the processes which only plan, count and score read this
module for its parameters and stay light.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import blstm_training
from trainables.labels import partition
from trainables.metrics import validation_scores
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from trainables.networks.blstm import Fusion

MODELS = {
    "rater": ("rater",),
    "others_h": ("others_h",),
    "others_s": ("others_s",),
    "fusion_h": ("others_h", "rater"),
    "fusion_s": ("others_s", "rater"),
    "fusion_hs": ("others_h", "others_s", "rater"),
}
"""What each model is made of."""

PARAMS: dict[str, Param] = {
    "model": Param(
        "fusion_s",
        "who is asked: the target's model alone (rater); the others' majority (others_h) or vote "
        "shares (others_s), without a rating of the target (0 % in the paper); or their fusion",
        tuple(MODELS),
    ),
    "percent": Param(
        100.0,
        "share of the target's ratings that train, in % (paper: 100 and 50)",
        low=1.0,
        high=100.0,
    ),
    "least": Param(
        2, "ratings by others that a clip needs to train their models (paper: 2)", low=1, high=100
    ),
    "self_ratings": Param(
        "count",
        "whether speakers' ratings of their own clips are among the others' (paper: unsaid)",
        ("count", "leave"),
    ),
    "class_weight": Param(
        "none",
        "'inverse' frequency of the classes in a model's own targets (mean one), or 'none' (paper)",
        ("none", "inverse"),
    ),
    "every": Param(
        3, "frames that are averaged to one, after normalisation (paper: 3)", low=1, high=100
    ),
    # Networks
    "width": Param(
        1.0, "multiplies every layer; 1 is the paper's IEMOCAP, 0.5 its NNIME", low=1 / 16, high=8.0
    ),
    "units": Param(
        "each",
        "whether the BLSTM's 128 units are of each direction or of both together (paper: unsaid)",
        ("each", "both"),
    ),
    "dropout": Param(0.5, "behind every layer but the last (paper: 0.5)", low=0.0, high=0.9),
    # Optimiser
    "optimiser": Param("adamax", "adamax (paper) or adam", ("adamax", "adam")),
    "batch": Param(64, "clips a step (paper: 64)", low=2, high=4096),
    "lr": Param(5e-4, "step size (paper: 5e-4; NNIME 5e-3)", low=1e-6, high=1.0),
    "epochs": Param(200, "epochs at most (paper: 200)", low=1, high=10000),
    "patience": Param(
        10, "epochs without a better validation UA until the end (paper: unsaid)", low=1, high=10000
    ),
    "bucket": Param(
        16, "batches whose clips are sorted by length together; 0: none", low=0, high=100000
    ),
    # The fusion
    "fusion_lr": Param(5e-4, "as lr", low=1e-6, high=1.0),
    "fusion_epochs": Param(200, "as epochs", low=1, high=10000),
    "fusion_patience": Param(10, "as patience", low=1, high=10000),
}

SUBMODEL = (
    "class_weight", "every", "width", "units", "dropout", "optimiser", "batch", "lr", "epochs",
    "patience", "bucket",
)  # fmt: skip
"""Parameters of one BLSTM's training, whatever its targets."""
FUSION = ("class_weight", "width", "dropout", "optimiser", "batch")


def _graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    parts = ("train", "validation", "test")
    made_of = MODELS[setting["model"]]
    own = _own(setting, SUBMODEL)
    theirs = own | _own(setting, ("least", "self_ratings"))
    nodes = [
        Node(name, others, {**theirs, "labels": labels}, parts=parts, ratings="others")
        for name, labels in (("others_h", "hard"), ("others_s", "soft"))
        if name in made_of
    ]
    if "rater" in made_of:
        mine = own | _own(setting, ("percent",))
        nodes.append(Node("rater", rater, mine, parts=parts, ratings="target"))
    if len(made_of) > 1:
        last = _own(setting, FUSION)
        for name in ("lr", "epochs", "patience"):
            last |= {name: _own(setting, (f"fusion_{name}",))[f"fusion_{name}"]}
        # all that it reads comes from its parents: no clip, and no rating of its own
        nodes.append(Node("fusion", fusion, last, {name: name for name in made_of}, parts=()))
    return tuple(nodes)


def _own(setting: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: PARAMS[name].typed(setting[name]) for name in names}


# --- Stages ---------------------------------------------------------------------------------


@takes("labels", "least", "self_ratings", *SUBMODEL)
def others(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    """Learn what the raters beside the target heard, and read every clip.

    The ratings that it is handed hold none of the target's. `labels` "hard" learns the class that
    leads the others' votes, and leaves clips out where several do; "soft" learns their shares, and
    keeps these. Other parameters are those of METHOD. Training stops by the UA on validation clips
    whose votes one class leads.

    Returns:
        arrays `validation` and `test` [n, K] probabilities, and `hidden_train`,
        `hidden_validation` and `hidden_test` [n, E] of all clips of these parts; info `curves`,
        `best_epoch`, `epochs`, `best_validation_ua`, `clips` trained on by number, `ties` (clips
        with enough votes that no class leads), `validation_clips`, `target_mass` by class; with
        `inputs.keep_weights` also the network's weights and info `inputs`, the values of a frame

    Raises:
        ValueError: ratings or frames are not there, or no clip has votes enough
        NonFinite: the training diverged
    """
    if inputs.target is not None and inputs.train.ratings is not None:
        seen = np.concatenate([inputs.train.ratings, inputs.validation.ratings])
        assert (seen[:, inputs.target] < 0).all(), "the target's ratings must not come here"
    import torch

    from trainables import targets

    k = len(inputs.classes)
    least, self_ratings = own["least"], own["self_ratings"]
    votes = vote_counts(inputs.train, k, self_ratings)
    leader = partition(votes, least=least).dominant
    enough = votes.sum(axis=1) >= least
    rows = np.flatnonzero(leader >= 0 if own["labels"] == "hard" else enough)
    if not len(rows):
        raise ValueError(f"no training clip has least={least} ratings by others than the target")
    target = targets.build(
        own["labels"], y=torch.as_tensor(leader[rows]), k=k, votes=torch.as_tensor(votes[rows])
    ).numpy()
    check = partition(vote_counts(inputs.validation, k, self_ratings), least=least).dominant
    held = np.flatnonzero(check >= 0)
    made = blstm_training.train(inputs, rows, target, held, check[held], own)
    _, learnt = made.read(inputs.train)
    arrays = made.arrays(inputs) | {"hidden_train": learnt}
    info = made.info | {
        "clips": len(rows),
        "ties": int((enough & (leader < 0)).sum()),
        "validation_clips": len(held),
        "target_mass": [float(value) for value in target.sum(axis=0)],
    }
    return Artifact(arrays=arrays, info=info)


@takes("percent", *SUBMODEL)
def rater(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    """Learn the target's own ratings, `percent` of them, and read every clip.

    Returns:
        arrays `validation` and `test` [n, K] probabilities; `chosen` [m] the training rows learnt
        from, `label` [m] their classes, `hidden_train` [m, E]; `validation_rows` [v],
        `validation_label` [v], `hidden_validation` [n, E] and `hidden_test` [n, E]; info as for
        `others`, and `rated`, the target's training clips before the share

    Raises:
        ValueError: ratings or frames are not there, or the target rated no clip
        NonFinite: the training diverged
    """
    k = len(inputs.classes)
    mine = {name: _of_target(inputs, name) for name in ("train", "validation")}
    rated = np.flatnonzero(mine["train"] >= 0)
    held = np.flatnonzero(mine["validation"] >= 0)
    if not len(rated) or not (len(held) or inputs.refit):
        raise ValueError("the target rater rated no clip of the training or the validation part")
    chosen = rated[share_of(mine["train"][rated], own["percent"], inputs.seed)]
    label = mine["train"][chosen]
    made = blstm_training.train(
        inputs, chosen, np.eye(k, dtype=np.float32)[label], held, mine["validation"][held], own
    )
    _, learnt = made.read(inputs.train.take(chosen))
    arrays = made.arrays(inputs) | {
        "chosen": chosen,
        "label": label,
        "validation_rows": held,
        "validation_label": mine["validation"][held],
        "hidden_train": learnt,
    }
    info = made.info | {
        "clips": len(chosen),
        "rated": len(rated),
        "validation_clips": len(held),
        "target_mass": np.bincount(label, minlength=k).tolist(),
    }
    return Artifact(arrays=arrays, info=info)


@takes(*FUSION, "lr", "epochs", "patience")
def fusion(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    """Learn the target's ratings from the frozen models' last hidden vectors (section 2.2.4).

    Rows and ratings are those that the rater's model was trained on. Batch norm sees whole batches:
    one worker trains, and a last batch of a single row joins the one before it.

    Returns:
        arrays `validation` and `test` [n, K] probabilities; info as for `rater`; with
        `inputs.keep_weights` also the network's weights and info `inputs`, the size of its vectors

    Raises:
        ValueError: the target has a single training clip
        NonFinite: the training diverged
    """
    from trainables.loop import Training, fit
    from trainables.losses import target_loss

    k = len(inputs.classes)
    mine = inputs.parents["rater"].arrays
    chosen, held, label = mine["chosen"], mine["validation_rows"], np.asarray(mine["label"])
    if len(chosen) < 2:
        raise ValueError(f"a fusion needs 2 ratings of the target or more, but has {len(chosen)}")
    beside = [inputs.parents[name].arrays for name in sorted(inputs.parents) if name != "rater"]
    train = np.hstack([*(one["hidden_train"][chosen] for one in beside), mine["hidden_train"]])
    seen, unseen = (
        np.hstack([one[f"hidden_{part}"] for one in (*beside, mine)])
        for part in ("validation", "test")
    )
    target = np.eye(k, dtype=np.float32)[label]
    fitted = fit(
        Training(
            build=functools.partial(_fusion, train.shape[1], k, dict(own)),
            forward=_forward_fusion,
            infer=_infer_fusion,
            loss=functools.partial(target_loss, weights=blstm_training.class_weights(target, own)),
            score=functools.partial(validation_scores, y=np.array(mine["validation_label"]), k=k),
            train={"x": train, "target": target},
            validation={} if inputs.refit else {"x": seen[held]},
            predict={"validation": {"x": seen}, "test": {"x": unseen}},
            batch=own["batch"],
            lr=own["lr"],
            epochs=own["epochs"],
            patience=own["patience"],
            **{**inputs.training, "workers": 1},
            checkpoint_every=1,
            checkpoint_seconds=blstm_training.CHECKPOINT_SECONDS,
            optimiser=own["optimiser"],
        )
    )
    info = fitted.facts | {"clips": len(chosen), "validation_clips": len(held)}
    if fitted.weights is not None:
        info["inputs"] = train.shape[1]
    return Artifact(fitted.probabilities | weight_arrays(fitted.weights), info)


# --- Ratings --------------------------------------------------------------------------------


def vote_counts(part: Part, k: int, self_ratings: str = "count") -> NDArray[np.float64]:
    """[n, K] how many of the raters that the part shows gave each class.

    Args:
        part: with `ratings` and `own`
        k: number of classes
        self_ratings: "leave" counts no rating of a rater's own speech
    """
    if part.ratings is None or part.own is None:
        raise ValueError("the raters' single ratings are not there")
    counted = part.ratings if self_ratings == "count" else np.where(part.own, -1, part.ratings)
    votes: NDArray[np.float64] = (counted[..., None] == np.arange(k)).sum(axis=1).astype(np.float64)
    return votes


def share_of(y: NDArray[np.int64], percent: float, seed: int) -> NDArray[np.int64]:
    """Ascending rows of a stratified share: ceil(percent % of each class).

    A smaller share lies within a larger one of the same seed.

    Args:
        y: [n] classes
        percent: above 0, at most 100
        seed: of the one order that all shares cut
    """
    order = np.random.default_rng(seed).permutation(len(y))
    kept = []
    for c in np.unique(y):
        mine = order[y[order] == c]
        # the product of floats may lie a hair above a whole number
        kept.append(mine[: math.ceil(round(percent * len(mine) / 100, 9))])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)


def _of_target(inputs: StageInputs, part: str) -> NDArray[np.int64]:
    """[n] the target's class of each clip, -1 where there is none."""
    ratings = getattr(inputs, part).ratings
    if ratings is None or inputs.target is None:
        raise ValueError("the target rater's ratings are not there")
    mine: NDArray[np.int64] = ratings[:, inputs.target]
    return mine


# --- The fusion -----------------------------------------------------------------------------


def _fusion(inputs: int, classes: int, own: Mapping[str, Any]) -> Fusion:
    from trainables.networks.blstm import Fusion

    return Fusion(inputs, classes, dropout=own["dropout"], width=own["width"])


def _infer_fusion(module: Fusion, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"])


def _forward_fusion(module: Fusion, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": module(rows["x"])}


# --- A model --------------------------------------------------------------------------------


def _predictor(trained: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    from trainables.passes import predictor

    if not trained.parents:
        read = blstm_training.reader(trained)
        return lambda part: read(part)[0]
    # by name, as the fusion's training lays them side by side: the rater's last
    beneath = [blstm_training.reader(trained.parents[name]) for name in sorted(trained.parents)]
    predict = predictor(
        build=functools.partial(
            _fusion, trained.info["inputs"], len(trained.classes), dict(trained.params)
        ),
        weights=trained.weights,
        infer=_infer_fusion,
    )
    return lambda part: predict({"x": np.hstack([read(part)[1] for read in beneath])})


def _remarks(setting: Mapping[str, Any]) -> tuple[str, ...]:
    if "rater" in MODELS[setting["model"]]:
        return ()
    return (
        f"model={setting['model']} has learnt no rating of its rater: it tells what the others "
        "hear, and was scored on that rater's ratings",
    )


METHOD = Method(
    name="corater",
    summary="one rater's perception, with models of what the other raters heard",
    params=PARAMS,
    graph=_graph,
    features=("emobase-frames",),
    inputs=("frames",),
    per_rater=True,
    paper="Chou, Lee: Learning to recognize per-rater's emotion perception using co-rater training "
    "strategy with soft and hard labels (Interspeech 2020)",
    export=Exporter(_predictor, keeps=("others_h", "others_s", "rater"), remarks=_remarks),
)
