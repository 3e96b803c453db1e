"""Models of transformers: a clip's states are its own, and no stand-in passes for a trained one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.data.corpora import Corpus
from raysearch.data.features import check, extract, known, local_chunks, row_digests
from raysearch.data.features.pretrained import _commit
from raysearch.errors import BadInput
from tests.contracts.extractors import corpus_of
from trainables.pure_torchaudio import prepare

pytestmark = pytest.mark.filterwarnings("default")  # torch's and transformers' own

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    _commit.cache_clear()


def sound(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32)


def clips(folder: Path, sounds: list[np.ndarray], texts: list[str] | None = None) -> Corpus:
    names = [str(number) for number in range(len(sounds))]
    lines = dict(zip(names, texts or [""] * len(names), strict=True))
    return corpus_of(folder, dict(zip(names, sounds, strict=True)), lines)


def speech_model(folder: Path, norm: str = "layer", normalise: bool = True) -> Any:
    """A Wav2Vec2 with random weights, saved as a trained one would be."""
    prepare()
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(3)
    config = Wav2Vec2Config(
        **SMALL, feat_extract_norm=norm, conv_bias=True, do_stable_layer_norm=norm == "layer"
    )
    model = Wav2Vec2Model(config).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalise}))
    return model


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_states_of_a_folders_model(tmp_path: Path, norm: str) -> None:
    import torch

    model = speech_model(tmp_path / "m", norm)
    samples = sound(9000)
    info = known()[f"wav2vec2-frames:{tmp_path / 'm'}"]
    found = info.extract(samples)
    assert found.dtype == np.float32
    scaled = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    with torch.inference_mode():
        made = model(torch.from_numpy(scaled)[None], output_hidden_states=True)
        # of one clip without padding, a mask says nothing
        masked = model(
            torch.from_numpy(scaled)[None], attention_mask=torch.ones(1, 9000, dtype=torch.long)
        )
    np.testing.assert_allclose(found, made.last_hidden_state[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(found, masked.last_hidden_state[0].numpy(), atol=1e-5)
    first = known()[f"wav2vec2-frames:{tmp_path / 'm'}@layer=1"].extract(samples)
    np.testing.assert_allclose(first, made.hidden_states[1][0].numpy(), atol=1e-5)
    pooled = known()[f"wav2vec2:{tmp_path / 'm'}"].extract(samples)
    np.testing.assert_allclose(pooled, found.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_clips_states_do_not_depend_on_its_neighbours(tmp_path: Path, norm: str) -> None:
    speech_model(tmp_path / "m", norm)
    name = f"wav2vec2-frames:{tmp_path / 'm'}"
    lengths = [4000, 16_000, 6000]
    corpus = clips(tmp_path, [sound(n, seed=n) for n in lengths])
    alone = clips(tmp_path, [sound(4000, seed=4000)])
    (many,) = extract([name], corpus, folder=tmp_path / "a", run_chunks=local_chunks)
    (one,) = extract([name], alone, folder=tmp_path / "b", run_chunks=local_chunks)
    assert np.array_equal(many.sequences[0], one.sequences[0])
    assert many.sequences.lengths.tolist() == [12, 49, 18]


def test_what_padding_would_do_to_a_model_with_group_norm(tmp_path: Path) -> None:
    """Why clips go one by one: no mask makes a padded batch right for such a model."""
    import torch

    for norm, far in (("group", True), ("layer", False)):
        model = speech_model(tmp_path / norm, norm)
        waves = torch.zeros(2, 16_000)
        waves[0, :4000] = torch.from_numpy(sound(4000))
        waves[1] = torch.from_numpy(sound(16_000, 1))
        mask = (torch.arange(16_000) < torch.tensor([[4000], [16_000]])).long()
        with torch.inference_mode():
            padded = model(waves, attention_mask=mask).last_hidden_state[0, :12]
            alone = model(waves[:1, :4000]).last_hidden_state[0]
        apart = float((padded - alone).abs().max())
        assert (apart > 1e-2) if far else (apart < 1e-4), (norm, apart)


def test_whether_the_wave_is_normalised_is_the_models_affair(tmp_path: Path) -> None:
    speech_model(tmp_path / "yes")
    speech_model(tmp_path / "no", normalise=False)
    loud, soft = sound(4000), 0.1 * sound(4000)
    yes, no = (known()[f"wav2vec2:{tmp_path / name}"] for name in ("yes", "no"))
    np.testing.assert_allclose(yes.extract(loud), yes.extract(soft), atol=1e-3)
    assert yes.version() != no.version()
    (tmp_path / "no" / "preprocessor_config.json").unlink()
    bare = clips(tmp_path, [sound(4000)])
    speech_model(tmp_path / "third")
    (tmp_path / "third" / "preprocessor_config.json").unlink()
    with pytest.raises(BadInput, match=r"preprocessor_config.json of .* cannot be read"):
        extract(
            [f"wav2vec2:{tmp_path / 'third'}"], bare, folder=tmp_path / "f", run_chunks=local_chunks
        )


def test_a_version_is_that_of_the_weights(tmp_path: Path) -> None:
    speech_model(tmp_path / "m")
    name = f"wav2vec2:{tmp_path / 'm'}"
    one = known()[name].version()
    assert one == known()[name].version()
    assert known()[f"{name}@layer=1"].version() != one
    (tmp_path / "m" / "README.md").write_text("not read")
    assert known()[name].version() == one
    weights = tmp_path / "m" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert known()[name].version() != one


def test_the_stand_in_says_what_it_is(tmp_path: Path) -> None:
    corpus = clips(tmp_path, [sound(4000)], ["oh no"])
    for name in ("wav2vec2:tiny", "hubert-frames:tiny", "wavlm:tiny", "bert:tiny"):
        info = known()[name]
        assert "untrained" in info.version()
        assert any("untrained weights" in note for note in check([name], corpus))
    samples = sound(5000)
    made = [known()[f"{base}:tiny"].extract(samples) for base in ("wav2vec2", "hubert", "wavlm")]
    assert all(vector.shape == (32,) and np.isfinite(vector).all() for vector in made)
    from raysearch.data.features import speech_models as ssl

    ssl._network.cache_clear()
    np.random.seed(1)  # noqa: NPY002 - whatever the process drew before
    import torch

    torch.manual_seed(99)
    again = known()["wav2vec2:tiny"].extract(samples)
    assert np.array_equal(made[0], again)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wav2vec2", "weights of facebook/wav2vec2-base .* hub does not give it"),
        ("wav2vec2:some/model@revision=v2", r"some/model \(revision v2\) are not there"),
        ("hubert-frames:/nowhere", "the folder /nowhere are not there: there is no such folder"),
        ("wavlm:not a name", "weights of not a name"),
        ("is10:tiny", "is10 takes no model and no options"),
        ("wavlm:tiny@layer=3", "tiny has 2 layers, but got layer=3"),
        ("wavlm:tiny@layer=x", "layer must be a whole number from 0, or last, but got 'x'"),
        ("wavlm:tiny@laier=1", r"there is no option 'laier' \(did you mean 'layer'\?\)"),
        ("bert:tiny@pool=max", "pool must be one of mean, cls, but got 'max'"),
        ("bert:tiny@whisper=tiny", "whisper takes a hub name or a folder"),
        ("wav2vec:tiny", r"unknown \(did you mean 'wav2vec2'\?\)"),
    ],
)
def test_names_that_cannot_be_served(tmp_path: Path, name: str, said: str) -> None:
    corpus = clips(tmp_path, [sound(4000)], ["oh no"])
    started = time.monotonic()
    with pytest.raises(BadInput, match=said) as caught:
        check([name], corpus)
    assert len(caught.value.problems) == 1
    assert time.monotonic() - started < 20


def test_a_folder_that_holds_another_model_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    speech_model(tmp_path / "m")
    corpus = clips(tmp_path, [sound(4000)])
    with pytest.raises(BadInput, match="a model of type 'wav2vec2', and 'hubert' is needed"):
        check([f"hubert:{tmp_path / 'm'}"], corpus)
    path = tmp_path / "m" / "model.safetensors"
    weights: dict[str, torch.Tensor] = load_file(path)
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    name = f"wav2vec2:{tmp_path / 'm'}"
    with pytest.raises(BadInput, match="lacks 1 weights of a Wav2Vec2Model") as caught:
        extract([name], corpus, folder=tmp_path / "f", run_chunks=local_chunks)
    assert len(caught.value.problems) == 1
    path.unlink()
    with pytest.raises(BadInput, match="holds no"):
        check([f"wav2vec2:{tmp_path / 'm'}"], corpus)


def test_a_model_of_the_local_cache_is_pinned_to_its_commit(tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "models--some--model"
    commit = "0123456789abcdef0123456789abcdef01234567"
    speech_model(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    info = known()["wav2vec2:some/model"]
    assert info.version() == "some-model-0123456789abcdef-last-1"
    twin = known()[f"wav2vec2:{repository / 'snapshots' / commit}"]
    assert np.array_equal(info.extract(sound(4000)), twin.extract(sound(4000)))


# -- texts ---------------------------------------------------------------------------------------
def bert_folder(folder: Path) -> Any:
    prepare()
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "oh", "no", "well", "##ness"]
    torch.manual_seed(1)
    model = BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=16,
        )
    ).eval()
    folder.mkdir()
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return model


def test_bert_pools_the_last_states_of_the_word_pieces(tmp_path: Path) -> None:
    import torch

    model = bert_folder(tmp_path / "bert")
    with torch.inference_mode():
        last = model(input_ids=torch.tensor([[2, 5, 6, 7, 8, 3]])).last_hidden_state[0].numpy()
    name = f"bert:{tmp_path / 'bert'}"
    mean, cls = known()[name], known()[f"{name}@pool=cls"]
    np.testing.assert_allclose(mean.extract("Oh no wellness", None), last[1:-1].mean(0), atol=1e-5)
    np.testing.assert_allclose(cls.extract("oh no wellness", None), last[0], atol=1e-5)
    assert mean.version() != cls.version()
    assert mean.extract("oh " * 600, None).shape == (32,), "too long is cut"


def test_a_text_is_embedded_once_and_its_audio_is_not_read(tmp_path: Path) -> None:
    corpus = clips(tmp_path, [sound(4000, i) for i in range(4)], ["a b", "c", "a b", "c"])
    for path in corpus.table["path"]:
        Path(path).unlink()
    seen: list[int] = []
    (found,) = extract(
        ["bert:tiny"],
        corpus,
        folder=tmp_path / "f",
        run_chunks=local_chunks,
        progress=lambda done, of: seen.append(of),
    )
    assert seen == [2]
    assert np.array_equal(found.matrix[0], found.matrix[2])
    assert not np.array_equal(found.matrix[0], found.matrix[1])


def test_the_words_are_in_the_digest_of_what_is_read(tmp_path: Path) -> None:
    sounds = [sound(4000), sound(4000, 1)]
    one, two = (clips(tmp_path, sounds, ["a", text]) for text in ("b", "c"))
    audio = one.table["audio"].tolist()
    assert row_digests(["is10", "wave"], one) == audio
    first, second = row_digests(["is10", "bert:tiny"], one), row_digests(["is10", "bert:tiny"], two)
    assert first[0] == second[0] != audio[0]
    assert first[1] != second[1]


def test_whisper_writes_down_what_has_no_transcript(tmp_path: Path) -> None:
    prepare()
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    folder = tmp_path / "whisper"
    folder.mkdir()
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = {letter: i for i, letter in enumerate([*letters, "Ġ"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=2).save_pretrained(folder)
    torch.manual_seed(5)
    end = len(tokenizer) - 1
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer),
            num_mel_bins=8,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_source_positions=100,
            max_target_positions=24,
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
            decoder_start_token_id=0,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )
    model.save_pretrained(folder)
    corpus = clips(tmp_path, [sound(4000), sound(70_000, 1)], ["", "said"])
    name = f"bert:tiny@whisper={folder}"
    assert any("1 clips without a transcript" in note for note in check([name], corpus))
    from raysearch.data.features.bert import transcribe
    from raysearch.data.features.pretrained import PretrainedModel

    heard = PretrainedModel(name, str(folder), ("whisper",))
    text = transcribe(heard, sound(4000))
    assert isinstance(text, str)
    assert len(transcribe(heard, sound(70_000, 1))) > len(text), "beyond its window it goes on"
    (found,) = extract([name], corpus, folder=tmp_path / "f", run_chunks=local_chunks)
    wanted = known()["bert:tiny"].extract(text, None)
    assert np.array_equal(found.matrix[0], wanted)
    with pytest.raises(BadInput, match="clips without a transcript need Whisper"):
        check(["bert:tiny"], corpus)
