"""The states of an encoder's layers, stored once a clip in half precision.

    features=layers:facebook/wav2vec2-base               all layers: [frames, 13, 768]
    features=layers:DIR@layers=6-9                       those four; or last, or 0+6+12

Encoders are those that transformers knows by `AutoModel`: wav2vec 2.0, HuBERT, WavLM, data2vec,
Whisper's encoder, and any other whose layers give hidden states of one size. A clip goes through
alone, in eval mode, by the same code that `ssl_train=lora` trains. Values beyond half precision
(65504) are set to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features.extractor import ExtractorInfo, Unusable
from raysearch.data.features.pretrained import (
    PretrainedModel,
    one_thread,
    options_of,
    untrained,
)
from raysearch.errors import BadInput
from trainables.layer_choice import canonical_layers, layer_numbers

RATE = 16_000
_CODE = 1  # raise it whenever this file would give other values
_OPTIONS = {"layers": "all", "revision": "main"}
_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "conv_kernel": (20, 16, 8)} | {
    "model_type": "wav2vec2",
    "conv_stride": (10, 8, 4),
}
"""of the stand-in, `trainables.networks.encoders.load`"""


def _states(
    model: PretrainedModel, layers: str, samples: NDArray[np.float32]
) -> NDArray[np.float16]:
    """float16 [frames, L, D]."""
    import torch

    encoder = _encoder(model)
    wave = torch.tensor(samples)
    pieces = []
    with one_thread(), torch.inference_mode():
        for start in range(0, len(wave), encoder.longest or len(wave)):
            piece = wave[None, start : start + (encoder.longest or len(wave))]
            states, _ = encoder(piece, torch.tensor([piece.shape[1]]))
            chosen = [states[number][0] for number in _numbers(layers, len(states))]
            pieces.append(torch.stack(chosen, dim=1))
    most = float(np.finfo(np.float16).max)
    return torch.cat(pieces).clamp(-most, most).to(torch.float16).numpy()


def _numbers(layers: str, count: int) -> list[int]:
    try:
        return layer_numbers(layers, count)
    except ValueError as error:
        raise Unusable(f"{error}.") from error


@lru_cache(maxsize=1)
def _encoder(model: PretrainedModel) -> Any:
    from trainables.networks.hearing import hearing, load_encoder

    try:
        network, front = load_encoder(model.name if model.tiny else str(model.folder()))
        return hearing(network, front).eval()
    except ValueError as error:
        raise Unusable(f"{error}.") from error


# -- what is known before a clip is heard ----------------------------------------------------------
def _facts(model: PretrainedModel) -> Mapping[str, Any]:
    return _TINY if model.tiny else model.facts()


def _count(facts: Mapping[str, Any]) -> int | None:
    """Layers that an encoder gives, the input of its transformer included."""
    layers = facts.get("encoder_layers") or facts.get("num_hidden_layers")
    return layers + 1 if isinstance(layers, int) else None


def _size(
    model: PretrainedModel, layers: str, seconds: NDArray[np.float64]
) -> tuple[int, ...] | None:
    """(frames of all clips, L, D), where the configuration says it."""
    facts = _facts(model)
    count = _count(facts)
    # resampling gives the ceiling; the float of a whole number of samples may lie a hair above it
    samples = np.ceil(seconds * RATE - 1e-3).astype(np.int64)
    width = facts.get("hidden_size") or facts.get("d_model")
    if facts.get("model_type") == "whisper":
        window = 2 * int(facts.get("max_source_positions", 1500)) * 160
        whole, rest = np.divmod(samples, window)
        frames = whole * (window // 320) + -(-rest // 320)
    elif "conv_kernel" in facts and "conv_stride" in facts and not facts.get("add_adapter"):
        frames = samples
        for kernel, stride in zip(facts["conv_kernel"], facts["conv_stride"], strict=True):
            frames = (frames - kernel) // stride + 1
        frames = frames.clip(1)
    else:
        return None
    if count is None or not isinstance(width, int):
        return None
    return int(frames.sum()), len(layer_numbers(layers, count)), width


def _version(model: PretrainedModel, layers: str) -> str:
    count = _count(_TINY if model.tiny else model.config() or {})
    if count is not None:
        try:
            layer_numbers(layers, count)
        except ValueError as error:
            raise BadInput(f"features={model.feature}: {error}.") from error
    return f"{model.identity()}-{layers}-{_CODE}"


def _note(model: PretrainedModel, missing: int) -> tuple[str, ...]:
    return (untrained(model.feature),) if model.tiny else ()


def _configured(rest: str) -> ExtractorInfo:
    feature = f"layers{rest}"
    name, options = options_of(feature, rest, _OPTIONS, "facebook/wav2vec2-base")
    try:
        layers = canonical_layers(options["layers"])
    except ValueError as error:
        raise BadInput(f"features={feature}: {error}.") from error
    model = PretrainedModel(feature, name, (), options["revision"])
    return ExtractorInfo(
        name=feature,
        description="states of an encoder's layers, in half precision; :MODEL is a hub name, a "
        "folder or tiny",
        dims=None,
        extract=partial(_states, model, layers),
        version=partial(_version, model, layers),
        kind="frames",
        dtype="float16",
        normalise=False,
        configure=_configured,
        note=partial(_note, model),
        size=partial(_size, model, layers),
    )


INFOS = (_configured(""),)
