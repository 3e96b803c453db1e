"""MS-EmoBoost (Song et al. 2025, "001"), and CA-MSER (Zou et al. 2022), which it grew from.

One stage a fold: the states of a speech encoder are weighed by a vector that MFCC and a spectrogram
of the same clip give. `guidance=none` is the plain encoder, `arch=ca_mser` the older network.

The public code of CA-MSER stops and tests on the same speaker. Here nothing can: test labels exist
in the scoring step alone. What else it does, `compat=ca_mser` does (`guide_clips`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainables import augmentation, encoder_training, fitting, guide_clips, targets
from trainables.fitting import equals, where
from trainables.guide_clips import DECIBELS, GUIDES, guides_of
from trainables.labels import have_votes, labels_of
from trainables.stage import (
    Artifact,
    Exporter,
    Method,
    Node,
    Param,
    Part,
    Setting,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES
from trainables.weight_files import RANDOM, AlexNetWeights, identity, is_path

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
        alexnet=AlexNetWeights(
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
        patience_steps=(120, ""),
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
            "pad",
            "a last clip shorter than shortest is padded and counts in full (pad, paper), or "
            "belongs to the clip before it (merge)",
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
    **augmentation.declare(wave=augmentation.always, frames=lambda own: bool(guides_of(own))),
}
DIGESTS = {"ssl_digest": "ssl", "alexnet_digest": "alexnet"}
"""Parameters of the stage alone: digests of the weights that another parameter names."""


def canonical(setting: Setting) -> Setting:
    """The stage's parameters, with those that have no effect set to None.

    Args:
        setting: every parameter of the method
    """
    own = fitting.settle(PARAMS, {**setting, **targets.canonical(setting)})
    for weights in DIGESTS.values():
        own |= identity(own, weights)
    return own


def _graph(setting: Setting) -> tuple[Node, ...]:
    return (
        Node("fit", fit, canonical(setting), parts=("train", "validation", "test"), group=True),
    )


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
    own = encoder_training.settle_wave_norm(own)
    part, target, voteless = _targets(inputs, own)
    read = guides_of(own)
    span = guide_clips.span_of(part, own) if "spectrogram" in read else None
    bands = guide_clips.bands_of(part, read)
    result, utterances, clips = encoder_training.fit_clips(
        inputs,
        part,
        target,
        {"validation": inputs.validation, "test": inputs.test},
        own,
        guide_clips.clip_network(own, len(inputs.classes), bands, span),
    )
    info = encoder_training.facts(result, own) | {
        "utterances": len(part),
        "clips": clips,
        "dropped": voteless,
    }
    if span is not None:
        info |= {"black_white": list(span), "alexnet": own["alexnet"]}
    if result.weights is not None:
        info["network"] = {
            "bands": bands,
            "wave_norm": own["wave_norm"],
            "encoder": encoder_training.encoder_config(own),
        }
    return Artifact(arrays={**utterances, **weight_arrays(result.weights)}, info=info)


def _targets(inputs: StageInputs, own: Setting) -> tuple[Part, NDArray[np.float32], int]:
    """The labelled utterances to learn from, their targets [n, K], and how many had no vote."""
    part, strategy = inputs.train, own["strategy"]
    labels_of(part)
    if "votes" in STRATEGIES[strategy].needs:
        part = part.take(have_votes(part, strategy))
    target = targets.of_setting(own, y=labels_of(part), k=len(inputs.classes), votes=part.votes)
    return part, target, len(inputs.train) - len(part)


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
    export=Exporter(guide_clips.predictor, several=targets.several),
)
