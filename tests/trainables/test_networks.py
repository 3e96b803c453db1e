"""Pooling, the spatial network and encoders: against numpy, against torch, and row by row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainables.networks.encoders import MASK, SSL, load, wave_norm
from trainables.networks.pyramid import LEVELS, pyramid_pool
from trainables.networks.spatial import SpatialCNN
from trainables.networks.spatial_temporal import SpatialTemporal
from trainables.pure_torchaudio import prepare

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 2e-5
"""of states of size 1 to 4, float32, between a batch and rows one at a time"""


def by_hand(states: np.ndarray, frames: int, levels: tuple[int, ...], mode: str) -> np.ndarray:
    result = []
    for bins in levels:
        for i in range(bins):
            first, behind = (i * frames) // bins, -((-(i + 1) * frames) // bins)
            inside = states[first:behind]
            result.append(inside.mean(axis=0) if mode == "mean" else inside.max(axis=0))
    return np.array(result)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=4), st.sampled_from(["mean", "max"]))
def test_pyramid_pooling_counts_a_rows_own_frames(lengths: list[int], mode: Any) -> None:
    rng = np.random.default_rng(sum(lengths))
    states = rng.normal(size=(len(lengths), max(lengths) + 5, 3)).astype(np.float32)
    for row, frames in enumerate(lengths):
        states[row, frames:] = 1e3  # padding that would show
    means = pyramid_pool(torch.tensor(states), torch.tensor(lengths), mode=mode)
    assert means.shape == (len(lengths), 126, 3)
    for row, frames in enumerate(lengths):
        want = by_hand(states[row], frames, LEVELS, mode)
        np.testing.assert_allclose(means[row], want, rtol=1e-4, atol=1e-4)


def test_pyramid_pooling_is_torchs_adaptive_pooling() -> None:
    states = torch.randn(2, 77, 5, generator=torch.Generator().manual_seed(0))
    means = pyramid_pool(states, torch.tensor([77, 77]), (3, 8))
    want = [torch.nn.functional.adaptive_avg_pool1d(states.mT, n).mT for n in (3, 8)]
    torch.testing.assert_close(means, torch.cat(want, dim=1), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="mode"):
        pyramid_pool(states, torch.tensor([77, 77]), mode="sum")  # type: ignore[arg-type]


def test_the_spatial_network_is_convolutions_pooling_and_a_global_mean() -> None:
    """Sizes that 8 divides need no mask: torch's own layers are the oracle."""
    torch.manual_seed(0)
    net = SpatialCNN(40)
    mel = torch.randn(2, 64, 40)
    x = mel[:, None]
    for number, convolution in enumerate(net.convolutions):
        x = torch.relu(convolution(x))
        x = torch.nn.functional.avg_pool2d(x, 2) if number < 3 else x
    want = x.mean(dim=(2, 3))
    torch.testing.assert_close(net(mel, torch.tensor([64, 64])), want, rtol=1e-4, atol=1e-6)
    assert (
        90_000 < sum(p.numel() for p in net.parameters()) < 200_000
    )  # the paper's total leaves so


@pytest.mark.parametrize("bins", [40, 37])
def test_the_spatial_network_never_counts_padding(bins: int) -> None:
    torch.manual_seed(0)
    net = SpatialCNN(bins, width=0.25)
    lengths = torch.tensor([97, 1, 40, 64])
    mel = torch.full((4, 97, bins), 50.0)
    for row, frames in enumerate(lengths.tolist()):
        mel[row, :frames] = torch.randn(frames, bins)
    together = net(mel, lengths)
    for row, frames in enumerate(lengths.tolist()):
        alone = net(mel[row : row + 1, :frames], lengths[row : row + 1])[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-6)


def waves() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    lengths = torch.tensor([24000, 31111, 9000, 800])
    whole = torch.full((4, 33000), 7.0)  # what lies behind a row's end must not matter
    for row, samples in enumerate(lengths.tolist()):
        whole[row, :samples] = 0.1 * torch.randn(samples, generator=g) + 0.3
    return whole, lengths


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved models of each class, with either norm in the convolutions."""
    prepare()
    import transformers as t

    kinds = {
        "wav2vec2-group": t.Wav2Vec2Model(t.Wav2Vec2Config(**SMALL)),
        "wav2vec2-layer": t.Wav2Vec2Model(
            t.Wav2Vec2Config(
                **SMALL, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
            )
        ),
        "hubert-group": t.HubertModel(t.HubertConfig(**SMALL)),
        "wavlm-group": t.WavLMModel(t.WavLMConfig(**SMALL)),
    }
    result = {}
    for name, model in kinds.items():
        result[name] = tmp_path_factory.mktemp("weights") / name
        model.save_pretrained(result[name])
    return result


@pytest.mark.parametrize(
    "kind", ["tiny", "wav2vec2-group", "wav2vec2-layer", "hubert-group", "wavlm-group"]
)
def test_states_do_not_depend_on_the_batch(kind: str, folders: dict[str, Path]) -> None:
    """A padded batch gives what transformers' own model gives for each row without padding."""
    name = kind if kind == "tiny" else str(folders[kind])
    encoder, published = SSL(load(name)).eval(), load(name).eval()
    whole, lengths = waves()
    with torch.inference_mode():
        states, frames = encoder(whole, lengths)
        for row, samples in enumerate(lengths.tolist()):
            want = published(whole[row : row + 1, :samples]).last_hidden_state[0]
            assert len(want) == frames[row]
            gap = (states[row, : frames[row]] - want).abs().max()
            assert gap < TOLERANCE, (samples, gap)
            assert want.abs().max() > 1


