"""The method: what its settings ask for, the targets it trains towards, and that it trains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contracts.method_contract import CanonicalContract, Case, Effect, TrainedContract
from trainables import encoder_training, label_correction, losses
from trainables.excerpts import Excerpts, Places
from trainables.label_correction import METHOD
from trainables.pure_torchaudio import prepare
from trainables.stage import Artifact, FoldFacts, Node, Part, PartFacts, Sequences
from trainables.targets import STRATEGIES

pytestmark = pytest.mark.usefixtures("one_thread")

K = 3
RATE = 16_000
SMALL = {
    "ssl": "tiny",
    "width": 1 / 16,
    "lr": 1e-2,
    "teacher_lr": 1e-2,
    "epochs": 2,
    "teacher_epochs": 2,
    "batch": 8,
    "floor": 0.1,
    "longest": 0.2,
    "mask_time": 0.0,
}


def sequences(rows: list[np.ndarray]) -> Sequences:
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Sequences(np.concatenate(rows), starts)


def part(
    seed: int, n: int, *, labels: bool = True, decided: bool = True, speakers: int = 3
) -> Part:
    """Short noises whose mel says the class, and votes of four raters."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    votes = np.zeros((n, K), np.float32)
    for row in range(n):
        votes[row, y[row]] = 4 if row % 2 else 3  # S_A and S_B in turn
        votes[row, (y[row] + 1) % K] = 0 if row % 2 else 1
        if not decided:
            votes[row] = [2, 2, 0]
    seconds = rng.uniform(0.1, 0.4, n)
    waves = [rng.normal(size=round(s * RATE)).astype(np.float32) for s in seconds]
    mels = [
        (rng.normal(size=(len(w) // 160, 8)) + 2 * np.eye(8)[y[i]]).astype(np.float32)
        for i, w in enumerate(waves)
    ]
    frames = {"wave": sequences(waves), "logmel40": sequences(mels)} if n else {
        "wave": Sequences(np.zeros(0, np.float32), np.zeros(1, np.int64)),
        "logmel40": Sequences(np.zeros((0, 8), np.float32), np.zeros(1, np.int64)),
    }  # fmt: skip
    return Part(
        ids=np.array([f"{seed}-{i}" for i in range(n)], dtype=str),
        x=np.zeros((n, 0), np.float32),
        speaker=np.arange(n) // 2 % speakers,
        corpus=np.zeros(n, np.int64),
        y=(y if decided else np.full(n, -1)) if labels else None,
        votes=votes if labels else None,
        frames=frames,
    )


def parts(**changes: Part) -> dict[str, Part]:
    return {
        "train": part(0, 16),
        "validation": part(1, 9),
        "test": part(2, 6, labels=False),
        "unlabelled": part(3, 0, labels=False),
        "undecided": part(4, 5, decided=False),
    } | changes


EFFECTS = (
    Effect("correction_lambda", {"strategy": "hard"}, {}),
    Effect("correct", {"strategy": "multi_label"}, {}),
    Effect("correct", {"train_on": "A"}, {"train_on": "A+B+C"}),
    Effect("target_norm", {"correction_lambda": 1.0}, {"correction_lambda": 0.9}),
    Effect("dominant", {"strategy": "hard"}, {}),
    Effect("least", {"strategy": "hard"}, {"strategy": "multi_label"}, (1, 2)),
    Effect("teacher_folds", {}, {"teacher": "crossfit"}, (2, 3)),
    Effect("teacher_lr", {"correction_lambda": 0.0}, {}),
    Effect("mask_time", {"ssl_train": "none"}, {"ssl_train": "transformer"}),
    Effect("ssl", {"arch": "spatial"}, {"arch": "temporal"}, ("a/b", "c/d")),
    Effect("ssl_revision", {"ssl": "tiny"}, {"ssl": "a/b"}, ("x", "y")),
    Effect("pool", {"arch": "spatial"}, {"arch": "fused"}),
)
CASE = Case(
    METHOD,
    parts,
    SMALL | {"mask_time": 0.2, "layerdrop": 0.3},
    EFFECTS,
    label_correction.canonical,
    models=({"arch": "temporal"}, {"arch": "spatial", "strategy": "hard"}),
)


def run(
    setting: dict[str, Any], given: dict[str, Part] | None = None, **more: Any
) -> dict[str, Artifact]:
    return CASE.run(SMALL | setting, given, **more)


def graph(**setting: Any) -> dict[str, Node]:
    return {node.name: node for node in METHOD.graph(METHOD.resolve(SMALL | setting))}


def key(node: Node) -> str:
    return json.dumps([sorted(node.parts), dict(node.params)], sort_keys=True)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each training was given, without training."""
    given: list[dict[str, Any]] = []

    def fit(inputs: Any, train: Part, target: np.ndarray, predict: Any, *own: Any) -> Any:
        given.append({"train": train, "target": target, "predict": predict})
        p = np.random.default_rng(len(given)).dirichlet(np.ones(K), 100).astype(np.float32)
        clips = {name: p[: len(part)] for name, part in predict.items()}
        from trainables.optimisation import Fit

        return Fit({}, {"validation_ua": [0.5]}, 1, 0.5, 1), clips, len(train)

    monkeypatch.setattr(encoder_training, "fit_clips", fit)
    return given


class TestLabelCorrectionContract(CanonicalContract, TrainedContract):
    @pytest.fixture
    def case(self) -> Case:
        return CASE


# What a setting asks for


def test_a_teacher_knows_nothing_of_the_students_targets() -> None:
    base = graph()
    assert list(base) == ["teacher", "student"]
    assert base["teacher"].parts == ("train", "validation", "undecided")
    assert "test" not in base["teacher"].parts
    for change in (
        {"correction_lambda": 0.1},
        {"strategy": "correction_hard"},
        {"correct": "B+C"},
        {"target_norm": "none"},
        {"train_on": "C"},
        {"lr": 0.5, "epochs": 9, "patience": 3},
        {"strategy": "self_kd"},
    ):
        other = graph(**change)
        assert key(other["teacher"]) == key(base["teacher"]), change
        assert key(other["student"]) != key(base["student"]), change
    for change in ({"teacher_train": "A"}, {"teacher": "crossfit"}, {"teacher_lr": 0.1}):
        assert key(graph(**change)["teacher"]) != key(base["teacher"]), change


def test_lambda_0_makes_no_teacher_and_soft_and_hard_are_one() -> None:
    soft = graph(correction_lambda=0)
    hard = graph(strategy="correction_hard", correction_lambda=0.0)
    assert list(soft) == list(hard) == ["student"]
    assert key(soft["student"]) == key(hard["student"])
    assert key(soft["student"]) == key(graph(strategy="uncorrected")["student"])
    assert key(graph(correction_lambda=0, correct="B+C")["student"]) != key(soft["student"])


def test_the_papers_grid_is_32_students_and_one_teacher() -> None:
    students, teachers = set(), set()
    grid = [("correction_soft", "C"), ("correction_soft", "B+C"), ("correction_hard", "C")]
    for strategy, correct in grid:
        for step in range(11):
            nodes = graph(strategy=strategy, correct=correct, correction_lambda=step / 10)
            students.add(key(nodes["student"]))
            teachers |= {key(node) for name, node in nodes.items() if name == "teacher"}
    assert (len(students), len(teachers)) == (32, 1)


def test_a_folder_of_weights_counts_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    param = METHOD.params["ssl"]
    assert "config.json" in str(param.problem("ssl", str(folder)))
    (folder / "config.json").write_text("{}")
    (folder / "model.bin").write_bytes(b"one")
    assert param.problem("ssl", str(folder)) is None
    first = graph(ssl=str(folder))
    (folder / "model.bin").write_bytes(b"two and more")
    second = graph(ssl=str(folder))
    for name in ("teacher", "student"):
        assert first[name].params["ssl"] == second[name].params["ssl"]
        assert first[name].params["ssl_digest"] != second[name].params["ssl_digest"]
    with pytest.raises(ValueError, match="other files"):
        encoder_training.encoder(first["student"].params)


@pytest.mark.parametrize(("folds", "same"), [((3, 5), True), ((2, 3), False)])
def test_groups_beyond_the_speakers_are_no_setting_of_their_own(
    folds: tuple[int, int], same: bool
) -> None:
    given = parts()
    speakers = [
        PartFacts(len(given[name]), speakers=frozenset(given[name].speaker.tolist()))
        for name in ("train", "undecided")
    ]
    assert len(speakers[0].join(speakers[1]).speakers) == 3
    facts = FoldFacts(dict(zip(("train", "undecided"), speakers, strict=True)))
    settings = [{"teacher": "crossfit", "teacher_folds": n} for n in folds]
    one, other = (METHOD.in_fold(graph(**own)["teacher"], facts) for own in settings)
    assert (one == other) == same
    first, second = (run(own, given)["teacher"].arrays for own in settings)
    assert np.array_equal(first["train"], second["train"]) == same


def test_needs() -> None:
    def needs(**setting: Any) -> set[str]:
        return set(METHOD.needs(METHOD.resolve(setting)))

    assert needs() == needs(correction_lambda=0.0) == {"votes"}
    assert needs(strategy="hard") == needs(strategy="self_kd") == set()
    assert needs(strategy="self_kd", teacher_train="A") == {"votes"}
    assert needs(strategy="hard", train_on="A") == {"votes"}
    assert needs(strategy="soft") == {"votes"}


# What it trains towards


def test_students_learn_from_all_three_sets(seen: list[dict[str, Any]]) -> None:
    """By hand: one-hot for S_A always, for S_B with correct=C; the mix elsewhere."""
    for correct in ("C", "B+C"):
        for share in (0.0, 0.4, 1.0):
            for mode in ("soft", "hard"):
                seen.clear()
                setting = {"strategy": f"correction_{mode}", "correct": correct}
                result = run(setting | {"correction_lambda": share})
                last = seen[-1]
                assert result["student"].info["sets"] == {"A": 8, "B": 8, "C": 5, "none": 0}
                assert last["train"].ids.tolist() == [
                    *(f"0-{i}" for i in range(16)),
                    *(f"4-{i}" for i in range(5)),
                ]
                votes = last["train"].votes
                marks = (votes > 0) / (votes > 0).sum(axis=1, keepdims=True)
                want = np.eye(K)[np.arange(16) % K]
                want = np.concatenate([want, np.zeros((5, K))])
                rows = np.arange(21) >= 16
                if correct == "B+C":
                    rows |= (np.arange(21) % 2 == 0) & (np.arange(21) < 16)
                if share:
                    teacher = result["teacher"].arrays
                    q = np.concatenate([teacher["train"], teacher["undecided"]])
                    q = np.eye(K)[q.argmax(axis=1)] if mode == "hard" else q
                    marks = (1 - share) * marks + share * q
                want[rows] = marks[rows]
                np.testing.assert_allclose(last["target"], want, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "rows"),
    [
        ({"strategy": "hard"}, 16),
        ({"strategy": "hard", "train_on": "A"}, 8),
        ({"strategy": "correction_soft", "train_on": "C"}, 5),
        ({"strategy": "soft"}, 21),
        ({"strategy": "multi_label", "train_on": "A+B"}, 16),
        ({"strategy": "uncorrected", "dominant": "plurality"}, 21),
        ({"strategy": "uncorrected", "least": 5}, 0),
    ],
)
def test_sets_that_a_student_learns_from(
    setting: dict[str, Any], rows: int, seen: list[dict[str, Any]]
) -> None:
    if not rows:
        with pytest.raises(ValueError, match="no training clip"):
            run(setting)
        return
    assert run(setting)["student"].info["clips"] == len(seen[-1]["target"]) == rows


def test_what_has_no_target_is_told(seen: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"train_on=A\+B"):
        run({"strategy": "hard", "train_on": "A+B+C"})
    given = parts(train=Part(**{**vars(part(0, 16)), "votes": None}))
    with pytest.raises(ValueError, match="votes=simulate"):
        run({}, given)
    assert run({"strategy": "hard"}, given)["student"].info["clips"] == 16


def test_a_teacher_of_s_a_learns_from_clips_that_raters_agree_on(
    seen: list[dict[str, Any]],
) -> None:
    result = run({"teacher_train": "A"})["teacher"]
    first = seen[0]
    assert first["train"].ids.tolist() == [f"0-{i}" for i in range(1, 16, 2)]
    np.testing.assert_array_equal(first["target"], np.eye(K)[np.arange(1, 16, 2) % K])
    assert result.info["learnt_from"] == 8
    assert result.arrays["train"].shape == (16, K)
    assert result.arrays["undecided"].shape == (5, K)


def test_cross_fitted_teachers_never_heard_the_speaker(seen: list[dict[str, Any]]) -> None:
    """Trap 22: q on S_B by a model that was fitted to it is its label, memorised."""
    given = parts(undecided=part(4, 9, decided=False, speakers=4))  # one without a labelled clip
    result = run({"teacher": "crossfit", "teacher_folds": 10}, given)["teacher"]
    trainings = seen[:-1]
    assert len(trainings) == 4
    ids: list[str] = []
    for training in trainings:
        lesson = set(training["train"].speaker.tolist())
        for wishes in training["predict"].values():
            assert not lesson & set(wishes.speaker.tolist())
            ids += wishes.ids.tolist()
    assert sorted(ids) == sorted([*given["train"].ids, *given["undecided"].ids])
    np.testing.assert_allclose(result.arrays["train"].sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(result.arrays["undecided"].sum(1), 1, rtol=1e-5)
    alone = parts(train=part(0, 16, speakers=1))
    with pytest.raises(ValueError, match="two training speakers"):
        run({"teacher": "crossfit"}, alone)


def test_class_weights_are_in_probability_form() -> None:
    """Trap 10: on each entry of a target, and divided by the number of rows."""
    rng = np.random.default_rng(0)
    target = rng.dirichlet(np.ones(K), 6).astype(np.float32)
    logits = torch.tensor(rng.normal(size=(6, K)), dtype=torch.float32)
    mass = target.sum(axis=0)
    beta = losses.inverse_frequency(torch.tensor(mass)).numpy()
    np.testing.assert_allclose(beta, mass.sum() / (K * mass), rtol=1e-5)
    assert (target * beta).sum() / 6 == pytest.approx(1, rel=1e-5)  # the mean loss stays
    log_p = torch.log_softmax(logits, 1).numpy()
    want = -(beta * target * log_p).sum() / 6
    result = losses.target_loss(
        None,  # type: ignore[arg-type]
        {"logits": logits},
        {"target": torch.tensor(target)},
        {},
        {},
        weights=beta,
    )
    assert result["ce"].item() == pytest.approx(want, rel=1e-5)
    counts = losses.inverse_frequency(torch.tensor([3.0, 0.0, 1.0]))
    np.testing.assert_allclose(counts, [4 / 6, 1, 2], rtol=1e-6)


# That it trains


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"strategy": "hard", "arch": "spatial", "epochs": 20, "patience": 20, "lr": 5e-3,
         "width": 0.5},
        {"strategy": "uncorrected", "arch": "temporal", "pool": "max", "clip_score": "mean_log"},
        {"strategy": "dhl", "ssl_train": "none", "class_weight": "none", "teacher": "crossfit",
         "teacher_folds": 2},
        {"strategy": "hard", "ssl_train": "transformer", "precision": "bf16", "accumulate": 2,
         "clip_norm": 1.0, "checkpointing": True, "layerdrop": 0.3, "mask_time": 0.1,
         "ssl_lr_scale": 0.1, "wave_norm": "piece", "bucket": 0},
    ],
)  # fmt: skip
def test_it_trains(setting: dict[str, Any]) -> None:
    result = run(setting)["student"]
    assert set(result.arrays) == {"validation", "test", "embedding_test"}
    for name, n in (("validation", 9), ("test", 6)):
        assert result.arrays[name].shape == (n, K)
        np.testing.assert_allclose(result.arrays[name].sum(1), 1, rtol=1e-4)
    curves = result.info["curves"]
    assert {"loss", "validation_ua", "validation_wa", "lr"} <= set(curves)
    assert len(curves["loss"]) == result.info["epochs"]
    assert result.info["pieces"] > result.info["clips"]
    if setting.get("arch") == "spatial":
        assert result.info["best_validation_ua"] > 0.8  # the frames tell the class
        assert "weights" not in result.info
    else:
        assert result.info["weights"] == "tiny, untrained"


def test_integer_waves_are_the_same_waves() -> None:
    def as_integers(given: Part) -> Part:
        wave = given.frames["wave"]
        values = np.clip(np.rint(wave.values * 3000), -32768, 32767).astype(np.int16)
        frames = {**given.frames, "wave": Sequences(values, wave.starts)}
        return Part(**{**vars(given), "frames": frames})

    def as_floats(given: Part) -> Part:
        wave = given.frames["wave"]
        values = wave.values.astype(np.float32)[:, None] / 32768
        frames = {**given.frames, "wave": Sequences(values, wave.starts)}
        return Part(**{**vars(given), "frames": frames})

    setting = {"strategy": "hard", "arch": "temporal", "epochs": 1}
    whole = {name: as_integers(p) for name, p in parts().items()}
    a = run(setting, whole)["student"]
    b = run(setting, {name: as_floats(p) for name, p in whole.items()})["student"]
    np.testing.assert_allclose(a.arrays["test"], b.arrays["test"], rtol=1e-5)


def test_excerpts_of_one_wave_give_what_copies_of_it_give() -> None:
    def as_excerpts(part: Part, source: np.ndarray, first: int) -> Part:
        starts = part.frames["wave"].starts + first
        mean, scale = np.full((2, len(part)), [[5.0], [7.0]], np.float32)
        wave = Excerpts(source, Places(starts[:-1], starts[1:], mean, scale))
        return replace(part, frames={**part.frames, "wave": wave})

    def as_copies(part: Part) -> Part:
        wave = part.frames["wave"]
        return replace(part, frames={**part.frames, "wave": Sequences(wave.values, wave.starts)})

    whole = parts()
    waves = [np.rint(p.frames["wave"].values * 3000).astype(np.int16) for p in whole.values()]
    first = np.cumsum([0, *map(len, waves)])
    source = np.concatenate(waves)
    once = {n: as_excerpts(p, source, int(first[i])) for i, (n, p) in enumerate(whole.items())}
    setting = {"arch": "fused", "epochs": 1, "teacher_epochs": 1, "strategy": "correction_soft"}
    actual = run(setting, once)["student"].arrays
    reference = run(setting, {name: as_copies(p) for name, p in once.items()})["student"].arrays
    np.testing.assert_array_equal(actual["test"], reference["test"])
    np.testing.assert_array_equal(actual["validation"], reference["validation"])


def test_the_wave_has_the_level_that_a_checkpoint_with_layer_norms_wants(tmp_path: Path) -> None:
    prepare()
    import transformers

    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16,) * 3, conv_kernel=(20, 16, 8), conv_stride=(10, 8, 4),
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm="layer",
        do_stable_layer_norm=True, conv_bias=True,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)

    def predictions(norm: str) -> np.ndarray:
        setting = {"strategy": "hard", "arch": "temporal", "epochs": 1, "ssl": str(tmp_path)}
        return run(setting | {"wave_norm": norm})["student"].arrays["test"]

    for normalise, level, other in ((True, "piece", "given"), (False, "given", "piece")):
        facts = json.dumps({"do_normalize": normalise})
        (tmp_path / "preprocessor_config.json").write_text(facts)
        by_checkpoint = predictions(METHOD.params["wave_norm"].default)
        np.testing.assert_array_equal(by_checkpoint, predictions(level))
        assert np.abs(by_checkpoint - predictions(other)).max() > 1e-5


def test_a_short_last_piece_is_padded_as_in_the_paper() -> None:
    """Gan et al. 2025, section 4.1: pieces of 7 s, and shorter ones than 1.5 s padded to 1.5 s."""
    own = METHOD.resolve({"arch": "temporal"})
    wave = Sequences(np.ones(8 * RATE, np.int16), np.array([0, 8 * RATE], np.int64))
    clip = replace(part(0, 1), frames={"wave": wave})
    network = label_correction._clip_network(own, K, 0)
    streams = network.cut(clip).streams
    batch = network.collate({"wave": [streams["wave"][0], streams["wave"][1]]})
    assert batch["wave_length"].tolist() == [7 * RATE, 1.5 * RATE]
    assert batch["wave"][1, RATE - 1] != 0
    assert not batch["wave"][1, RATE:].any()


def test_missing_frames_are_told() -> None:
    bare = {
        name: Part(**{**vars(p), "frames": {"wave": p.frames["wave"]}})
        for name, p in parts().items()
    }
    with pytest.raises(ValueError, match=r"features=\[wave,logmel40\]"):
        run({"strategy": "hard"}, bare)
    assert run({"strategy": "hard", "arch": "temporal", "epochs": 1}, bare)
    without = {
        name: Part(**{**vars(p), "frames": {"logmel40": p.frames["logmel40"]}})
        for name, p in parts().items()
    }
    with pytest.raises(ValueError, match="wave"):
        run({"strategy": "hard"}, without)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_trains_on_a_gpu(precision: str) -> None:
    here = run({"strategy": "uncorrected", "epochs": 4})["student"].info["curves"]["loss"]
    setting = {"strategy": "uncorrected", "epochs": 4, "precision": precision}
    there = run(setting | {"checkpointing": True}, device="cuda")["student"]
    np.testing.assert_allclose(there.info["curves"]["loss"], here, rtol=0.1)
    np.testing.assert_allclose(there.arrays["test"].sum(1), 1, rtol=1e-4)


def test_every_strategy_has_a_place() -> None:
    for name in METHOD.params["strategy"].choices or ():
        nodes = graph(strategy=name)
        reference = "predictions" in STRATEGIES[name].needs
        assert ("teacher" in nodes) == reference
