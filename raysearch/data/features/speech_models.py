"""Frozen states of self-supervised speech models: by frames (20 ms), and their mean.

    features=[is10,wav2vec2:facebook/wav2vec2-base]      the mean over time, one vector
    features=[wave,hubert-frames:DIR@layer=6]            the states after the 6th layer

Every clip goes through the model alone, without padding and so without a mask: models with group
norm over time (wav2vec2-base, hubert-base) hear padding whatever the mask says, and what a clip
gives must not depend on its neighbours. The wave is brought to zero mean and unit variance where
the model's preprocessor says so.
"""

from __future__ import annotations

import json
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features.extractor import ExtractorInfo, Kind, Unusable
from raysearch.data.features.pretrained import (
    TINY,
    PretrainedModel,
    load_model,
    one_thread,
    options_of,
    untrained,
)
from raysearch.errors import BadInput

_CODE = 1  # raise it whenever this file would give other values
_DEFAULTS = {
    "wav2vec2": "facebook/wav2vec2-base",
    "hubert": "facebook/hubert-base-ls960",
    "wavlm": "microsoft/wavlm-base",
}
_CLASSES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
_OPTIONS = {"layer": "last", "revision": "main"}


def states(
    model: PretrainedModel, layer: int | None, samples: NDArray[np.float32]
) -> NDArray[np.float32]:
    """float32 [frames, D] of one clip; `layer` counts from 0, the input of the transformer."""
    import torch

    network, normalise = _network(model)
    wave = samples.astype(np.float32)
    if normalise:
        wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    with one_thread(), torch.inference_mode():
        output = network(torch.from_numpy(wave)[None], output_hidden_states=layer is not None)
        if layer is None:
            states = output.last_hidden_state
        elif layer < len(output.hidden_states):
            states = output.hidden_states[layer]
        else:
            raise Unusable(
                f"layer={layer} is beyond the model's {len(output.hidden_states) - 1} layers."
            )
    return np.ascontiguousarray(states[0].numpy(), dtype=np.float32)


def _pooled(
    model: PretrainedModel, layer: int | None, samples: NDArray[np.float32]
) -> NDArray[np.float32]:
    return states(model, layer, samples).mean(axis=0, dtype=np.float64).astype(np.float32)


@lru_cache(maxsize=2)
def _network(model: PretrainedModel) -> tuple[Any, bool]:
    """The model, and whether it wants its wave normalised."""
    from trainables.pure_torchaudio import prepare

    prepare()
    import transformers

    name = _CLASSES[model.kinds[0]]
    kind = getattr(transformers, f"{name}Model")
    config = getattr(transformers, f"{name}Config")
    # the mask is SpecAugment's, in training alone
    network = load_model(
        model, kind, lambda: kind(config(**_TINY)), may_lack=("masked_spec_embed",)
    )
    if model.tiny:
        return network, True
    try:
        path = model.folder() / "preprocessor_config.json"
        facts = json.loads(path.read_text(encoding="utf-8"))
        return network, bool(facts.get("do_normalize", True))
    except (OSError, ValueError, AttributeError) as error:
        raise Unusable(
            f"preprocessor_config.json of {model.name} cannot be read, and it says how the wave is "
            f"normalised; add it to the folder ({error})."
        ) from error


_TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
"""as wav2vec2-base in all but its width and depth, so 50 frames a second too"""


def _version(model: PretrainedModel, layer: int | None) -> str:
    config = model.config()
    if config is not None and layer is not None and layer > config.get("num_hidden_layers", layer):
        raise BadInput(
            f"features={model.feature}: layer={layer} is beyond the model's "
            f"{config['num_hidden_layers']} layers."
        )
    return f"{model.identity()}-{'last' if layer is None else f'layer{layer}'}-{_CODE}"


def _note(model: PretrainedModel, missing: int) -> tuple[str, ...]:
    return (untrained(model.feature),) if model.tiny else ()


def _configured(base: str, rest: str) -> ExtractorInfo:
    family, _, suffix = base.partition("-")
    kind: Kind = "frames" if suffix == "frames" else "vector"
    feature = f"{base}{rest}"
    name, options = options_of(feature, rest, _OPTIONS, _DEFAULTS[family])
    layer = None
    if options["layer"] != "last":
        if not options["layer"].isdecimal():
            raise BadInput(
                f"features={feature}: layer must be a whole number from 0, or last, but got "
                f"{options['layer']!r}."
            )
        layer = int(options["layer"])
    if name == TINY and layer is not None and layer > _TINY["num_hidden_layers"]:  # type: ignore[operator]
        raise BadInput(f"features={feature}: {TINY} has 2 layers, but got layer={layer}.")
    model = PretrainedModel(feature, name, (family,), options["revision"])
    what = "states every 20 ms" if kind == "frames" else "mean of its states"
    return ExtractorInfo(
        name=feature,
        description=f"{_CLASSES[family]}, {what}; :MODEL is a hub name, a folder or {TINY}",
        dims=None,
        extract=partial(states if kind == "frames" else _pooled, model, layer),
        version=partial(_version, model, layer),
        kind=kind,
        configure=partial(_configured, base),
        note=partial(_note, model),
    )


INFOS = tuple(
    _configured(f"{family}{suffix}", "") for family in _DEFAULTS for suffix in ("", "-frames")
)
