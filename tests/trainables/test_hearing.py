"""Encoders of every kind (small, untrained): against transformers itself, one wave at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.checkpoints import KINDS, WAVES, checkpoint
from trainables.networks.hearing import (
    Hearing,
    adapt,
    facts_of,
    hearing,
    load_encoder,
    of_facts,
)

LENGTHS = (16_000, 9_000, 1_700)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("encoders")
    return {kind: checkpoint(kind, place) for kind in KINDS}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    wave = torch.full((len(LENGTHS), max(LENGTHS)), 9.0)  # padding that must not be heard
    for row, length in enumerate(LENGTHS):
        wave[row, :length] = torch.tensor(rng.normal(size=length) * 0.1, dtype=torch.float32)
    return wave, torch.tensor(LENGTHS)


def by_transformers(folder: Path, wave: torch.Tensor) -> list[torch.Tensor]:
    """The states [T', D] of every layer for one wave, by the package's own preprocessor."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    front = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = front(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    with torch.no_grad():
        return [one[0] for one in model(**inputs, output_hidden_states=True).hidden_states]


def encoder(folder: Path | str, **options: Any) -> Hearing:
    return hearing(*load_encoder(str(folder)), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_each_wave_gives_alone(kind: str, folders: dict[str, Path]) -> None:
    wave, length = batch()
    with torch.no_grad():
        layers, frames = encoder(folders[kind]).eval()(wave, length)
    assert len(layers) == 3
    for row, n in enumerate(LENGTHS):
        reference = by_transformers(folders[kind], wave[row, :n])
        count = int(frames[row])
        if kind == "whisper":  # the rest of its window is silence
            assert count == -(-n // 320)
        else:
            assert count == len(reference[0])
        for layer, states in zip(layers, reference, strict=True):
            np.testing.assert_allclose(layer[row, :count], states[:count], atol=2e-4)
            assert not layer[row, count:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_built_again_from_its_facts_without_files(
    kind: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, front = load_encoder(str(folders[kind]))
    facts = facts_of(model, front)
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", None)
    other, same_front = of_facts(facts)
    other.load_state_dict(model.state_dict())
    wave, length = batch()
    with torch.no_grad():
        one = hearing(model, front).eval()(wave, length)[0]
        two = hearing(other, same_front).eval()(wave, length)[0]
    for layer, again in zip(one, two, strict=True):
        assert torch.equal(layer, again)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on", ["feed_forward", "attention", "both"])
def test_adapters_alone_are_trained_and_start_without_effect(
    kind: str, on: str, folders: dict[str, Path]
) -> None:
    model, front = load_encoder(str(folders[kind]))
    ears = hearing(model, front, train="lora").train()
    wave, length = batch()
    with torch.no_grad():
        before = ears(wave, length)[0]
    if kind == "wavlm" and on != "feed_forward":
        with pytest.raises(ValueError, match="take lora_on=feed_forward"):
            adapt(model, rank=2, alpha=4, dropout=0.0, on=on)
        return
    adapt(model, rank=2, alpha=4, dropout=0.0, on=on)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {name for name in dict(model.named_parameters()) if "lora_" in name}
    layers, _ = ears.train()(wave, length)
    for layer, same in zip(layers, before, strict=True):
        np.testing.assert_allclose(layer.detach(), same, atol=1e-6)
    layers[-1].square().mean().backward()
    # B begins at 0, so its own gradient alone is there at first: and each one's is
    for name, weight in model.named_parameters():
        if "lora_B" in name and (".1." in name or on != "attention"):
            assert weight.grad is not None, name


def test_what_a_kind_does_not_have_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="take mask_time=0"):
        encoder(folders["whisper"], train="all", mask_time=0.1)
    with pytest.raises(ValueError, match="take layerdrop=0"):
        load_encoder(str(folders["whisper"]), layerdrop=0.5)
    with pytest.raises(ValueError, match="hears 2 s at once"):
        encoder(folders["whisper"])(torch.zeros(1, 40_000), torch.tensor([40_000]))


@pytest.mark.parametrize("kind", [*WAVES, "whisper"])
def test_the_convolutions_are_left_alone(kind: str, folders: dict[str, Path]) -> None:
    ears = encoder(folders[kind], train="transformer").train()
    layers, _ = ears(*batch())
    layers[-1].sum().backward()
    front = [n for n, p in ears.named_parameters() if "feature_extractor" in n or ".conv" in n]
    with_gradient = {n for n, p in ears.named_parameters() if p.grad is not None}
    assert with_gradient
    assert not {n for n in front if "pos_conv" not in n} & with_gradient


def test_weights_are_in_the_state_once(folders: dict[str, Path]) -> None:
    model, front = load_encoder(str(folders["wav2vec2"]))
    assert len(hearing(model, front).state_dict()) == len(model.state_dict())


def test_a_folder_without_a_preprocessor_is_one_sentence(tmp_path: Path) -> None:
    folder = checkpoint("wav2vec2", tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"with config\.json and preprocessor_config\.json"):
        load_encoder(str(folder))
