"""The probe: its sum, pooling and padding against hand computation; LoRA; what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contracts.method_contract import CanonicalContract, Case, Effect, TrainedContract
from tests.support.checkpoints import checkpoint
from trainables.layer_choice import canonical_layers, layer_numbers
from trainables.networks.layer_sum import LayerSum, Probe
from trainables.probe import METHOD, canonical
from trainables.probe_training import RECORDED
from trainables.stage import NetworkState, Part, Sequences, weights_of

pytestmark = pytest.mark.filterwarnings("default")  # transformers' own
K, LAYERS, SIZE = 3, 3, 8


def part(seed: int, n: int, labels: bool = True, decided: bool = True) -> Part:
    """Clips of three classes, which the second layer tells apart; and waves of their level."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    lengths = rng.integers(3, 12, n)
    states = rng.normal(size=(lengths.sum(), LAYERS, SIZE))
    states[:, 1, 0] += 3 * np.repeat(y, lengths)
    samples = rng.integers(1_600, 4_000, n)
    wave = (rng.normal(size=samples.sum()) * np.repeat(1000 * (1 + y), samples)).astype(np.int16)
    votes = np.eye(K, dtype=np.float32)[y] * 2 + rng.integers(0, 2, (n, K)).astype(np.float32)
    numbers = y[:, None, None] + rng.normal(size=(n, 3, K)) * 0.1
    return Part(
        ids=np.array([f"{seed}-{i}" for i in range(n)]),
        x=np.zeros((n, 0), np.float32),
        speaker=np.arange(n) % 3,
        corpus=np.zeros(n, np.int64),
        y=(y if decided else np.full(n, -1)) if labels else None,
        votes=votes if labels else None,
        annotations=numbers.astype(np.float32) if labels else None,
        frames={
            "layers": Sequences(states.astype(np.float16), _starts(lengths)),
            "wave": Sequences(wave, _starts(samples)),
        },
    )


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def parts() -> dict[str, Part]:
    return {
        "train": part(0, 18),
        "validation": part(1, 9),
        "test": part(2, 6, labels=False),
        "unlabelled": part(3, 0, labels=False),
        "undecided": part(4, 3, decided=False),
    }


SMALL = {"epochs": 4, "teacher_epochs": 2, "batch": 8, "lr": 1e-2, "hidden": 8, "pool": "attention"}
TUNED = {"ssl_train": "lora", "ssl": "tiny", "lr": 1e-3, "epochs": 2, "lora_rank": 2}


class TestMethod(CanonicalContract, TrainedContract):
    @pytest.fixture
    def case(self) -> Case:
        return CASE


CASE = Case(
    METHOD,
    parts,
    SMALL,
    effects=(
        Effect("lora_rank", {"ssl_train": "none"}, TUNED),
        Effect("ssl", {"ssl_train": "none"}, TUNED, ("tiny", "a/b")),
        Effect("hidden", {"depth": 0}, {"depth": 1}),
        Effect("focal_gamma", {"loss": "ce"}, {"loss": "focal"}),
        Effect("smoothing", {"strategy": "hard"}, {"strategy": "label_smoothing"}),
        Effect("class_weight", {"strategy": "mean", "loss": "ccc"}, {}),
        Effect("ccc_weight", {}, {"strategy": "mean", "loss": "mixture"}),
        Effect("teacher_lr", {"strategy": "hard"}, {"strategy": "self_kd"}),
        Effect("teacher_folds", {"strategy": "self_kd"}, {"strategy": "lr", "teacher": "crossfit"}),
        Effect("augment_time_width", {}, {"augment_time_masks": 1}),
    ),
    canonical=canonical,
    augmented=("augment_speed", "augment_time_masks", "augment_freq_masks", "augment_mixup"),
    models=(
        {"pool": "mean", "layer_norm": True},
        {"pool": "statistics", "depth": 0, "strategy": "mean", "loss": "ccc"},
        {"pool": "pyramid", "metric": "proxy_anchor", "lambda_rd": 0.1, "loss": "focal"},
        {"ssl_train": "all", "ssl": "tiny", "lr": 1e-3, "epochs": 2},
    ),
)


def states(seed: int, lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), LAYERS, SIZE, generator=rng)
    return x, torch.tensor(lengths)


