"""MS-EmoBoost (Song et al. 2025, "001"), and CA-MSER (Zou et al. 2022), which it grew from.

One stage a fold: the states of a speech encoder are weighed by a vector that MFCC and a spectrogram
of the same clip give. `guidance=none` is the plain encoder, `arch=ca_mser` the older network.

Utterances are cut into clips of 3 s; shorter ones are padded, at the end in all streams. The public
code of CA-MSER pads the wave at its front and the frames at their end, pads decibels with 0, which
is the loudest level, and counts 301 frames in 3 s, so that utterances of exactly 3, 6, ... s get a
clip more with almost nothing in it and a full vote. `compat=ca_mser` does all that. (It also stops
and tests on the same speaker. Here nothing can: test labels exist in the scoring step alone.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import encoder_training, fitting, targets, waves
from trainables.encoder_training import WAVE, ClipNetwork
from trainables.fitting import equals, where
from trainables.labels import have_votes, labels_of
from trainables.stage import (
    Artifact,
    Exporter,
    Method,
    NetworkState,
    Node,
    Param,
    Part,
    Setting,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES
from trainables.weight_files import RANDOM, check_digest, identity, is_path

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.boost import EmoBoost
    from trainables.networks.ca_mser import CAMSER
    from trainables.networks.encoders import SSL
    from trainables.networks.guides import Guides

DECIBELS = "spectrogram-db"
GUIDES = ("mfcc", "spectrogram")
GREYS = 255


@dataclass(frozen=True)
class _AlexNetWeights(Param):
    """`random`, a hub name, or a path that is there."""

    def problem(self, name: str, value: Any) -> str | None:
        problem = super().problem(name, value)
        if problem is not None or value == RANDOM:
            return problem
        if is_path(value):
            if Path(value).expanduser().exists():
                return None
            return (
                f"{name} must be random, a hub name, or weights that are there, but {value} is not"
            )
        if "/" not in value:
            return (
                f"{name} must be random, a hub name as in OWNER/NAME, or a file or folder of "
                f"weights as in ./NAME, but got {value!r}"
            )
        return None


def guides_of(own: Setting) -> tuple[str, ...]:
    """Which of "mfcc" and "spectrogram" a setting reads."""
    if own["arch"] == "ca_mser" or own["guidance"] == "both":
        return GUIDES
    return tuple(name for name in GUIDES if name == own["guidance"])


PARAMS: dict[str, Param] = {
    **targets.declare(
        "votes",
        default="hard",
        help="label strategy: what the network is trained towards (paper: hard)",
    ),
    # Network
    "arch": Param("boost", "MS-EmoBoost, or CA-MSER", ("boost", "ca_mser")),
    **where(
        equals("arch", "boost"),
        guidance=Param(
            "both",
            "what weighs the encoder's states; none: their mean (arch=ca_mser takes both)",
            ("none", *GUIDES, "both"),
        ),
    ),
    **where(
        lambda own: own["arch"] == "boost" and bool(guides_of(own)),
        attention=Param(
            True, "self-attention over the frames and the positions of the guides; for arch=boost"
        ),
        enhance_relu=Param(
            False,
            "a ReLU on the vector over the states; for arch=boost (eq. 11 has none, CA-MSER has "
            "one)",
        ),
    ),
    **where(
        lambda own: bool(guides_of(own)),
        dropout=Param(0.1, "before the layers of 128 (paper: 0.1)", low=0.0, high=0.95),
        width=Param(
            1.0,
            "multiplies the guides: BiLSTM, layers of 128, and AlexNet of random weights",
            low=1 / 16,
            high=4.0,
        ),
    ),
    **where(
        lambda own: "mfcc" in guides_of(own),
        lstm_dropout=Param(0.5, "between the BiLSTM's layers (paper: 0.5)", low=0.0, high=0.95),
        mfcc_norm=Param(
            "frame",
            "each frame's MFCC divided by their length (frame, CA-MSER), or as they come (given)",
            ("frame", "given"),
        ),
    ),
    **where(
        lambda own: "spectrogram" in guides_of(own),
        alexnet=_AlexNetWeights(
            RANDOM,
            "weights of AlexNet: a hub name, a file or folder (paper: ImageNet's), or random",
        ),
        spectrogram_range=Param(
            "train",
            "what is black and white: the least and largest value of the training speakers, or "
            "-80 and 0 dB (fixed)",
            ("train", "fixed"),
        ),
        image_norm=Param(
            "imagenet",
            "mean and deviation of ImageNet on the grey image, or none",
            ("imagenet", "none"),
        ),
    ),
    **where(
        lambda own: (
            "spectrogram" in guides_of(own)
            and own["alexnet"] != RANDOM
            and not is_path(own["alexnet"])
        ),
        alexnet_revision=Param("main", "commit or branch of a hub name"),
    ),
    # Encoder and training
    **encoder_training.declare(
        pre_emphasis=(0.0, "paper: 0"),
        batch=(16, "paper: 64, 32 or 16, by corpus and model"),
        lr=(1e-5, "paper: 1e-5"),
        weight_decay=(0.0, "CA-MSER: 0.01, of AdamW"),
        epochs=(100, "paper: 100 or 150"),
        patience=(8, "paper: 8 or 20"),
    ),
    # Audio
    "longest": Param(3.0, "seconds of a clip (paper: 3)", low=0.5, high=30.0),
    **where(
        lambda own: own["compat"] == "none" and own["tail"] == "merge",
        shortest=Param(
            0.5,
            "seconds: a last clip that is shorter makes none; the network does not hear it",
            low=0.0,
            high=30.0,
        ),
    ),
    **where(
        equals("compat", "none"),
        tail=Param(
            "merge",
            "a last clip shorter than shortest belongs to the clip before it (merge), or counts "
            "in full (pad)",
            ("merge", "pad"),
        ),
        padding=Param(
            "masked",
            "what pads a short clip's wave: the encoder does not attend to it and its states "
            "weigh nothing (masked), or it is heard as silence (heard, as papers do)",
            ("masked", "heard"),
        ),
    ),
    "compat": Param(
        "none",
        "ca_mser: cut and pad as its public code does (wave at the front, 0 dB, an extra clip)",
        ("none", "ca_mser"),
    ),
}
DIGESTS = {"ssl_digest": "ssl", "alexnet_digest": "alexnet"}
"""Parameters of the stage alone: digests of the weights that another parameter names."""


def canonical(setting: Setting) -> dict[str, Any]:
    """The stage's parameters, with those that have no effect set to None.

    Args:
        setting: every parameter of the method
    """
    own = fitting.settle(PARAMS, {**setting, **targets.canonical(setting)})
    for weights in DIGESTS.values():
        own |= identity(own, weights)
    return own


def _graph(setting: Setting) -> tuple[Node, ...]:
    return (Node("fit", fit, canonical(setting), parts=("train", "validation", "test")),)


def _needs(setting: Setting) -> frozenset[str]:
    return STRATEGIES[canonical(setting)["strategy"]].needs


def _notes(setting: Setting) -> tuple[str, ...]:
    notes = encoder_training.notes(setting)
    if "spectrogram" in guides_of(setting) and setting["alexnet"] == RANDOM:
        notes += (
            "params.alexnet=random starts AlexNet from random weights, where the papers start from "
            "ImageNet's; name a file, a folder or a hub model",
        )
    return notes


# --- The stage ------------------------------------------------------------------------------


@takes(*PARAMS, *DIGESTS)
def fit(inputs: StageInputs, own: Setting) -> Artifact:
    """Train one network and predict validation and test.

    Parameters are those of METHOD; None where they have no effect (`canonical`).

    Returns:
        arrays `validation` and `test` [n, K] utterances' probabilities; info `curves`,
        `best_epoch`, `epochs`, `best_validation_ua`, `weights` of the encoder and `alexnet`,
        `utterances` and `clips` that were trained on, `dropped` (utterances without a vote) and
        `black_white`, the range of the spectrogram

    Raises:
        ValueError: votes or frames that the setting needs are not there
        NonFinite: the training diverged
    """
    part, target, voteless = _targets(inputs, own)
    read = guides_of(own)
    span = _span(part, own) if "spectrogram" in read else None
    bands = {name: int(part.frames[_name_of(part, name)].values.shape[1]) for name in read}
    result, utterances, clips = encoder_training.fit_clips(
        inputs,
        part,
        target,
        {"validation": inputs.validation, "test": inputs.test},
        own,
        _clip_network(own, len(inputs.classes), bands, span),
    )
    info = encoder_training.facts(result, own) | {
        "utterances": len(part),
        "clips": clips,
        "dropped": voteless,
    }
    if span is not None:
        info |= {"black_white": list(span), "alexnet": own["alexnet"]}
    if result.weights is not None:
        info["network"] = {"bands": bands, "encoder": encoder_training.encoder_config(own)}
    return Artifact(arrays={**utterances, **weight_arrays(result.weights)}, info=info)


def _targets(inputs: StageInputs, own: Setting) -> tuple[Part, NDArray[np.float32], int]:
    """The labelled utterances to learn from, their targets [n, K], and how many had no vote."""
    part, strategy = inputs.train, own["strategy"]
    labels_of(part)
    if "votes" in STRATEGIES[strategy].needs:
        part = part.take(have_votes(part, strategy))
    target = targets.of_setting(own, y=labels_of(part), k=len(inputs.classes), votes=part.votes)
    return part, target, len(inputs.train) - len(part)


def _name_of(part: Part, kind: str) -> str:
    """The feature set of the kind "mfcc" or "spectrogram"."""
    names = [name for name in part.frames if name.startswith(kind)]
    if len(names) != 1:
        raise ValueError(
            f"this setting reads one feature set of the kind {kind}, but features= names "
            f"{names or 'none'}; take features=[wave,mfcc40-htk,spectrogram-db]"
        )
    return names[0]


def _span(train: Part, own: Setting) -> tuple[float, float]:
    """The values of the spectrogram that are black (0) and white (1)."""
    name = _name_of(train, "spectrogram")
    if name != DECIBELS and (own["compat"] != "none" or own["spectrogram_range"] == "fixed"):
        raise ValueError(
            f"compat=ca_mser and spectrogram_range=fixed read decibels, but features= names "
            f"{name}; take {DECIBELS}"
        )
    if own["spectrogram_range"] == "fixed":
        return -80.0, 0.0
    rows = train.frames[name]
    values = rows.values[rows.starts[0] : rows.starts[-1]]
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1.0


def _clip_network(
    own: Setting,
    classes: int,
    bands: Mapping[str, int],
    span: tuple[float, float] | None,
    config: Any = None,
) -> ClipNetwork:
    """`config`: of an encoder whose weights are filled in later, as AlexNet's are then."""
    return ClipNetwork(
        cut=functools.partial(_cut, own=own),
        build=functools.partial(_network, dict(own), classes, bands, config),
        collate=functools.partial(_collate, own=dict(own), span=span),
    )


