"""Co-rater training: one rater's perception, helped by what others heard (Chou and Lee 2020).

A fold has a target rater and is scored on that rater's own ratings. `others_h` and `others_s` learn
the other raters' majority and their vote shares; they are handed no rating of the target.
`rater` learns the target's ratings, all of them or a share. `fusion` learns the target's ratings
from the last hidden vectors of these models, which are frozen: they are read once, in eval mode,
and stored, so that a fusion trains a small network on vectors and changes nothing else. Others are
one pair of stages for every share and every fusion, and a share's `rater` is one for every fusion.

The share of the target's ratings is drawn where the rater's model is trained, and the fusion takes
its rows from there. Shares are nested: of each class, the first so many in one seeded order.

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

from trainables.metrics import validation_scores
from trainables.stage import Artifact, Method, Node, Param, Part, StageInputs
from trainables.votes import partition

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.epochs import Fitted
    from trainables.networks.blstm import BLSTM, Fusion

__all__ = ["METHOD", "fusion", "others", "pooled", "rater", "share_of", "vote_counts"]

MODELS = {
    "rater": ("rater",),
    "others_h": ("others_h",),
    "others_s": ("others_s",),
    "fusion_h": ("others_h", "rater"),
    "fusion_s": ("others_s", "rater"),
    "fusion_hs": ("others_h", "others_s", "rater"),
}
"""What each model is made of."""
CHECKPOINT_SECONDS = 20.0
"""at least so long between two checkpoints of a training, which are written after epochs"""

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


def others(
    inputs: StageInputs,
    *,
    labels: str,
    least: int,
    self_ratings: str,
    class_weight: str,
    every: int,
    width: float,
    units: str,
    dropout: float,
    optimiser: str,
    batch: int,
    lr: float,
    epochs: int,
    patience: int,
    bucket: int,
) -> Artifact:
    """Learn what the raters beside the target heard, and read every clip.

    Args:
        inputs: a fold; its ratings hold none of the target's
        labels: "hard" learns the class that leads the others' votes, and leaves clips out where
            several do; "soft" learns their shares, and keeps these

    Other parameters are those of METHOD. Training stops by the UA on validation clips whose votes
    one class leads.

    Returns:
        arrays `validation` and `test` [n, K] probabilities, and `hidden_train`,
        `hidden_validation` and `hidden_test` [n, E] of all clips of these parts; info `curves`,
        `best_epoch`, `epochs`, `best_validation_ua`, `clips` trained on by number, `ties` (clips
        with enough votes that no class leads), `validation_clips`, `target_mass` by class

    Raises:
        ValueError: ratings or frames are not there, or no clip has votes enough
        NonFinite: the training diverged
    """
    own = {name: value for name, value in locals().items() if name != "inputs"}
    if inputs.target is not None and inputs.train.ratings is not None:
        seen = np.concatenate([inputs.train.ratings, inputs.validation.ratings])
        assert (seen[:, inputs.target] < 0).all(), "the target's ratings must not come here"
    import torch

    from trainables import targets

    k = len(inputs.classes)
    votes = vote_counts(inputs.train, k, self_ratings)
    leader = partition(votes, least=least).dominant
    enough = votes.sum(axis=1) >= least
    rows = np.flatnonzero(leader >= 0 if labels == "hard" else enough)
    if not len(rows):
        raise ValueError(f"no training clip has least={least} ratings by others than the target")
    target = targets.build(
        labels, y=torch.as_tensor(leader[rows]), k=k, votes=torch.as_tensor(votes[rows])
    ).numpy()
    check = partition(vote_counts(inputs.validation, k, self_ratings), least=least).dominant
    held = np.flatnonzero(check >= 0)
    fitted, build = _train(inputs, rows, target, held, check[held], own)
    read = {
        name: _read(inputs, part, fitted, build, own, k)
        for name, part in (
            ("train", inputs.train),
            ("validation", inputs.validation),
            ("test", inputs.test),
        )
    }
    arrays = {f"hidden_{name}": hidden for name, (_, hidden) in read.items()}
    arrays |= {name: read[name][0] for name in ("validation", "test")}
    info = fitted.facts | {
        "clips": len(rows),
        "ties": int((enough & (leader < 0)).sum()),
        "validation_clips": len(held),
        "target_mass": [float(value) for value in target.sum(axis=0)],
    }
    return Artifact(arrays=arrays, info=info)


def rater(
    inputs: StageInputs,
    *,
    percent: float,
    class_weight: str,
    every: int,
    width: float,
    units: str,
    dropout: float,
    optimiser: str,
    batch: int,
    lr: float,
    epochs: int,
    patience: int,
    bucket: int,
) -> Artifact:
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
    own = {name: value for name, value in locals().items() if name != "inputs"}
    k = len(inputs.classes)
    mine = {name: _of_target(inputs, name) for name in ("train", "validation")}
    rated = np.flatnonzero(mine["train"] >= 0)
    held = np.flatnonzero(mine["validation"] >= 0)
    if not len(rated) or not len(held):
        raise ValueError("the target rater rated no clip of the training or the validation part")
    chosen = rated[share_of(mine["train"][rated], percent, inputs.seed)]
    label = mine["train"][chosen]
    fitted, build = _train(
        inputs, chosen, np.eye(k, dtype=np.float32)[label], held, mine["validation"][held], own
    )
    _, learnt = _read(inputs, inputs.train.take(chosen), fitted, build, own, k)
    validation, hidden = _read(inputs, inputs.validation, fitted, build, own, k)
    test, unseen = _read(inputs, inputs.test, fitted, build, own, k)
    arrays: dict[str, NDArray[Any]] = {
        "validation": validation,
        "test": test,
        "chosen": chosen,
        "label": label,
        "validation_rows": held,
        "validation_label": mine["validation"][held],
        "hidden_train": learnt,
        "hidden_validation": hidden,
        "hidden_test": unseen,
    }
    info = fitted.facts | {
        "clips": len(chosen),
        "rated": len(rated),
        "validation_clips": len(held),
        "target_mass": np.bincount(label, minlength=k).tolist(),
    }
    return Artifact(arrays=arrays, info=info)


def fusion(
    inputs: StageInputs,
    *,
    class_weight: str,
    width: float,
    dropout: float,
    optimiser: str,
    batch: int,
    lr: float,
    epochs: int,
    patience: int,
) -> Artifact:
    """Learn the target's ratings from the frozen models' last hidden vectors (section 2.2.4).

    Rows and ratings are those that the rater's model was trained on. Batch norm sees whole batches:
    one worker trains, and a last batch of a single row joins the one before it.

    Returns:
        arrays `validation` and `test` [n, K] probabilities; info as for `rater`

    Raises:
        ValueError: the target has a single training clip
        NonFinite: the training diverged
    """
    from trainables.loop import fit
    from trainables.losses import target_loss

    own = {name: value for name, value in locals().items() if name != "inputs"}
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
        build=functools.partial(_fusion, train.shape[1], k, own),
        forward=_forward_fusion,
        infer=_infer_fusion,
        loss=functools.partial(target_loss, weights=_weights(target, own)),
        score=functools.partial(validation_scores, y=np.array(mine["validation_label"]), k=k),
        train={"x": train, "target": target},
        validation={"x": seen[held]},
        predict={"validation": {"x": seen}, "test": {"x": unseen}},
        batch=batch,
        lr=lr,
        epochs=epochs,
        patience=patience,
        seed=inputs.seed,
        threads=inputs.threads,
        device=inputs.device,
        scratch=inputs.scratch,
        checkpoint_every=1,
        checkpoint_seconds=CHECKPOINT_SECONDS,
        on_epoch=inputs.on_epoch,
        optimiser=own["optimiser"],
    )
    info = fitted.facts | {"clips": len(chosen), "validation_clips": len(held)}
    return Artifact(arrays=fitted.probabilities, info=info)


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


# --- One training ---------------------------------------------------------------------------


def pooled(frames: NDArray[Any], every: int) -> NDArray[np.float32]:
    """Means of every so many frames, [L, D] -> [ceil(L / every), D]; the last of what is left."""
    starts = np.arange(0, len(frames), every)
    sums = np.add.reduceat(np.asarray(frames, dtype=np.float32), starts, axis=0)
    counts = np.diff([*starts, len(frames)])
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means


def _collate(rows: Mapping[str, Any], *, every: int) -> dict[str, Tensor]:
    import torch

    from trainables.audio import padded

    made = {
        name: torch.as_tensor(np.require(values, requirements=["C", "W"]))
        for name, values in rows.items()
        if not isinstance(values, list)
    }
    whole, lengths = padded([pooled(frames, every) for frames in rows["frames"]])
    return made | {"frames": torch.from_numpy(whole), "length": torch.from_numpy(lengths)}


def _frames(part: Part) -> Any:
    """The one feature set of frames, [n] rows of [L, D]."""
    if len(part.frames) != 1:
        raise ValueError(
            f"co-rater training reads one feature set of frames, but features= names "
            f"{sorted(part.frames)}; take features=emobase-frames"
        )
    (found,) = part.frames.values()
    if found.values.ndim != 2:
        raise ValueError("co-rater training reads frames [L, D], not a wave")
    return found


def _train(
    inputs: StageInputs,
    rows: NDArray[np.int64],
    target: NDArray[np.float32],
    held: NDArray[np.int64],
    y: NDArray[np.int64],
    own: Mapping[str, Any],
) -> tuple[Fitted, Any]:
    """Train a BLSTM on rows of the training part; also what builds it.

    Args:
        inputs: a fold
        rows, target: [m] training rows and [m, K] their targets
        held, y: [v] validation rows and their classes
        own: parameters of SUBMODEL
    """
    from trainables.loop import fit
    from trainables.losses import target_loss

    if not len(held):
        raise ValueError("no validation clip has ratings that the model could be stopped by")
    frames = _frames(inputs.train).take(rows)
    build = functools.partial(_network, int(frames.values.shape[1]), len(inputs.classes), dict(own))
    fitted = fit(
        build=build,
        forward=_forward,
        infer=_infer,
        loss=functools.partial(target_loss, weights=_weights(target, own)),
        score=functools.partial(validation_scores, y=y, k=len(inputs.classes)),
        train={"frames": frames, "target": target},
        validation={"frames": _frames(inputs.validation).take(held)},
        predict={},
        batch=own["batch"],
        lr=own["lr"],
        epochs=own["epochs"],
        patience=own["patience"],
        **{**inputs.training, "keep_weights": True},
        checkpoint_every=1,
        checkpoint_seconds=CHECKPOINT_SECONDS,
        collate=functools.partial(_collate, every=own["every"]),
        bucket=own["bucket"],
        optimiser=own["optimiser"],
    )
    return fitted, build


def _read(
    inputs: StageInputs, part: Part, fitted: Fitted, build: Any, own: Mapping[str, Any], k: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[n, K] probabilities and [n, E] hidden vectors of a part, by the frozen model."""
    from scipy.special import softmax

    from trainables.passes import read

    assert fitted.weights is not None
    both = read(
        build=build,
        weights=fitted.weights,
        infer=_infer_both,
        columns={"frames": _frames(part)},
        collate=functools.partial(_collate, every=own["every"]),
        eval_batch=2 * own["batch"],
        threads=inputs.threads,
        device=inputs.device,
    )
    return softmax(both[:, :k], axis=1), np.ascontiguousarray(both[:, k:])


