"""Attention, AlexNet, guides and the two networks on them: against numpy, and row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.networks import alexnet
from trainables.networks.attention import SelfAttention
from trainables.networks.boost import EmoBoost
from trainables.networks.ca_mser import CAMSER
from trainables.networks.encoders import SSL, load
from trainables.networks.guides import Guides, MFCCGuide, SpectrogramGuide, enhance
from trainables.pure_torchaudio import prepare

pytestmark = pytest.mark.usefixtures("one_thread")

SAMPLES, FRAMES = 48_000, 300
SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
"""wav2vec2-base in all but its width and depth: 149 states in 3 s"""


def base_like(norm: str = "group") -> SSL:
    prepare()
    import transformers as t

    torch.manual_seed(0)
    options: dict[str, Any] = {} if norm == "group" else {"feat_extract_norm": "layer"}
    return SSL(t.Wav2Vec2Model(t.Wav2Vec2Config(**SMALL, **options)))


def guides(states: int, names: tuple[str, ...] = ("mfcc", "spectrogram"), **options: Any) -> Guides:
    attention = options.pop("attention", True)
    mfcc = spectrogram = None
    if "mfcc" in names:
        mfcc = MFCCGuide(FRAMES, 40, 8, units=4, attention=attention)
    if "spectrogram" in names:
        spectrogram = SpectrogramGuide(alexnet.AlexNet(1 / 16), 8, attention=attention)
    return Guides(mfcc, spectrogram, states=states, hidden=8, **options)


def batch(n: int = 2) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    lengths = torch.tensor([SAMPLES, 20_000, 9_000])[:n]
    wave = torch.randn(n, SAMPLES, generator=g)
    return {
        "wave": wave * (torch.arange(SAMPLES) < lengths[:, None]),
        "wave_length": lengths,
        "mfcc": torch.randn(n, FRAMES, 40, generator=g),
        "spectrogram": torch.rand(n, FRAMES, 200, generator=g),
    }


def test_attention_is_the_papers_by_einsum() -> None:
    """Eqs. 4 to 10, in float64, index by index."""
    torch.manual_seed(0)
    net = SelfAttention(6)
    x = torch.randn(3, 5, 6)
    rows = x.double().numpy()

    def affine(layer: nn.Linear) -> np.ndarray:
        w, b = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
        return np.einsum("ntd,ed->nte", rows, w) + b

    q, k, v = affine(net.query), affine(net.key), affine(net.value)
    logits = np.einsum("nqd,nkd->nqk", q, k) / np.sqrt(6)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    want = rows + np.einsum("nqk,nkd->nqd", weights, v)
    np.testing.assert_allclose(net(x).detach().numpy(), want, atol=1e-5)
    nn.init.zeros_(net.value.weight)
    nn.init.zeros_(net.value.bias)
    torch.testing.assert_close(net(x), x)  # nothing to attend to leaves the residual


def test_alexnet_has_the_sizes_of_alexnet() -> None:
    net = alexnet.AlexNet()
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes["features.0.weight"] == (64, 3, 11, 11)
    assert shapes["features.3.weight"] == (192, 64, 5, 5)
    assert shapes["features.6.weight"] == (384, 192, 3, 3)
    assert shapes["features.8.weight"] == (256, 384, 3, 3)
    assert shapes["features.10.weight"] == (256, 256, 3, 3)
    assert sum(p.numel() for p in net.parameters()) == 2_469_696
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 256, 384)).shape == (1, 256, 6, 6)
        # 224 x 224 leaves 6 x 6 before the mean, which then changes nothing
        image = torch.randn(1, 3, 224, 224)
        torch.testing.assert_close(net(image), net.features(image))


def test_alexnets_weights_come_from_files_and_folders(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    other = alexnet.AlexNet()
    whole = {f"backbone.{name}": tensor for name, tensor in other.state_dict().items()}
    whole["classifier.1.weight"] = torch.zeros(3, 3)
    save_file(whole, tmp_path / "model.safetensors")
    torch.save(whole, tmp_path / "alexnet.pth")
    for name in (tmp_path, tmp_path / "model.safetensors", tmp_path / "alexnet.pth"):
        result = alexnet.load(str(name), width=0.5)  # weights have a width of their own
        for key, tensor in result.state_dict().items():
            torch.testing.assert_close(tensor, other.state_dict()[key])
    assert alexnet.load("random", width=0.5).outputs == 128
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "wrong.safetensors")
    for name, why in (
        ("empty", "neither"),
        ("broken.pth", "could not be loaded"),
        ("wrong.safetensors", "holds no AlexNet"),
    ):
        with pytest.raises(ValueError, match=why):
            alexnet.load(str(tmp_path / name))


def test_the_image_is_upright_grey_and_of_imagenets_scale() -> None:
    """A tone in a low bin is a bright line near the lower edge; time runs to the right."""
    net = SpectrogramGuide(alexnet.AlexNet(1 / 16), 8)
    black = torch.zeros(1, FRAMES, 200)
    low, late = black.clone(), black.clone()
    low[:, :, 10:20] = 1.0
    late[:, 200:] = 1.0
    image = net.image(low)
    assert image.shape == (1, 3, 256, 384)
    bright = image[0, 0].mean(dim=1).argmax().item()
    assert bright == pytest.approx(256 * (1 - 15 / 200), abs=8)
    assert net.image(late)[0, 0].mean(dim=0).argmax() > 254  # two thirds of the width
    for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        values = net.image(torch.ones(1, FRAMES, 200))[0, channel]
        torch.testing.assert_close(values, torch.full((256, 384), (1 - mean) / deviation))
    plain = SpectrogramGuide(alexnet.AlexNet(1 / 16), 8, image_norm="none")
    assert plain.image(low).min() == 0
    assert plain.image(low).max() == 1


def test_three_seconds_have_the_papers_sizes() -> None:
    """149 states, X_m [300, 512], X_s [36, 256], two vectors of 128."""
    encoder = base_like()
    assert int(encoder.frames(torch.tensor(SAMPLES))) == 149
    mfcc = MFCCGuide(FRAMES, 40)
    image = SpectrogramGuide(alexnet.AlexNet())
    assert mfcc.squeeze.project.weight.shape == (128, 300 * 512)
    assert image.squeeze.project.weight.shape == (128, 9216)
    assert image.squeeze.attention.query.weight.shape == (256, 256)
    net = EmoBoost(7, encoder, Guides(mfcc, image, states=149))
    assert net.guides is not None
    assert net.guides.enhance.weight.shape == (149, 256)
    with torch.inference_mode():
        assert net.eval()(batch()).shape == (2, 7)


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6, 7])
def test_logits_of_so_many_classes(classes: int) -> None:
    """Trap 11: logits, not probabilities; the paper's eq. 13 with cross entropy would be a softmax
    of a softmax."""
    torch.manual_seed(0)
    net = EmoBoost(classes, SSL(load("tiny"), train="none"), guides(148)).eval()
    with torch.inference_mode():
        result = net(batch())
        assert result.shape == (2, classes)
        assert not torch.allclose(result.sum(1), torch.ones(2))
        nn.init.constant_(net.head.weight, 0.0)
        net.head.bias.copy_(40 * torch.eye(classes)[0])
        assert net(batch())[0, 0] == 40  # nothing squeezes a score into 0 .. 1


@pytest.mark.parametrize("relu", [False, True])
def test_enhancement_is_a_matrix_product(relu: bool) -> None:
    """Eqs. 11 and 12 by numpy from the parts; states of padding weigh nothing."""
    torch.manual_seed(0)
    encoder = SSL(load("tiny"))
    net = EmoBoost(3, encoder, guides(148, relu=relu)).eval()
    rows = batch(3)
    with torch.inference_mode():
        result = net(rows)
        assert net.guides is not None
        both = torch.cat(
            [net.guides.mfcc(rows["mfcc"]), net.guides.spectrogram(rows["spectrogram"])], 1
        ).numpy()  # type: ignore[misc]
        layer = net.guides.enhance
        vector = both @ layer.weight.numpy().T + layer.bias.numpy()
        vector = np.maximum(vector, 0) if relu else vector
        states, frames = encoder(rows["wave"], rows["wave_length"])
        for row in range(3):
            n = int(frames[row])
            want = vector[row, :n] @ states[row, :n].numpy()
            logits = want @ net.head.weight.numpy().T + net.head.bias.numpy()
            np.testing.assert_allclose(result[row], logits, rtol=1e-3, atol=1e-4)
    assert (vector < 0).any() == (not relu)
    x = torch.tensor([[2.0, -1.0]])
    torch.testing.assert_close(
        enhance(x, torch.tensor([[[1.0, 0.0], [0.0, 4.0]]])), torch.tensor([[2.0, -4.0]])
    )


def test_without_guides_it_is_the_mean_of_a_clips_own_states() -> None:
    torch.manual_seed(0)
    encoder = SSL(load("tiny"))
    net = EmoBoost(3, encoder).eval()
    names = {name.split(".")[0] for name, _ in net.named_parameters()}
    assert names == {"ssl", "head"}
    rows = batch(3)
    with torch.inference_mode():
        result = net(rows)
        for row in range(3):
            alone = rows["wave"][row : row + 1, : int(rows["wave_length"][row])]
            states = encoder(alone, torch.tensor([alone.shape[1]]))[0][0]
            torch.testing.assert_close(result[row], net.head(states.mean(0)), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="both"):
        Guides(None, None, states=148)


def test_ca_mser_has_a_head_over_three_vectors() -> None:
    torch.manual_seed(0)
    encoder = SSL(load("tiny"))
    result = guides(148, attention=False, relu=True)
    net = CAMSER(4, encoder, result, hidden=8).eval()
    rows = batch(3)
    assert not [n for n, _ in net.named_modules() if n.endswith("query")]
    with torch.inference_mode():
        both, vector = result(rows)
        assert (vector >= 0).all()
        states, frames = encoder(rows["wave"], rows["wave_length"])
        here = torch.arange(148) < frames[:, None]
        mixed = torch.einsum("nt,ntd->nd", vector * here, states)
        wave = torch.relu(net.wave[1](mixed))
        x = torch.cat([both, wave], dim=1)
        assert x.shape == (3, 24)
        for place in (1, 4):
            x = torch.relu(net.head[place](x))
        torch.testing.assert_close(net(rows), net.head[6](x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", ["boost", "plain", "ca_mser"])
def test_a_clips_scores_do_not_depend_on_the_batch(norm: str, kind: str) -> None:
    """Trap 15, for encoders with group norm over time and with layer norm."""
    encoder = base_like(norm)
    torch.manual_seed(0)
    net: nn.Module = EmoBoost(3, encoder)
    if kind == "boost":
        net = EmoBoost(3, encoder, guides(149))
    elif kind == "ca_mser":
        net = CAMSER(3, encoder, guides(149), hidden=8)
    net.eval()
    rows = batch(3)
    with torch.inference_mode():
        together = torch.softmax(net(rows), dim=1)
        for row in range(3):
            alone = net({name: value[row : row + 1] for name, value in rows.items()})
            torch.testing.assert_close(together[row], torch.softmax(alone, 1)[0], rtol=0, atol=1e-5)
    assert together.std(dim=0).max() > 1e-4


@pytest.mark.parametrize("kind", ["both", "mfcc", "spectrogram", "ca_mser"])
def test_gradients_reach_every_parameter(kind: str) -> None:
    torch.manual_seed(0)
    encoder = SSL(load("tiny"))
    net: nn.Module
    if kind == "ca_mser":
        net = CAMSER(3, encoder, guides(148, attention=False, relu=True), hidden=8)
    else:
        names = ("mfcc", "spectrogram") if kind == "both" else (kind,)
        net = EmoBoost(3, encoder, guides(148, names))
    net.train()
    for _ in range(2):  # dropout hides some once
        torch.nn.functional.cross_entropy(net(batch(3)), torch.tensor([0, 1, 2])).backward()
    silent = {
        name
        for name, p in net.named_parameters()
        # the mask's vector is SpecAugment's; softmax does not change with a shift of all keys, so
        # a key's bias has no gradient but rounding's
        if p.grad is None and not name.endswith("masked_spec_embed")
    }
    assert not silent
    zero = {n for n, p in net.named_parameters() if p.grad is not None and not p.grad.any()}
    assert not {n for n in zero if n.startswith("guides.")}
    frozen = EmoBoost(3, SSL(load("tiny"), train="none"), guides(148))
    assert not [n for n, p in frozen.named_parameters() if n.startswith("ssl.") and p.requires_grad]