def _cut(part: Part, own: Setting) -> waves.Pieces:
    """The streams that the network reads, cut into clips."""
    if WAVE not in part.frames:
        raise ValueError("the encoder hears the wave; name it among features=[wave,...]")
    read = guides_of(own)
    streams = {WAVE: part.frames[WAVE]} | {n: part.frames[_name_of(part, n)] for n in read}
    if own["compat"] == "none":
        return waves.cut(
            streams, longest=own["longest"], shortest=own["shortest"] or 0.0, tail=own["tail"]
        )
    if not read:
        streams["spectrogram"] = part.frames[_name_of(part, "spectrogram")]
    pieces = waves.cut(
        streams,
        longest=own["longest"],
        shortest=0.0,
        tail="pad",
        leader="spectrogram" if "spectrogram" in streams else "mfcc",
    )
    heard = {name: rows for name, rows in pieces.streams.items() if name in (WAVE, *read)}
    return waves.Pieces(heard, pieces.clip, pieces.clips)


def _collate(
    rows: Mapping[str, Any], *, own: Setting, span: tuple[float, float] | None
) -> dict[str, Tensor]:
    """A batch of clips of one length: `wave` [n, 48000] with `wave_length` [n], `mfcc`
    [n, 300, 40], `spectrogram` [n, 300, 200] in 0 .. 1 (of 3 s), and the arrays of `rows`."""
    from trainables.rows import tensors

    imitate = own["compat"] == "ca_mser"
    frames = _frames(own)
    samples = frames * waves.HOP
    batch: dict[str, Any] = {
        n: values for n, values in rows.items() if not isinstance(values, list)
    }
    clips = [waves.condition(w, own["pre_emphasis"], own["wave_norm"]) for w in rows[WAVE]]
    heard = imitate or own["padding"] == "heard"
    batch["wave"] = waves.window(clips, samples, side="front" if imitate else "end")
    batch["wave_length"] = np.array([samples if heard else min(len(w), samples) for w in clips])
    if "mfcc" in rows:
        mfcc = [np.asarray(row, np.float32) for row in rows["mfcc"]]
        if own["mfcc_norm"] == "frame":
            mfcc = [m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), 1e-8) for m in mfcc]
        batch["mfcc"] = waves.window(mfcc, frames)
    if "spectrogram" in rows:
        assert span is not None
        black, white = span
        fill = 0.0 if imitate else black  # 0 dB is the loudest level
        raw = waves.window([np.asarray(r) for r in rows["spectrogram"]], frames, fill=fill)
        grey = np.clip((raw - black) / (white - black), 0.0, 1.0)
        batch["spectrogram"] = np.rint(grey * GREYS) / np.float32(GREYS) if imitate else grey
    return tensors(batch)


