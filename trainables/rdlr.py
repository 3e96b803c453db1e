"""RDLR: relative difficulty and labelling reliability (Ahn et al. 2024, Sensors 24, 4111).

Two stages a fold. `pretrained` trains the model that tells which labels look unreliable (only
where the strategy asks for predictions), `student` trains towards the targets made from it. The
first knows nothing of gamma or of the strategy, so a sweep over them trains it once a fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainables import augmentation, fitting, mlp_training, targets
from trainables.class_loss import LOSS, METRIC, settle_loss
from trainables.embedding import embedding
from trainables.fitting import above, where
from trainables.lesson import TARGETS, lesson_of, parts_of, targets_of
from trainables.mlp_training import uses_unlabelled
from trainables.stage import (
    Artifact,
    Exporter,
    FoldFacts,
    Method,
    Node,
    Param,
    Part,
    Setting,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES

TRAINING: dict[str, Param] = {
    # Loss terms
    **LOSS,
    "lambda_w": Param(
        0.0,
        "exponent of the corpus-wise weights, eq. 6 (paper: 1 to 4); without effect on a single "
        "corpus",
        low=0.0,
        high=16.0,
    ),
    "lambda_ae": Param(
        0.0,
        "weight of the reconstruction, eq. 12 (paper: 0.5, 0.1, 0.01, 0.001)",
        low=0.0,
        high=100.0,
    ),
    **where(
        above("lambda_ae"),
        ae_reduction=Param(
            "mean",
            "squared error over the features: 'mean', or 'sum' as eq. 12 is printed (1582 times "
            "the mean for IS10)",
            ("mean", "sum"),
        ),
        ae_on=Param(
            "labelled",
            "rows to reconstruct: 'labelled' (eq. 11) or 'both', the unlabelled too (the paper's "
            "text)",
            ("labelled", "both"),
        ),
        decoder_layers=Param(3, "3: the paper's 1024-1024-D; 2: the public code's, linear", (2, 3)),
    ),
    "lambda_pel": Param(
        0.0,
        "weight of the pseudo-labels on unlabelled speech, eq. 13 (paper: 0.0001)",
        low=0.0,
        high=100.0,
    ),
    **where(
        uses_unlabelled,
        pel_batch=Param(32, "unlabelled rows a step, M' (paper: 32)", low=1, high=65536),
    ),
    **METRIC,
    # Network and steps
    "dropout": Param(0.5, "share of hidden units dropped (paper: 0.5)", low=0.0, high=0.95),
    "width": Param(1.0, "multiplies the hidden layers 1024-1024-512-512", low=1 / 64, high=8.0),
    **fitting.steps(
        batch=(64, "paper: 1024 to 4096, on tens of thousands of clips"),
        lr=(2e-4, "paper: 2e-4"),
        weight_decay=(0.0, ""),
        epochs=(100, ""),
        patience=(5, "paper: 5"),
        patience_steps=(120, ""),
        plateau_patience=(2, "paper: 2"),
        plateau_factor=(1.0, "paper: 0.1; 1 is 3 points better on corpora of hundreds of clips"),
        precision=("fp32", ""),
    ),
    **augmentation.declare(vectors=augmentation.always),
}
"""Parameters of one training, whatever its targets."""
SMOOTHING = ("strategy", "smoothing")
"""Parameters of the pre-trained model's targets."""
PARAMS: dict[str, Param] = {
    **TARGETS,
    **TRAINING,
    # The model that decides the mask
    "mask_model": Param(
        "fixed",
        "settings of the pre-trained model: 'fixed' takes pretrained_*, or what the study pins for "
        "all trials: one model a fold; 'tied' follows the trial's own",
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
    **fitting.again("pretrained", TRAINING, TRAINING, lambda_w=1.0, lambda_rd=0.1),
}


def canonical(setting: Setting) -> dict[str, Any]:
    """The parameters of one training, with those that have no effect set to None.

    Settings that train the same thing get the same stage key: gamma does not matter to hard
    labels, nor alpha to a relative difficulty of weight 0; smoothing by 0 is the hard label; focal
    loss with exponent 0 is cross entropy.

    Args:
        setting: at least TARGETS and TRAINING
    """
    own = fitting.pick([*TARGETS, *TRAINING], setting)
    own |= targets.canonical(own)
    return fitting.settle(PARAMS, settle_loss(own))


def _mask_setting(setting: Setting) -> dict[str, Any]:
    """The training parameters of the pre-trained model: the whole system without LR."""
    base = dict(setting)
    if setting["mask_model"] == "fixed":
        base |= fitting.second("pretrained", TRAINING, setting)
    smoothing = setting["pretrained_smoothing"]
    return canonical(base | {"strategy": "label_smoothing", "smoothing": smoothing})


def _graph(setting: Setting) -> tuple[Node, ...]:
    own = canonical(setting)
    needs = STRATEGIES[own["strategy"]].needs
    undecided = parts_of(own)
    parts = ("train", "validation", "test", *undecided, *_side(own))
    last = Node("student", student, params={**own, "cuts": None}, parts=parts, group=True)
    if "predictions" not in needs:
        return (last,)
    mask = _mask_setting(setting)
    folds = setting["mask_folds"] if setting["mask"] == "out_of_fold" else None
    teacher = Node(
        "pretrained",
        pretrained,
        params={
            **fitting.pick([*SMOOTHING, *TRAINING], mask),
            **fitting.typed(PARAMS, {"mask": setting["mask"], "mask_folds": folds}),
            "cuts": None,
        },
        parts=("train", "validation", *undecided, *_side(mask)),
        group=True,
    )
    return (teacher, replace(last, parents={"pretrained": "pretrained"}))


def _in_fold(node: Node, facts: FoldFacts) -> dict[str, Any]:
    """A node's parameters, with those that have no effect on a fold at one value.

    Eq. 6 weighs corpora, and has nothing to weigh on one; a batch that holds all clips is one
    however large, and so are groups of speakers that there are not enough speakers for.
    """
    own = dict(node.params)
    lesson = facts.parts["train"]
    needs = STRATEGIES[own["strategy"]].needs
    if "sets" in needs and "undecided" in node.parts and node.name == "student":
        lesson = lesson.join(facts.parts["undecided"])
    by_votes = "votes" in needs
    if len(lesson.voted_corpora if by_votes else lesson.corpora) < 2:
        own["lambda_w"] = 0.0
    clips = lesson.voted if by_votes else lesson.clips
    if own["batch"] >= clips - 1:  # a last row of its own joins the batch before it
        own["batch"] = clips
    if own.get("mask_folds") is not None:
        own["mask_folds"] = min(own["mask_folds"], len(lesson.speakers))
        return own
    return fitting.settle_wait(own, clips)


def _side(own: Setting) -> tuple[str, ...]:
    return ("unlabelled",) if uses_unlabelled(own) else ()


def _needs(setting: Setting) -> frozenset[str]:
    parts = {name for node in _graph(setting) for name in node.parts}
    votes = "votes" in STRATEGIES[canonical(setting)["strategy"]].needs
    return frozenset(parts & {"unlabelled"} | ({"votes"} if votes else set()))


# --- Stages ---------------------------------------------------------------------------------


@takes(*TARGETS, *TRAINING, "cuts")
def student(inputs: StageInputs, own: Setting) -> Artifact:
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
    lesson = lesson_of(inputs, inputs.parents.get("pretrained"), own)
    parts = {"validation": inputs.validation, "test": inputs.test}
    result = mlp_training.fit(inputs, lesson.part, lesson.target, parts, own)
    info = {**mlp_training.facts(result), **lesson.facts}
    if result.weights is not None:
        info["inputs"] = inputs.train.x.shape[1]
    arrays = result.probabilities | embedding(result.layers) | weight_arrays(result.weights)
    return Artifact(arrays=arrays, info=info)


@takes(*SMOOTHING, *TRAINING, "mask", "mask_folds", "cuts")
def pretrained(inputs: StageInputs, own: Setting) -> Artifact:
    """Train the model without LR and predict the training part, in eval mode.

    `mask="in_sample"` predicts the rows it was trained on, as the paper does; a model that has
    learnt them by heart finds nothing unreliable. "out_of_fold" divides the training speakers
    into `mask_folds` groups (fewer where there are fewer speakers) and predicts each group by a
    model trained on the others, stopped by the same validation part.

    Returns:
        of `fitting.teach`

    Raises:
        ValueError: out_of_fold with a single training speaker
        NonFinite: the training diverged
    """

    def fit(here: StageInputs, away: fitting.Rows, predict: Mapping[str, Part]) -> fitting.Outcome:
        train = here.train.take(~away["train"])
        target = targets_of(train, None, len(here.classes), own)
        result = mlp_training.fit(here, train, target, predict, own)
        return result.probabilities, mlp_training.facts(result)

    groups = fitting.speaker_groups(
        inputs,
        # Speakers without a labelled clip are in no training: any model may predict theirs.
        inputs.train.speaker,
        own["mask_folds"] if own["mask"] == "out_of_fold" else None,
        option="mask=out_of_fold",
        instead="mask=in_sample",
    )
    return fitting.teach(inputs, groups, fit)


def _export_notes(setting: Setting) -> tuple[str, ...]:
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
    in_fold=_in_fold,
    needs=_needs,
    features=("is10",),
    inherits={f"pretrained_{name}": name for name in TRAINING},
    calibrate=mlp_training.calibrate,
    paper="Ahn, Han, Lee, Shin: Speech Emotion Recognition Incorporating Relative Difficulty and "
    "Labeling Reliability. Sensors 24, 4111 (2024)",
    export=Exporter(mlp_training.predictor, several=targets.several, notes=_export_notes),
)