@pytest.mark.parametrize("norm", [False, True])
def test_the_sum_is_that_of_s3prl(norm: bool) -> None:
    x, _ = states(0, (5, 5))
    layer_sum = LayerSum(LAYERS, norm)
    layer_sum.scores.data = torch.tensor([0.3, -1.0, 2.0])
    # s3prl's Featurizer._weighted_sum
    stacked = torch.stack([x[:, :, layer] for layer in range(LAYERS)], dim=0)
    if norm:
        stacked = torch.nn.functional.layer_norm(stacked, (stacked.shape[-1],))
    _, *origin_shape = stacked.shape
    flat = stacked.view(LAYERS, -1)
    weights = torch.nn.functional.softmax(torch.tensor([0.3, -1.0, 2.0]), dim=-1)
    reference = (weights.unsqueeze(-1) * flat).sum(dim=0).view(*origin_shape)
    torch.testing.assert_close(layer_sum(list(x.unbind(dim=2))), reference)


@pytest.mark.parametrize("pool", ["mean", "attention", "statistics", "pyramid"])
def test_padding_and_batch_mates_change_nothing(pool: Any) -> None:
    lengths = (9, 4, 1)
    x, frames = states(1, lengths)
    probe = Probe(SIZE, K, layers=LAYERS, pool=pool, hidden=5).eval()
    whole = probe({"states": x, "length": frames})
    for row, length in enumerate(lengths):
        alone = probe({"states": x[row : row + 1, :length], "length": frames[row : row + 1]})
        torch.testing.assert_close(whole.logits[row], alone.logits[0])
    junk = x.clone()
    junk[1, 4:] = 1e4
    again = probe({"states": junk, "length": frames})
    torch.testing.assert_close(again.logits, whole.logits)


def test_pooling_by_hand() -> None:
    x, frames = states(2, (7, 3))
    row = x[1, :3].mean(dim=1)  # equal shares at first
    of = {
        pool: Probe(SIZE, K, layers=LAYERS, pool=pool, depth=0)  # type: ignore[arg-type]
        for pool in ("mean", "statistics", "attention")
    }
    pooled = {n: p({"states": x, "length": frames}).embedding[1] for n, p in of.items()}
    torch.testing.assert_close(pooled["mean"], row.mean(dim=0))
    deviation = torch.sqrt(row.var(dim=0, unbiased=False) + 1e-7)
    torch.testing.assert_close(pooled["statistics"], torch.cat([row.mean(dim=0), deviation]))
    attention = of["attention"].attention
    assert attention is not None
    shares = torch.softmax(attention(row)[:, 0], dim=0)
    torch.testing.assert_close(pooled["attention"], (shares[:, None] * row).sum(dim=0))


def run(setting: Mapping[str, Any], **more: Any) -> Any:
    return CASE.run({**SMALL, **setting}, **more)


def test_the_mean_of_frames_taken_before_training_is_that_of_the_network() -> None:
    nodes = CASE.nodes(pool="mean")
    own = dict(nodes[-1].params)
    from trainables.probe_training import _collate, _cut

    test = parts()["test"]
    pieces = _cut(test, own)
    rows = {"states": [test.frames["layers"][row] for row in range(len(test))]}
    probe = Probe(SIZE, K, layers=LAYERS, pool="mean")
    short = {n: torch.as_tensor(column) for n, column in pieces.streams.items()}
    torch.testing.assert_close(
        probe(short).logits, probe(_collate(rows, floor=0.0)).logits, rtol=1e-4, atol=1e-5
    )


def test_the_layers_weights_are_told_and_the_one_that_tells_classes_leads() -> None:
    linear = {"pool": "mean", "depth": 0, "lr": 0.05}
    artifact = run({**linear, "epochs": 40, "patience": 40})["student"]
    shares = artifact.info["layer_weights"]
    assert list(shares) == ["0", "1", "2"]
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.__getitem__) == "1"


def test_a_refit_on_means_needs_no_validation() -> None:
    nothing = {n: parts()[n].take(np.zeros(0, np.int64)) for n in ("validation", "test")}
    last = run({"pool": "mean"}, parts=parts() | nothing, refit=True, keep_weights=True)["student"]
    assert last.info["epochs"] == SMALL["epochs"]