def _weights(target: NDArray[np.float32], own: Mapping[str, Any]) -> NDArray[np.float32] | None:
    if own["class_weight"] == "none":
        return None
    import torch

    from trainables.losses import inverse_frequency

    found: NDArray[np.float32] = inverse_frequency(torch.as_tensor(target.sum(axis=0))).numpy()
    return found


def _network(inputs: int, classes: int, own: Mapping[str, Any]) -> BLSTM:
    from trainables.networks.blstm import BLSTM

    return BLSTM(inputs, classes, dropout=own["dropout"], width=own["width"], units=own["units"])


def _fusion(inputs: int, classes: int, own: Mapping[str, Any]) -> Fusion:
    from trainables.networks.blstm import Fusion

    return Fusion(inputs, classes, dropout=own["dropout"], width=own["width"])


def _infer(module: BLSTM, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["frames"], rows["length"]).logits


def _infer_both(module: BLSTM, rows: Mapping[str, Tensor]) -> Tensor:
    """Logits and hidden vectors side by side, [n, K + E]."""
    import torch

    return torch.cat(list(module(rows["frames"], rows["length"])), dim=1)


def _forward(module: BLSTM, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": _infer(module, rows)}


def _infer_fusion(module: Fusion, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"])


def _forward_fusion(module: Fusion, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": module(rows["x"])}


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
)
