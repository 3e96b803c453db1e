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
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainables import augmentation, blstm_training, fitting, targets
from trainables.labels import partition, share_of, target_ratings, vote_counts
from trainables.metrics import validation_scores
from trainables.stage import (
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

AUGMENTATION = augmentation.declare(frames=augmentation.always)
"""of the BLSTMs' frames; a fusion learns from what they say of clips as they are"""
SUBMODEL: dict[str, Param] = {
    "class_weight": fitting.CLASS_WEIGHT,
    "every": Param(
        3, "frames that are averaged to one, after normalisation (paper: 3)", low=1, high=100
    ),
    "width": Param(
        1.0, "multiplies every layer; 1 is the paper's IEMOCAP, 0.5 its NNIME", low=1 / 16, high=8.0
    ),
    "units": Param(
        "each",
        "whether the BLSTM's 128 units are of each direction or of both together (paper: unsaid)",
        ("each", "both"),
    ),
    "dropout": Param(0.5, "behind every layer but the last (paper: 0.5)", low=0.0, high=0.9),
    **fitting.steps(
        optimiser=("adamax", "paper: adamax"),
        batch=(64, "paper: 64"),
        lr=(5e-4, "paper: 5e-4; NNIME 5e-3"),
        epochs=(200, "paper: 200"),
        patience=(10, "paper: unsaid"),
        patience_steps=(120, ""),
        bucket=(16, ""),
    ),
    **AUGMENTATION,
}
"""Parameters of one BLSTM's training, whatever its targets."""
OTHERS: dict[str, Param] = {
    "least": Param(
        2, "ratings by others that a clip needs to train their models (paper: 2)", low=1, high=100
    ),
    "self_ratings": Param(
        "count",
        "whether speakers' ratings of their own clips are among the others' (paper: unsaid)",
        ("count", "leave"),
    ),
}
"""Parameters of the others' votes."""
RATER: dict[str, Param] = {
    "percent": Param(
        100.0,
        "share of the target's ratings that train, in % (paper: 100 and 50)",
        low=1.0,
        high=100.0,
    )
}
"""Parameters of the target's own ratings."""
FUSION = ("lr", "epochs", "patience", "patience_steps")
"""Those of SUBMODEL that the fusion has of its own, and those that it shares."""
COMMON = ("class_weight", "width", "dropout", "optimiser", "batch")
PARAMS: dict[str, Param] = {
    "model": Param(
        "fusion_s",
        "who is asked: the target's model alone (rater); the others' majority (others_h) or vote "
        "shares (others_s), without a rating of the target (0 % in the paper); or their fusion",
        tuple(MODELS),
    ),
    **RATER,
    **OTHERS,
    **SUBMODEL,
    **fitting.again("fusion", SUBMODEL, FUSION),
}


def _graph(setting: Setting) -> tuple[Node, ...]:
    parts = ("train", "validation", "test")
    submodels = MODELS[setting["model"]]
    own = fitting.settle(AUGMENTATION, fitting.typed(PARAMS, setting))
    base = fitting.pick(SUBMODEL, own)
    theirs = base | fitting.pick(OTHERS, own)
    nodes = [
        Node(name, others, {**theirs, "labels": labels}, parts=parts, ratings="others", group=True)
        for name, labels in (("others_h", "hard"), ("others_s", "soft"))
        if name in submodels
    ]
    if "rater" in submodels:
        mine = base | fitting.pick(RATER, own)
        nodes.append(Node("rater", rater, mine, parts=parts, ratings="target", group=True))
    if len(submodels) > 1:
        last = fitting.pick(COMMON, own) | fitting.second("fusion", FUSION, own)
        # all that it reads comes from its parents: no clip, and no rating of its own
        nodes.append(Node("fusion", fusion, last, {name: name for name in submodels}, parts=()))
    return tuple(nodes)


# --- Stages ---------------------------------------------------------------------------------


@takes("labels", *OTHERS, *SUBMODEL)
def others(inputs: StageInputs, own: Setting) -> Artifact:
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
        ratings = np.concatenate([inputs.train.ratings, inputs.validation.ratings])
        assert (ratings[:, inputs.target] < 0).all(), "the target's ratings must not come here"
    k, least = len(inputs.classes), own["least"]
    votes = vote_counts(inputs.train, k, own["self_ratings"])
    leader = partition(votes, least=least).dominant
    enough = votes.sum(axis=1) >= least
    rows = np.flatnonzero(leader >= 0 if own["labels"] == "hard" else enough)
    if not len(rows):
        raise ValueError(f"no training clip has least={least} ratings by others than the target")
    target = targets.of_setting({"strategy": own["labels"]}, y=leader[rows], k=k, votes=votes[rows])
    votes_there = vote_counts(inputs.validation, k, own["self_ratings"])
    y = partition(votes_there, least=least).dominant
    stop = np.flatnonzero(y >= 0)
    submodel = blstm_training.train(inputs, rows, target, stop, y[stop], own)
    _, hidden = submodel.read(inputs.train)
    info = submodel.info | {
        "clips": len(rows),
        "ties": int((enough & (leader < 0)).sum()),
        "validation_clips": len(stop),
        "target_mass": [float(value) for value in target.sum(axis=0)],
    }
    return Artifact(arrays=submodel.arrays(inputs) | {"hidden_train": hidden}, info=info)


@takes(*RATER, *SUBMODEL)
def rater(inputs: StageInputs, own: Setting) -> Artifact:
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
    y = target_ratings(inputs, inputs.train)
    y_stop = target_ratings(inputs, inputs.validation)
    rows, stop = np.flatnonzero(y >= 0), np.flatnonzero(y_stop >= 0)
    if not len(rows) or not (len(stop) or inputs.refit):
        raise ValueError("the target rater rated no clip of the training or the validation part")
    share = rows[share_of(y[rows], own["percent"], inputs.seed)]
    target = np.eye(k, dtype=np.float32)[y[share]]
    submodel = blstm_training.train(inputs, share, target, stop, y_stop[stop], own)
    _, hidden = submodel.read(inputs.train.take(share))
    arrays = submodel.arrays(inputs) | {
        "chosen": share,
        "label": y[share],
        "validation_rows": stop,
        "validation_label": y_stop[stop],
        "hidden_train": hidden,
    }
    info = submodel.info | {
        "clips": len(share),
        "rated": len(rows),
        "validation_clips": len(stop),
        "target_mass": np.bincount(y[share], minlength=k).tolist(),
    }
    return Artifact(arrays=arrays, info=info)


@takes(*COMMON, *FUSION)
def fusion(inputs: StageInputs, own: Setting) -> Artifact:
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
    k = len(inputs.classes)
    mine = inputs.parents["rater"].arrays
    rows, stop, label = mine["chosen"], mine["validation_rows"], np.asarray(mine["label"])
    if len(rows) < 2:
        raise ValueError(f"a fusion needs 2 ratings of the target or more, but has {len(rows)}")
    beside = [inputs.parents[name].arrays for name in sorted(inputs.parents) if name != "rater"]
    train = np.hstack([*(one["hidden_train"][rows] for one in beside), mine["hidden_train"]])
    validation, test = (
        np.hstack([one[f"hidden_{part}"] for one in (*beside, mine)])
        for part in ("validation", "test")
    )
    target = np.eye(k, dtype=np.float32)[label]
    result = fitting.fit(
        inputs,
        own,
        build=functools.partial(_fusion, train.shape[1], k, dict(own)),
        infer=_infer_fusion,
        score=functools.partial(validation_scores, y=np.array(mine["validation_label"]), k=k),
        train={"x": train, "target": target},
        validation={"x": validation[stop]},
        predict={"validation": {"x": validation}, "test": {"x": test}},
    )
    info = result.facts | {"clips": len(rows), "validation_clips": len(stop)}
    if result.weights is not None:
        info["inputs"] = train.shape[1]
    return Artifact(result.probabilities | weight_arrays(result.weights), info)


# --- The fusion -----------------------------------------------------------------------------


def _fusion(inputs: int, classes: int, own: Setting) -> Fusion:
    from trainables.networks.blstm import Fusion

    return Fusion(inputs, classes, dropout=own["dropout"], width=own["width"])


def _infer_fusion(module: Fusion, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"])


# --- A model --------------------------------------------------------------------------------


def _predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    from trainables.passes import predictor

    if not state.parents:
        read = blstm_training.reader(state)
        return lambda part: read(part)[0]
    # by name, as the fusion's training lays them side by side: the rater's last
    beneath = [blstm_training.reader(state.parents[name]) for name in sorted(state.parents)]
    predict = predictor(
        build=functools.partial(
            _fusion, state.info["inputs"], len(state.classes), dict(state.params)
        ),
        weights=state.weights,
        infer=_infer_fusion,
    )
    return lambda part: predict({"x": np.hstack([read(part)[1] for read in beneath])})


def _remarks(setting: Setting) -> tuple[str, ...]:
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
    inherits={f"fusion_{name}": name for name in FUSION},
    paper="Chou, Lee: Learning to recognize per-rater's emotion perception using co-rater training "
    "strategy with soft and hard labels (Interspeech 2020)",
    export=Exporter(_predictor, keeps=("others_h", "others_s", "rater"), remarks=_remarks),
)
