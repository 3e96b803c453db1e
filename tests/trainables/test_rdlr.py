"""The method: what its settings ask for, and that every combination trains."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.contracts.method_contract import CanonicalContract, Case, Effect, TrainedContract
from trainables import metrics, mlp_training, rdlr
from trainables.rdlr import METHOD
from trainables.stage import Artifact, FoldFacts, Node, Part, PartFacts
from trainables.targets import STRATEGIES

K, D = 3, 12
SMALL = {
    "width": 1 / 16,
    "lr": 5e-3,
    "epochs": 8,
    "patience": 8,
    "dropout": 0.1,
    "batch": 16,
    "patience_steps": 0,
}
PRE = {f"pretrained_{name}": value for name, value in SMALL.items()}


def part(seed: int, n: int, *, labels: bool = True, speakers: int = 3, corpora: int = 1) -> Part:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    votes = rng.integers(0, 3, (n, K)) + 3 * np.eye(K, dtype=int)[y]
    return Part(
        ids=np.array([f"{seed}-{i}" for i in range(n)]),
        x=(rng.normal(size=(n, D)) + 1.5 * np.eye(D)[y]).astype(np.float32),
        speaker=rng.integers(0, speakers, n),
        corpus=rng.permutation(n) % corpora,
        y=y if labels else None,
        votes=votes.astype(np.float32) if labels else None,
    )


def inputs(*, corpora: int = 1, seed: int = 3, speakers: int = 3) -> dict[str, Part]:
    return {
        "train": part(0, 62, corpora=corpora, speakers=speakers),
        "validation": part(1, 30, corpora=corpora),
        "test": part(2, 20, labels=False),
        "unlabelled": part(3, 25, labels=False),
        "undecided": part(4, 0, labels=False),
    }


EFFECTS = (
    Effect("gamma", {"strategy": "label_smoothing"}, {"strategy": "lr"}),
    Effect("smoothing", {"strategy": "lr"}, {"strategy": "unigram"}),
    Effect("lr_base", {"strategy": "lr"}, {"strategy": "ls_lr"}),
    Effect("wdsl_alpha", {}, {"strategy": "wdsl"}),
    Effect("correction_lambda", {}, {"strategy": "correction_soft"}),
    Effect("target_norm", {"strategy": "soft"}, {"strategy": "multi_label"}),
    Effect("correct", {"strategy": "multi_label"}, {"strategy": "correction_hard"}),
    Effect("dominant", {"strategy": "soft"}, {"strategy": "correction_soft"}),
    Effect("focal_gamma", {}, {"loss": "focal"}),
    Effect("rd_alpha", {}, {"lambda_rd": 0.1}),
    Effect("rd_delta", {}, {"lambda_rd": 0.1}),
    Effect("ae_reduction", {}, {"lambda_ae": 0.1}),
    Effect("ae_on", {}, {"lambda_ae": 0.1}),
    Effect("decoder_layers", {}, {"lambda_ae": 0.1}),
    Effect("pel_batch", {"lambda_ae": 0.1}, {"lambda_pel": 0.1}),
    Effect("pel_batch", {}, {"lambda_ae": 0.1, "ae_on": "both"}),
    Effect("lambda_metric", {}, {"metric": "contrastive"}),
    Effect("margin", {"metric": "proxy_anchor"}, {"metric": "contrastive"}),
    Effect("proxy_alpha", {"metric": "contrastive"}, {"metric": "proxy_anchor"}),
    Effect("proxy_delta", {}, {"metric": "proxy_anchor"}),
    Effect("proxy_lr_scale", {}, {"metric": "proxy_anchor"}),
    Effect("plateau_patience", {}, {"plateau_factor": 0.1}),
    Effect("mask_folds", {"mask": "in_sample"}, {"mask": "out_of_fold"}),
    Effect("pretrained_lr", {"strategy": "hard"}, {"strategy": "lr"}),
    Effect("pretrained_lr", {"mask_model": "tied"}, {"mask_model": "fixed"}),
)
CASE = Case(
    METHOD,
    inputs,
    SMALL | PRE,
    EFFECTS,
    rdlr.canonical,
    models=(
        {"strategy": "hard", "lambda_ae": 0.1, "decoder_layers": 2},
        {"strategy": "soft", "metric": "proxy_anchor"},
        {"strategy": "hard", "precision": "bf16"},
    ),
)


def run(
    setting: dict[str, Any], parts: dict[str, Part] | None = None, seed: int = 3
) -> dict[str, Artifact]:
    return CASE.run(setting, parts, seed=seed)


def graph(**setting: Any) -> dict[str, Node]:
    return {node.name: node for node in METHOD.graph(METHOD.resolve(setting))}


def key(node: Node) -> str:
    return json.dumps(dict(node.params), sort_keys=True)


class TestRdlrContract(CanonicalContract, TrainedContract):
    @pytest.fixture
    def case(self) -> Case:
        return CASE


# What a fold makes of a setting


def facts(parts: dict[str, Part]) -> FoldFacts:
    """Of parts that are handed to a stage as they are."""

    def of(part: Part) -> PartFacts:
        voted = part.votes.sum(axis=1) > 0 if part.votes is not None else np.zeros(len(part), bool)
        return PartFacts(
            len(part),
            int(voted.sum()),
            frozenset(part.corpus.tolist()),
            frozenset(part.corpus[voted].tolist()),
            frozenset(part.speaker.tolist()),
        )

    return FoldFacts({name: of(parts[name]) for name in ("train", "validation", "undecided")})


def one_of_votes(parts: dict[str, Part]) -> dict[str, Part]:
    """The same, where the clips of one corpus alone have votes."""
    train = parts["train"]
    assert train.votes is not None
    votes = np.where(train.corpus[:, None] == 0, train.votes, 0).astype(np.float32)
    return parts | {"train": replace(train, votes=votes)}


HARD, LR = {"strategy": "hard"}, {"strategy": "lr", "pretrained_epochs": 2}
OUTSIDE = LR | {"mask": "out_of_fold"}


@pytest.mark.parametrize(
    ("base", "change", "parts", "same"),
    [
        (HARD, {"lambda_w": 2.0}, inputs(), True),
        (HARD, {"lambda_w": 2.0}, inputs(corpora=2), False),
        ({"strategy": "soft"}, {"lambda_w": 2.0}, inputs(corpora=2), False),
        ({"strategy": "soft"}, {"lambda_w": 2.0}, one_of_votes(inputs(corpora=2)), True),
        (HARD | {"lambda_w": 0.0}, {"lambda_w": 2.0}, one_of_votes(inputs(corpora=2)), False),
        (HARD | {"batch": 62}, {"batch": 4096}, inputs(), True),
        (HARD | {"batch": 61}, {"batch": 62}, inputs(), True),
        (HARD | {"batch": 60}, {"batch": 62}, inputs(), False),
        (HARD | {"patience": 1}, {"patience_steps": 4}, inputs(), True),
        (HARD | {"patience": 2}, {"patience": 1, "patience_steps": 8}, inputs(), True),
        (LR | {"pretrained_lambda_w": 0.0}, {"pretrained_lambda_w": 3.0}, inputs(), True),
        (LR | {"pretrained_lambda_w": 0.0}, {"pretrained_lambda_w": 3.0}, inputs(corpora=2), False),
        (OUTSIDE | {"mask_folds": 3}, {"mask_folds": 5}, inputs(), True),
        (OUTSIDE | {"mask_folds": 2}, {"mask_folds": 3}, inputs(), False),
    ],
)
def test_settings_are_one_on_a_fold_exactly_where_they_predict_the_same_to_the_last_bit(
    base: dict[str, Any], change: dict[str, Any], parts: dict[str, Part], same: bool
) -> None:
    def on_fold(setting: dict[str, Any]) -> str:
        nodes = METHOD.graph(METHOD.resolve(SMALL | PRE | {"epochs": 3} | setting))
        return json.dumps([dict(METHOD.in_fold(node, facts(parts))) for node in nodes])

    assert (on_fold(base) == on_fold(base | change)) == same
    # Run as they are written: by no stage's fold.
    one, other = (run(SMALL | PRE | {"epochs": 3} | s, parts) for s in (base, base | change))
    first = next(iter(one))  # of a mask model the predictions themselves, not what a mask leaves
    equal = [
        np.array_equal(one[first].arrays[name], other[first].arrays[name])
        for name in one[first].arrays
    ]
    assert equal
    assert all(equal) == same


# What a setting asks for


def test_hard_labels_need_no_pretrained_model_whatever_gamma() -> None:
    one, other = graph(strategy="hard", gamma=0.2), graph(strategy="hard", gamma=0.8)
    assert list(one) == ["student"]
    assert key(one["student"]) == key(other["student"])


def test_gamma_and_the_trials_own_settings_never_retrain_the_fixed_mask_model() -> None:
    base = graph(strategy="lr")
    assert list(base) == ["pretrained", "student"]
    assert "unlabelled" not in base["pretrained"].parts
    assert base["pretrained"].parts == ("train", "validation")
    for change in (
        {"gamma": 0.8},
        {"strategy": "self_kd"},
        {"lambda_rd": 0.5, "lambda_w": 2.0, "lambda_ae": 0.1},
        {"batch": 128, "lr": 1e-3, "dropout": 0.2, "epochs": 7, "width": 0.5},
        {"loss": "focal", "metric": "contrastive"},
    ):
        other = graph(**({"strategy": "lr"} | change))
        assert key(other["pretrained"]) == key(base["pretrained"]), change
        assert key(other["student"]) != key(base["student"]), change


@pytest.mark.parametrize(
    ("pins", "reference"),
    [
        (
            {"plateau_factor": 0.1, "weight_decay": 0.01},
            {"plateau_factor": 0.1, "weight_decay": 0.01},
        ),
        ({"lambda_ae": 0.01, "ae_on": "both"}, {"lambda_ae": 0.01, "ae_on": "both"}),
        ({"lambda_w": 0}, {"lambda_w": 0.0}),
        ({"lr": 1e-3, "pretrained_lr": 5e-4}, {"lr": 5e-4}),
        ({"lr": {"choice": [1e-3, 2e-3]}}, {"lr": 2e-4, "lambda_rd": 0.1}),
        ({"strategy": "lr", "loss": "focal"}, {"strategy": "label_smoothing", "loss": "focal"}),
    ],
)
def test_a_fixed_mask_model_has_what_the_study_pins(
    pins: dict[str, Any], reference: dict[str, Any]
) -> None:
    """Unless pretrained_* says otherwise; what is searched is not pinned."""
    from raysearch.study.space import Space

    space, problems = Space.parse(pins)
    assert not problems
    model = graph(**space.typed(METHOD).constants())["pretrained"]
    assert {name: model.params[name] for name in reference} == reference


def test_a_tied_mask_model_follows_lambdas_and_batch_but_not_gamma() -> None:
    base = graph(mask_model="tied")
    assert key(graph(mask_model="tied", gamma=0.8)["pretrained"]) == key(base["pretrained"])
    for change in ({"lambda_rd": 0.5}, {"batch": 128}, {"lambda_ae": 0.1}, {"lambda_w": 3.0}):
        other = graph(mask_model="tied", **change)
        assert key(other["pretrained"]) != key(base["pretrained"])


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ({"strategy": "lr", "gamma": 0}, {"strategy": "hard"}),
        ({"strategy": "label_smoothing", "smoothing": 0.0}, {"strategy": "hard"}),
        ({"strategy": "wdsl", "wdsl_alpha": 1.0}, {"strategy": "hard"}),
        ({"strategy": "bdsl"}, {"strategy": "self_kd"}),
        ({"strategy": "correction_hard", "correction_lambda": 0}, {"strategy": "uncorrected"}),
        ({"strategy": "ls_lr", "gamma": 0.0}, {"strategy": "label_smoothing"}),
        ({"loss": "focal", "focal_gamma": 0.0}, {"loss": "ce"}),
        ({"metric": "contrastive", "lambda_metric": 0.0}, {}),
        ({"lambda_rd": 1}, {"lambda_rd": 1.0}),
        ({"batch": 64.0}, {"batch": 64}),
    ],
)
def test_settings_that_train_the_same_are_the_same(
    setting: dict[str, Any], same: dict[str, Any]
) -> None:
    a, b = graph(**setting), graph(**same)
    assert list(a) == list(b)
    assert [key(n) for n in a.values()] == [key(n) for n in b.values()]


def test_needs() -> None:
    def needs(**setting: Any) -> set[str]:
        return set(METHOD.needs(METHOD.resolve(setting)))

    assert needs() == set()
    assert needs(lambda_w=2.0) == set()
    assert needs(strategy="soft") == {"votes"}
    assert needs(strategy="correction_soft") == {"votes"}
    assert needs(lambda_pel=1e-4) == {"unlabelled"}
    assert needs(lambda_ae=0.1) == set()
    assert needs(lambda_ae=0.1, ae_on="both") == {"unlabelled"}
    assert needs(pretrained_lambda_pel=1e-4) == {"unlabelled"}
    assert needs(strategy="hard", pretrained_lambda_pel=1e-4) == set()
    assert "unlabelled" in graph(pretrained_lambda_pel=1e-4)["pretrained"].parts


# What it trains


@pytest.mark.parametrize("strategy", METHOD.params["strategy"].choices or ())
def test_every_strategy_trains(strategy: str) -> None:
    result = run({"strategy": strategy})["student"]
    assert set(result.arrays) == {"validation", "test", "embedding_test"}
    assert result.arrays["test"].shape == (20, K)
    assert result.info["best_validation_ua"] > 0.4
    assert len(result.info["curves"]["loss"]) == result.info["epochs"]
    assert ("flagged" in result.info) == ("predictions" in STRATEGIES[strategy].needs)


@pytest.mark.parametrize(
    ("setting", "terms"),
    [
        ({"loss": "focal"}, {"focal"}),
        ({"lambda_rd": 0.1}, {"ce", "rd"}),
        ({"lambda_ae": 0.1, "decoder_layers": 2}, {"ce", "ae"}),
        ({"lambda_ae": 0.1, "ae_on": "both", "ae_reduction": "sum"}, {"ce", "ae"}),
        ({"lambda_pel": 1e-3, "pel_batch": 40}, {"ce", "pel"}),
        ({"metric": "contrastive"}, {"ce", "contrastive"}),
        ({"metric": "proxy_anchor"}, {"ce", "proxy_anchor"}),
        (
            {
                "strategy": "ls_lr",
                "loss": "focal",
                "lambda_w": 2.0,
                "lambda_rd": 0.1,
                "lambda_ae": 0.1,
                "ae_on": "both",
                "lambda_pel": 1e-4,
                "metric": "proxy_anchor",
            },
            {"focal", "rd", "ae", "pel", "proxy_anchor"},
        ),
    ],
)
def test_every_loss_term_trains_by_name(setting: dict[str, Any], terms: set[str]) -> None:
    result = run({"strategy": "hard"} | setting, inputs(corpora=2))["student"]
    curves = result.info["curves"]
    assert {n.removeprefix("loss_") for n in curves if n.startswith("loss_")} == terms
    total = sum(curves[f"loss_{t}"][0] for t in terms)
    assert curves["loss"][0] == pytest.approx(total)


def test_corpus_weights_follow_the_training_ua_and_start_at_one() -> None:
    setting = {"strategy": "hard", "lambda_w": 3.0, "class_weight": "none"}
    info = run(setting, inputs(corpora=3))["student"].info
    curves = info["curves"]
    assert set(info["corpus_weights"]) == {"0", "1", "2"}
    for epoch in range(info["epochs"]):
        u = np.array([curves[f"training_ua_{c}"][epoch] for c in range(3)])
        raw = (1 - u) ** 3.0
        want = raw / raw.mean() if raw.any() else np.ones(3)
        got = [curves[f"corpus_weight_{c}"][epoch] for c in range(3)]
        np.testing.assert_allclose(got, want, rtol=1e-5)
    plain = run(setting | {"lambda_w": 0.0}, inputs(corpora=3))["student"].info["curves"]
    assert plain["loss"][0] == curves["loss"][0]  # the first epoch's weights are 1
    assert plain["loss"][1:] != curves["loss"][1:]


def test_corpus_weights_do_nothing_on_one_corpus() -> None:
    one = run({"strategy": "hard", "lambda_w": 3.0})["student"]
    none = run({"strategy": "hard"})["student"]
    np.testing.assert_array_equal(one.arrays["test"], none.arrays["test"])
    assert one.info["corpus_weights"] == {}


def test_validation_ua_is_the_mean_over_corpora() -> None:
    parts = inputs(corpora=2)
    result = run({"strategy": "hard"}, parts)["student"]
    v = parts["validation"]
    guess = result.arrays["validation"].argmax(1)
    assert v.y is not None
    apart = [
        metrics.unweighted_accuracy(v.y[v.corpus == c], guess[v.corpus == c], K) for c in (0, 1)
    ]
    assert result.info["best_validation_ua"] == pytest.approx(np.mean(apart))


def test_the_mask_model_predicts_in_eval_mode() -> None:
    """Trap 8: the same rows twice give the same predictions, dropout or not."""
    parts = inputs()
    result = run({"strategy": "lr", "pretrained_dropout": 0.9}, parts)["pretrained"]
    parts["train"].x[-1] = parts["train"].x[0]
    again = run({"strategy": "lr", "pretrained_dropout": 0.9}, parts)["pretrained"]
    assert result.arrays["train"].shape == (62, K)
    twin = again.arrays["train"]
    np.testing.assert_allclose(twin[-1], twin[0], rtol=1e-5)


def test_out_of_fold_masks_flag_more_than_in_sample_ones() -> None:
    """Trap 8: a model that knows its rows by heart finds nothing unreliable."""
    parts = inputs(speakers=4)
    parts["train"] = Part(
        **{
            **vars(parts["train"]),
            "y": np.random.default_rng(5).permutation(parts["train"].y),  # labels are noise
        }
    )
    by_heart = {
        "pretrained_epochs": 25,
        "pretrained_patience": 25,
        "pretrained_dropout": 0.0,
        "pretrained_width": 1 / 8,
    }
    inside = run(by_heart, parts)["pretrained"].info
    outside = run(by_heart | {"mask": "out_of_fold"}, parts)["pretrained"]
    assert outside.info["flagged"] > inside["flagged"]
    assert len(outside.info["runs"]) == 4  # no more groups than speakers
    np.testing.assert_allclose(outside.arrays["train"].sum(1), 1.0, rtol=1e-5)


def test_out_of_fold_needs_two_speakers() -> None:
    with pytest.raises(ValueError, match="two training speakers"):
        run({"mask": "out_of_fold"}, inputs(speakers=1))


def test_rows_without_votes_are_left_out_and_counted() -> None:
    parts = inputs()
    assert parts["train"].votes is not None
    parts["train"].votes[:5] = 0
    assert run({"strategy": "correction_soft"}, parts)["student"].info["dropped"] == 5
    parts["train"].votes[:] = 0
    with pytest.raises(ValueError, match="no training clip has one"):
        run({"strategy": "soft"}, parts)


@pytest.mark.parametrize("mask", ["in_sample", "out_of_fold"])
@pytest.mark.parametrize("strategy", ["correction_soft", "correction_hard", "uncorrected"])
def test_label_correction_learns_from_clips_without_a_label(strategy: str, mask: str) -> None:
    parts = inputs(corpora=2)
    left = part(5, 12, corpora=2, speakers=4)  # speaker 3 has no labelled clip
    left.votes[:, 1] = left.votes[:, 0]  # type: ignore[index]
    left.votes[0] = 0  # type: ignore[index]
    parts["undecided"] = Part(**{**vars(left), "y": np.full(12, -1)})
    setting = {"strategy": strategy, "lambda_w": 2.0, "mask": mask}
    result = run(setting, parts)
    with_them = result["student"]
    assert with_them.info["dropped"] == 1
    if strategy != "uncorrected":
        shape = result["pretrained"].arrays["undecided"].shape
        assert shape == (12, K)
        np.testing.assert_allclose(result["pretrained"].arrays["undecided"].sum(1), 1, rtol=1e-5)
    parts["undecided"] = part(4, 0, labels=False)
    without = run(setting, parts)["student"]
    assert with_them.info["curves"]["loss"] != without.info["curves"]["loss"]


def test_metric_losses_refuse_clips_without_a_label() -> None:
    parts = inputs()
    left = part(5, 12)
    parts["undecided"] = Part(**{**vars(left), "y": np.full(12, -1)})
    with pytest.raises(ValueError, match="metric=none"):
        run({"strategy": "uncorrected", "metric": "contrastive"}, parts)


def test_missing_material_is_told() -> None:
    parts = inputs()
    parts["train"] = Part(**{**vars(parts["train"]), "votes": None})
    with pytest.raises(ValueError, match="votes"):
        run({"strategy": "soft"}, parts)
    parts["unlabelled"] = part(3, 0, labels=False)
    with pytest.raises(ValueError, match="unlabelled"):
        run({"strategy": "hard", "lambda_pel": 1e-4}, parts)


def test_bf16_is_another_training_whose_scores_are_near() -> None:
    setting = {"strategy": "hard", "epochs": 3, "patience": 3}
    whole, half = (run({**setting, "precision": p})["student"] for p in ("fp32", "bf16"))
    assert CASE.keys(**setting) != CASE.keys(**setting, precision="bf16")
    assert whole.arrays["test"].dtype == half.arrays["test"].dtype == np.float32
    assert (whole.arrays["test"] != half.arrays["test"]).any()
    curves = [each.info["curves"]["loss"] for each in (half, whole)]
    np.testing.assert_allclose(*curves, rtol=0.05)


def test_a_calibration_measures_both() -> None:
    steps = mlp_training.calibrate(rows=16, steps=2, width=0.1)
    assert set(steps) == {"fp32", "bf16"}
    assert all(0 < each < 1000 for each in steps.values())
