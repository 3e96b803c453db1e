"""What MS-EmoBoost and CA-MSER read, and the network that reads it: waves, MFCC, spectrograms.

Utterances are cut into clips of one length; shorter ones are padded, at the end in all streams. The
public code of CA-MSER pads the wave at its front and the frames at their end, pads decibels with 0,
which is the loudest level, and counts 301 frames in 3 s, so that utterances of exactly 3, 6, ... s
get a clip more with almost nothing in it and a full vote. `compat=ca_mser` does all that.

Torch is imported inside functions: processes that only plan import this module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import encoder_training, waves
from trainables.encoder_training import WAVE, ClipNetwork
from trainables.stage import NetworkState, Part, Setting
from trainables.weight_files import check_digest

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.boost import EmoBoost
    from trainables.networks.ca_mser import CAMSER
    from trainables.networks.encoders import SSL
    from trainables.networks.guides import Guides

DECIBELS = "spectrogram-db"
GUIDES = ("mfcc", "spectrogram")
GREYS = 255


def guides_of(own: Setting) -> tuple[str, ...]:
    """Which of "mfcc" and "spectrogram" a setting reads."""
    if own["arch"] == "ca_mser" or own["guidance"] == "both":
        return GUIDES
    return tuple(name for name in GUIDES if name == own["guidance"])


def feature_of(part: Part, kind: str) -> str:
    """The feature set of the kind "mfcc" or "spectrogram"."""
    names = [name for name in part.frames if name.startswith(kind)]
    if len(names) != 1:
        raise ValueError(
            f"this setting reads one feature set of the kind {kind}, but features= names "
            f"{names or 'none'}; take features=[wave,mfcc40-htk,spectrogram-db]"
        )
    return names[0]


def bands_of(part: Part, kinds: Iterable[str]) -> dict[str, int]:
    """Values of a frame, by kind of feature set."""
    return {kind: int(part.frames[feature_of(part, kind)].values.shape[1]) for kind in kinds}


def span_of(train: Part, own: Setting) -> tuple[float, float]:
    """The values of the spectrogram that are black (0) and white (1)."""
    name = feature_of(train, "spectrogram")
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


def clip_network(
    own: Setting,
    classes: int,
    bands: Mapping[str, int],
    span: tuple[float, float] | None,
    config: Setting | None = None,
) -> ClipNetwork:
    """`config`: of an encoder whose weights are filled in later, as AlexNet's are then."""
    return ClipNetwork(
        cut=functools.partial(cut, own=own),
        build=functools.partial(network, dict(own), classes, bands, config),
        collate=functools.partial(collate, own=dict(own), span=span),
    )


def cut(part: Part, own: Setting) -> waves.Pieces:
    """The streams that the network reads, cut into clips."""
    if WAVE not in part.frames:
        raise ValueError("the encoder hears the wave; name it among features=[wave,...]")
    read = guides_of(own)
    streams = {WAVE: part.frames[WAVE]} | {n: part.frames[feature_of(part, n)] for n in read}
    if own["compat"] == "none":
        return waves.cut(
            streams, longest=own["longest"], shortest=own["shortest"] or 0.0, tail=own["tail"]
        )
    if not read:
        streams["spectrogram"] = part.frames[feature_of(part, "spectrogram")]
    pieces = waves.cut(
        streams,
        longest=own["longest"],
        shortest=0.0,
        tail="pad",
        leader="spectrogram" if "spectrogram" in streams else "mfcc",
    )
    heard = {name: rows for name, rows in pieces.streams.items() if name in (WAVE, *read)}
    return waves.Pieces(heard, pieces.clip, pieces.clips)


def collate(
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


def network(
    own: Setting, classes: int, bands: Mapping[str, int], config: Setting | None = None
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


def predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    shape, span = state.info["network"], state.info.get("black_white")
    network = clip_network(
        {**state.params, "wave_norm": shape["wave_norm"]},
        len(state.classes),
        shape["bands"],
        None if span is None else (span[0], span[1]),
        shape["encoder"],
    )
    return encoder_training.clip_predictor(state, network)