def test_attributes_are_learnt_on_the_scale_of_their_ratings() -> None:
    artifact = run({"strategy": "sampled", "loss": "mixture", "epochs": 6})["numbers"]
    assert artifact.arrays["test"].shape == (6, K)
    assert {"validation_ccc", "loss_ccc", "loss_mse"} <= set(artifact.info["curves"])


@pytest.mark.parametrize("strategy", ["ls_lr", "correction_soft", "self_kd"])
def test_strategies_that_read_predictions_have_a_teacher(strategy: str) -> None:
    artifacts = run({"strategy": strategy, "teacher": "crossfit", "teacher_folds": 2, "epochs": 2})
    assert list(artifacts) == ["teacher", "student"]
    assert len(artifacts["teacher"].info["runs"]) == 2
    assert "flagged" in artifacts["student"].info


@pytest.mark.parametrize("name", ["tiny", "whisper"])
def test_loras_weights_and_the_head_alone_are_in_the_artifact(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = checkpoint(name, tmp_path) if name != "tiny" else Path("tiny")
    setting = {**TUNED, "ssl": str(place), "longest": 1.0, "floor": 0.1}
    nodes = CASE.nodes(**setting)
    plain, kept = run(setting)["student"], run(setting, keep_weights=True)["student"]
    assert not weights_of(plain.arrays)
    weights = weights_of(kept.arrays)
    inside = {name for name in weights if name.startswith("ssl.")}
    assert inside
    assert all("lora_A" in name or "lora_B" in name for name in inside)
    assert {n.partition(".")[0] for n in weights} - {"ssl"} == {"sum", "head", "attention"}
    state = NetworkState(
        nodes[-1].params, weights, kept.info, CASE.classes, checkpoints={"ssl": place}
    )
    if name != "tiny":  # the setting's folder is not there where a model is used
        place.rename(tmp_path / "elsewhere")
        state.checkpoints["ssl"] = tmp_path / "elsewhere"  # type: ignore[index]
    assert METHOD.export is not None
    predict = METHOD.export.predictor(state)
    np.testing.assert_allclose(predict(parts()["test"]), plain.arrays["test"], atol=1e-5)


def test_a_clip_does_not_hear_its_batch_where_the_encoder_is_trained() -> None:
    last = run(TUNED)["student"].arrays["test"]
    order = np.array([3, 0, 5])
    alone = run(TUNED, parts=parts() | {"test": parts()["test"].take(order)})["student"]
    np.testing.assert_allclose(alone.arrays["test"], last[order], atol=1e-5)


def test_features_follow_the_encoder() -> None:
    assert METHOD.features_of is not None

    def features(**values: tuple[Any, ...]) -> tuple[str, ...]:
        assert METHOD.features_of is not None
        defaults = {name: (param.default,) for name, param in METHOD.params.items()}
        return METHOD.features_of({**defaults, **values})

    assert features(ssl=("a/b",)) == ("layers:a/b@layers=all",)
    assert features(ssl=("a/b",), layers=("6+4-5",), ssl_revision=("x",)) == (
        "layers:a/b@layers=4-6@revision=x",
    )
    assert features(ssl_train=("lora",)) == (RECORDED,)
    both = features(ssl=("tiny",), ssl_train=("none", "all"))
    assert both == ("layers:tiny@layers=all", RECORDED)
    with pytest.raises(ValueError, match="has one value in a study"):
        features(layers=("all", "last"))


@pytest.mark.parametrize(
    ("text", "short", "numbers"),
    [("all", "all", [0, 1, 2]), ("last", "last", [2]), ("2+0-1+1", "0-2", [0, 1, 2])],
)
def test_layers_by_number(text: str, short: str, numbers: list[int]) -> None:
    assert canonical_layers(text) == short
    assert layer_numbers(text, 3) == layer_numbers(short, 3) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,2", "1 + 2"])
def test_layers_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="layers are all, last"):
        canonical_layers(text)


def test_features_that_are_not_the_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="3 layers, but layers=1-2 names 2"):
        run({"layers": "1-2"})
    bare = {name: one for name, one in parts().items()}
    for one in bare.values():
        del one.frames["layers"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="one feature set of frames"):
        run({}, parts=bare)