def test_a_row_too_short_for_a_state_is_lengthened_by_silence() -> None:
    encoder = SSL(load("tiny")).eval()
    wave = torch.randn(1, 300, generator=torch.Generator().manual_seed(0))
    silent = torch.nn.functional.pad(wave, (0, encoder.least - 300))
    loud = torch.nn.functional.pad(wave, (0, 5000), value=9.0)
    with torch.inference_mode():
        want = encoder(silent, torch.tensor([encoder.least]))[0]
        for rows in (wave, loud):
            states, frames = encoder(rows, torch.tensor([300]))
            assert frames.tolist() == [1]
            torch.testing.assert_close(states[:, :1], want, rtol=0, atol=TOLERANCE)


def test_tiny_is_the_same_every_time_and_leaves_the_seed_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = load("tiny").state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    for name, value in load("tiny").state_dict().items():
        assert torch.equal(value, first[name]), name


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ssl=tiny"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="'bert'"):
        load(str(tmp_path))


def save(folder: Path, state: dict[str, Tensor], **config: Any) -> str:
    """A folder with a wav2vec 2.0 of the configuration, and the weights in `state` alone."""
    import transformers as t

    model = t.Wav2Vec2Model(t.Wav2Vec2Config(**SMALL | config))
    model.save_pretrained(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.fixture
def state(folders: dict[str, Path]) -> dict[str, Tensor]:
    """The weights of `wav2vec2-group`."""
    return dict(load_file(folders["wav2vec2-group"] / "model.safetensors"))


def test_a_checkpoint_that_lacks_weights_is_refused_by_one_message(
    tmp_path: Path, state: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    some = {name: value for name, value in state.items() if "encoder.layers.1." not in name}
    name = save(tmp_path / "some", some)
    first = "encoder.layers.1.attention.k_proj.bias"
    with pytest.raises(ValueError, match=f"^ssl={name} lacks 16 weights .*{first}"):
        load(name)
    other = save(tmp_path / "other", {f"another.{key}": value for key, value in state.items()})
    with pytest.raises(ValueError, match=f"^ssl={other} lacks .* weights of a Wav2Vec2Model"):
        load(other)
    assert not caplog.records


def test_a_checkpoint_of_other_shapes_or_damaged_is_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    name = save(tmp_path / "wide", state, intermediate_size=48)
    with pytest.raises(ValueError, match=f"^ssl={name} could not be loaded"):
        load(name)
    (tmp_path / "wide" / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=f"^ssl={name} could not be loaded"):
        load(name)


@pytest.mark.parametrize("share", [0.0, 0.05], ids=["no SpecAugment", "SpecAugment"])
def test_states_are_hidden_whatever_the_checkpoint_holds(
    tmp_path: Path, state: dict[str, Tensor], share: float
) -> None:
    """A checkpoint without the state that stands for hidden ones hides them behind zeros."""
    rest = {name: value for name, value in state.items() if name != MASK}
    assert len(rest) == len(state) - 1
    name = save(tmp_path / "weights", rest, mask_time_prob=share)
    encoder = SSL(load(name), mask_time=0.5).train()
    mask = encoder.get_parameter(f"model.{MASK}")
    assert not mask.any()
    torch.manual_seed(0)
    encoder(*waves())[0].square().sum().backward()
    assert mask.grad is not None
    assert mask.grad.any()


@pytest.mark.parametrize(
    ("kind", "facts", "level"),
    [
        ("wav2vec2-layer", {"do_normalize": True}, "piece"),
        ("wav2vec2-layer", {"do_normalize": False}, "given"),
        ("wav2vec2-layer", {}, "piece"),  # transformers' own default
        ("wav2vec2-group", {"do_normalize": True}, "given"),
        ("hubert-group", None, "given"),
    ],
)
def test_the_checkpoint_says_the_level_of_the_wave(
    tmp_path: Path, folders: dict[str, Path], kind: str, facts: dict[str, bool] | None, level: str
) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    if facts is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    assert wave_norm(str(folder)) == level


def test_a_checkpoint_that_does_not_say_the_level_is_refused(folders: dict[str, Path]) -> None:
    assert wave_norm("tiny") == "given"
    with pytest.raises(ValueError, match=r"preprocessor_config\.json of ssl=.*wave_norm=piece"):
        wave_norm(str(folders["wav2vec2-layer"]))


@pytest.mark.parametrize(
    ("train", "conv", "layers"),
    [("all", True, True), ("transformer", False, True), ("none", False, False)],
)
def test_what_is_trained(train: Any, conv: bool, layers: bool) -> None:
    encoder = SSL(load("tiny"), train=train).train()
    net = SpatialTemporal(3, encoder=encoder, bins=8, width=0.25).train()
    whole, lengths = waves()
    rows = {
        "wave": whole,
        "wave_length": lengths,
        "mel": torch.randn(4, 20, 8),
        "mel_length": torch.tensor([20, 9, 3, 1]),
    }
    net(rows).square().sum().backward()
    got = {name: p.grad is not None for name, p in encoder.model.named_parameters()}
    assert got["feature_extractor.conv_layers.0.layer_norm.weight"] == conv
    assert got["encoder.layers.1.attention.q_proj.weight"] == layers
    assert net.head[0].weight.grad is not None  # type: ignore[index]
    # trap 14: what is frozen does not drop out either
    assert encoder.model.encoder.training == layers  # type: ignore[union-attr]


def test_activations_recomputed_give_the_same_gradients() -> None:
    whole, lengths = waves()
    actual = []
    for checkpointing in (False, True):
        encoder = SSL(load("tiny"), mask_time=0.2, checkpointing=checkpointing).train()
        torch.manual_seed(5)
        encoder(whole, lengths)[0].square().mean().backward()
        actual.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert actual[0].keys() == actual[1].keys()
    for name, value in actual[0].items():
        torch.testing.assert_close(actual[1][name], value, rtol=1e-4, atol=1e-6)


def test_hidden_states_are_about_the_share_asked_for_and_of_torchs_seed() -> None:
    encoder = SSL(load("tiny"), mask_time=0.2).train()
    frames = torch.full((40,), 200)
    frames[1] = 7
    torch.manual_seed(1)
    hidden = encoder._hidden(frames, 210)
    torch.manual_seed(1)
    assert torch.equal(encoder._hidden(frames, 210), hidden)
    assert hidden.shape == (40, 210)
    assert not hidden[:, 200:].any()
    assert not hidden[1, 7:].any()
    assert 0.1 < hidden[2:].float().mean() < 0.25


@pytest.mark.parametrize("arch", ["fused", "spatial", "temporal"])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_scores_do_not_depend_on_the_batch(arch: str, pool: Any) -> None:
    torch.manual_seed(0)
    net = SpatialTemporal(
        3,
        encoder=None if arch == "spatial" else SSL(load("tiny")),
        bins=0 if arch == "temporal" else 8,
        pool=pool,
        width=0.25,
    ).eval()
    whole, lengths = waves()
    frames = torch.tensor([150, 194, 56, 3])
    mel = torch.randn(4, 200, 8)
    rows = {"wave": whole, "wave_length": lengths, "mel": mel, "mel_length": frames}
    with torch.inference_mode():
        together = torch.softmax(net(rows), dim=1)
        for row in range(4):
            cut = {name: value[row : row + 1] for name, value in rows.items()}
            cut["wave"] = cut["wave"][:, : lengths[row]]
            cut["mel"] = cut["mel"][:, : frames[row]]
            alone = torch.softmax(net(cut), dim=1)[0]
            torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-5)
    assert together.std(dim=0).max() > 1e-4  # rows do differ


def test_fusion_weighs_the_pooled_rows() -> None:
    """w = ReLU(f_s W + b), fused = w . f_t, by numpy from the parts."""
    torch.manual_seed(0)
    net = SpatialTemporal(3, encoder=SSL(load("tiny")), bins=8, width=0.25).eval()
    whole, lengths = waves()
    mel, frames = torch.randn(4, 30, 8), torch.tensor([30, 20, 9, 2])
    with torch.inference_mode():
        result = net({"wave": whole, "wave_length": lengths, "mel": mel, "mel_length": frames})
        f_s = net.cnn(mel, frames).numpy()  # type: ignore[misc]
        states, n = net.ssl(whole, lengths)  # type: ignore[misc]
        f_t = pyramid_pool(states, n).numpy()
        assert net.weigh is not None
        w = np.maximum(f_s @ net.weigh.weight.numpy().T + net.weigh.bias.numpy(), 0)
        whole = np.einsum("ni,nid->nd", w, f_t)
        want = net.head(torch.tensor(whole))
    torch.testing.assert_close(result, want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="encoder"):
        SpatialTemporal(3)
