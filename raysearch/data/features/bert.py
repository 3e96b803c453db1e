"""What BERT makes of a clip's words: one vector.

    features=[is10,bert]                                 bert-base-uncased, mean over word pieces
    features=[is10,bert:DIR@pool=cls@whisper=openai/whisper-base]

The words are the corpus's transcript. Where a clip has none, Whisper writes one down (greedily, in
pieces of 30 s). `pool=mean` is the mean of the last states of all word pieces without [CLS] and
[SEP]; `pool=cls` the last state of [CLS]. What is longer than the model's 512 places is cut.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features.extractor import ExtractorInfo
from raysearch.data.features.pretrained import (
    TINY,
    PretrainedModel,
    absolute,
    load_model,
    one_thread,
    options_of,
    untrained,
)
from raysearch.errors import BadInput

RATE = 16_000
_CODE = 1  # raise it whenever this file would give other values
_DEFAULT = "google-bert/bert-base-uncased"
_OPTIONS = {"pool": "mean", "whisper": "openai/whisper-medium.en", "revision": "main"}
_POOLS = ("mean", "cls")
_WORDS = 2048
"""words that the stand-in's tokenizer tells apart"""


def _extract(
    model: PretrainedModel,
    pool: str,
    whisper: PretrainedModel,
    transcript: str,
    samples: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    if not transcript:
        assert samples is not None
        transcript = transcribe(whisper, samples)
    return _embedded(model, pool, transcript)


def _embedded(model: PretrainedModel, pool: str, text: str) -> NDArray[np.float32]:
    """float32 [D]"""
    import torch

    network, tokenize = _network(model)
    places = tokenize(text)[: network.config.max_position_embeddings]
    with one_thread(), torch.inference_mode():
        last = network(input_ids=torch.tensor([places])).last_hidden_state[0]
    # [CLS] is first and [SEP] last; a text without words has these two alone
    rows = last[:1] if pool == "cls" else last[1:-1] if len(places) > 2 else last
    return rows.double().mean(dim=0).float().numpy()


@lru_cache(maxsize=2)
def _network(model: PretrainedModel) -> tuple[Any, Any]:
    """The model, and what makes numbers of a text: [CLS] first, [SEP] last."""
    from trainables.pure_torchaudio import prepare

    prepare()
    from transformers import AutoTokenizer, BertConfig, BertModel

    shape: dict[str, Any] = {
        "vocab_size": _WORDS,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    # the pooler is of next-sentence prediction, and not read here
    network = load_model(model, BertModel, lambda: BertModel(BertConfig(**shape)), ("pooler.",))
    if model.tiny:
        return network, _hashed
    tokenizer = AutoTokenizer.from_pretrained(model.folder(), local_files_only=True)
    most = network.config.max_position_embeddings

    def tokenize(text: str) -> list[int]:
        tokens: list[int] = tokenizer(text, truncation=True, max_length=most)["input_ids"]
        return tokens

    return network, tokenize


def _hashed(text: str) -> list[int]:
    """The stand-in's tokenizer: a word is the hash of its letters."""
    words = re.findall(r"\w+", text.lower())[:500]
    digests = [hashlib.sha256(word.encode()).digest() for word in words]
    return [1, *(3 + int.from_bytes(d[:4], "big") % (_WORDS - 3) for d in digests), 2]


# -- where there are no words --------------------------------------------------------------------
def transcribe(model: PretrainedModel, samples: NDArray[np.float32]) -> str:
    """What Whisper hears in float32 samples at 16 kHz."""
    import torch

    network, processor = _listener(model)
    piece = processor.feature_extractor.n_samples
    texts = []
    with one_thread(), torch.inference_mode():
        for start in range(0, len(samples), piece):
            inputs = processor(
                samples[start : start + piece], sampling_rate=RATE, return_tensors="pt"
            )
            most = network.config.max_target_positions - 8
            tokens = network.generate(
                inputs.input_features, do_sample=False, num_beams=1, max_new_tokens=min(most, 224)
            )
            texts.append(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
    return " ".join(text for text in texts if text)


@lru_cache(maxsize=1)
def _listener(model: PretrainedModel) -> tuple[Any, Any]:
    from trainables.pure_torchaudio import prepare

    prepare()
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    network = load_model(model, WhisperForConditionalGeneration, None, ("proj_out",))  # tied
    return network, WhisperProcessor.from_pretrained(model.folder(), local_files_only=True)


# -- the extractor -------------------------------------------------------------------------------
def _address(whisper: PretrainedModel, audio: str, transcript: str) -> str:
    """A clip is its words where it has some, else its audio as Whisper hears it."""
    what = ("text", transcript) if transcript else ("heard", audio, whisper.identity())
    return hashlib.sha256("\0".join(what).encode()).hexdigest()


def _version(model: PretrainedModel, pool: str) -> str:
    model.config()
    return f"{model.identity()}-{pool}-{_CODE}"


def _note(
    model: PretrainedModel, whisper: PretrainedModel, pool: str, missing: int
) -> tuple[str, ...]:
    pooling = {"mean": "the mean over word pieces", "cls": "the state of [CLS]"}[pool]
    notes = [f"{model.feature}: a text's vector is {pooling}"]
    if model.tiny:
        notes.append(untrained(model.feature))
    if missing:
        notes.append(f"{model.feature}: {missing} clips without a transcript: {whisper.name} hears")
    return tuple(notes)


def _configured(rest: str) -> ExtractorInfo:
    feature = f"bert{rest}"
    name, options = options_of(feature, rest, _OPTIONS, _DEFAULT)
    if options["pool"] not in _POOLS:
        raise BadInput(
            f"features={feature}: pool must be one of {', '.join(_POOLS)}, but got "
            f"{options['pool']!r}."
        )
    if options["whisper"] == TINY:
        raise BadInput(
            f"features={feature}: whisper takes a hub name or a folder; an untrained one would "
            "only write down noise."
        )
    model = PretrainedModel(feature, name, ("bert",), options["revision"])
    whisper = PretrainedModel(
        feature,
        absolute(options["whisper"]),
        ("whisper",),
        remedy="clips without a transcript need Whisper: name its folder, as in bert@whisper=DIR",
    )
    return ExtractorInfo(
        name=feature,
        description=f"BERT on the transcript; :MODEL is a hub name, a folder or {TINY}",
        dims=None,
        extract=partial(_extract, model, options["pool"], whisper),
        version=partial(_version, model, options["pool"]),
        reads="text",
        address=partial(_address, whisper),
        configure=_configured,
        note=partial(_note, model, whisper, options["pool"]),
    )


INFOS = (_configured(""),)