def _frames(own: Setting) -> int:
    """Of a clip: 10 ms each."""
    return round(own["longest"] * waves.RATE / waves.HOP)


def _network(
    own: Setting, classes: int, bands: Mapping[str, int], config: Any = None
) -> EmoBoost | CAMSER:
    from trainables.networks import alexnet
    from trainables.networks.boost import EmoBoost
    from trainables.networks.ca_mser import CAMSER
    from trainables.networks.guides import HIDDEN

    encoder = encoder_training.encoder(own, config)
    if config is not None:
        own = {**own, "alexnet": alexnet.RANDOM, "alexnet_digest": None}
    if not bands:
        return EmoBoost(classes, encoder)
    hidden = max(1, round(HIDDEN * own["width"]))
    guides = _guides(encoder, bands, hidden, own)
    if own["arch"] == "ca_mser":
        return CAMSER(classes, encoder, guides, hidden=hidden, dropout=own["dropout"])
    return EmoBoost(classes, encoder, guides)


def _guides(encoder: SSL, bands: Mapping[str, int], hidden: int, own: Setting) -> Guides:
    import torch

    from trainables.networks import alexnet
    from trainables.networks.guides import UNITS, Guides, MFCCGuide, SpectrogramGuide

    frames = _frames(own)
    options: dict[str, Any] = {"attention": bool(own["attention"]), "dropout": own["dropout"]}
    mfcc = spectrogram = None
    if "mfcc" in bands:
        units = max(1, round(UNITS * own["width"]))
        mfcc = MFCCGuide(
            frames, bands["mfcc"], hidden, units=units, lstm_dropout=own["lstm_dropout"], **options
        )
    if "spectrogram" in bands:
        check_digest("alexnet", own["alexnet"], own["alexnet_digest"])
        weights = alexnet.load(
            own["alexnet"], width=own["width"], revision=own["alexnet_revision"] or "main"
        )
        spectrogram = SpectrogramGuide(weights, hidden, image_norm=own["image_norm"], **options)
    return Guides(
        mfcc,
        spectrogram,
        states=int(encoder.frames(torch.tensor(frames * waves.HOP))),
        hidden=hidden,
        relu=own["arch"] == "ca_mser" or bool(own["enhance_relu"]),
    )


def _predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    shape, span = state.info["network"], state.info.get("black_white")
    network = _clip_network(
        state.params,
        len(state.classes),
        shape["bands"],
        None if span is None else (span[0], span[1]),
        shape["encoder"],
    )
    return encoder_training.clip_predictor(state, network)


METHOD = Method(
    name="emoboost",
    summary="a speech encoder's states, weighed by what MFCC and a spectrogram say",
    params=PARAMS,
    graph=_graph,
    needs=_needs,
    notes=_notes,
    features=("wave", "mfcc40-htk", DECIBELS),
    inputs=("frames",),
    paper="Song, Zhang, Gao, Zhang, Hain, Shan: MS-EmoBoost: a novel strategy for enhancing "
    "self-supervised speech emotion representations (Scientific Reports 15, 21607, 2025)",
    export=Exporter(_predictor, several=targets.several),
)
