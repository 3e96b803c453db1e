"""One training of a probe: its goal, its network, the pieces that it reads, and its artifact."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import augmentation, encoder_training, fitting, waves
from trainables.class_loss import check_metric, loss_terms
from trainables.encoder_training import ClipNetwork, Goal
from trainables.layer_choice import ALL, LAST, layer_numbers
from trainables.stage import (
    Array,
    Artifact,
    Part,
    Sequences,
    Setting,
    StageInputs,
    weight_arrays,
)
from trainables.waves import WAVE
from trainables.weight_files import check_digest

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.hearing import Hearing
    from trainables.networks.layer_sum import Probe
    from trainables.optimisation import Fit

RECORDED = f"{WAVE}@level=recorded"


def towards_classes(train: Part, target: NDArray[np.float32], own: Setting) -> Goal:
    """Targets [n, K] of these clips, with the loss that the parameters name."""
    assert train.y is not None
    check_metric(own, train.y)
    beta = fitting.class_weights(own, target.sum(axis=0))
    loss = functools.partial(_loss, own=dict(own), beta=beta)
    columns: dict[str, Array] = {"y": train.y, "weight": np.ones(len(train), np.float32)}
    return Goal(columns, None, {"loss": loss})


def fit_probe(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Setting,
    goal: Goal,
) -> tuple[Fit, dict[str, Array]]:
    """What the loop gave, with the weights of what was trained, and what it says of clips."""
    network = clip_network(own, _shape(train, own), len(inputs.classes))
    lr_scale = {"proxies": own["proxy_lr_scale"]} if own["metric"] == "proxy_anchor" else {}
    training = {"infer": infer, "forward": _forward, "lr_scale": lr_scale, "keep_weights": True}
    goal = replace(goal, training={**training, **goal.training})
    result, clips, _ = encoder_training.fit_clips(
        inputs, train, target, predict, own, network, goal
    )
    assert result.weights is not None
    weights = result.weights
    if own["ssl_train"] == "lora":  # its base is a checkpoint that is there already
        weights = {n: w for n, w in weights.items() if not n.startswith("ssl.") or "lora_" in n}
    return replace(result, weights=weights), clips


def probe_artifact(
    inputs: StageInputs,
    own: Setting,
    result: Fit,
    clips: Mapping[str, Array],
    more: Mapping[str, Any],
) -> Artifact:
    import torch

    assert result.weights is not None
    shares = torch.softmax(result.weights["sum.scores"], dim=0).tolist()
    info = {**encoder_training.facts(result, own), **more}
    info["layer_weights"] = dict(zip(_layer_names(own, len(shares)), shares, strict=True))
    if not inputs.keep_weights:
        return Artifact(arrays=clips, info=info)
    shape = _shape(inputs.train, own)
    if own["ssl_train"] in ("transformer", "all"):
        from trainables.networks.hearing import facts_of, load_encoder

        shape["encoder"] = facts_of(*load_encoder(own["ssl"], own["ssl_revision"] or "main"))
    info["network"] = shape
    return Artifact(arrays={**clips, **weight_arrays(result.weights)}, info=info)


def _layer_names(own: Setting, count: int) -> list[str]:
    """The numbers of the layers that are summed."""
    if own["layers"] == ALL:
        return [str(number) for number in range(count)]
    if count == 1:
        return [own["layers"]]
    return [str(number) for number in layer_numbers(own["layers"], 1000)]


def _states(part: Part) -> Sequences:
    """The one feature set of frames that a frozen encoder's probe reads.

    Raises:
        ValueError: there are several, or none
    """
    names = [name for name in part.frames if name != WAVE]
    if len(names) != 1:
        raise ValueError(
            f"ssl_train=none reads one feature set of frames, but features= names "
            f"{names or 'none'}; leave features out, or take features=layers:MODEL"
        )
    return part.frames[names[0]]


def _shape(part: Part, own: Setting) -> dict[str, Any]:
    """What the network is built for: layers and values of a state, where they are stored.

    Raises:
        ValueError: the layers that are stored are not those of the setting
    """
    if own["ssl_train"] != "none":
        return {"layers": None, "size": None, "encoder": None}
    values = _states(part).values
    layers = int(values.shape[1]) if values.ndim == 3 else 1
    if values.ndim == 3 and own["layers"] not in (ALL, LAST):
        count = len(layer_numbers(own["layers"], 1000))
        if count != layers:
            raise ValueError(
                f"features= holds {layers} layers, but layers={own['layers']} names {count}; leave "
                "features out, and params.ssl and params.layers name them"
            )
    return {"layers": layers, "size": int(values.shape[-1]), "encoder": None}


def _averages(own: Setting) -> bool:
    """Whether only the mean over a clip's frames is read: then it is taken once, before training.

    The mean of a weighted sum is the weighted sum of the means.
    """
    return (
        own["ssl_train"] == "none"
        and own["pool"] == "mean"
        and augmentation.of_setting(own) is None
    )


def clip_network(
    own: Setting, shape: Setting, outputs: int, checkpoint: Path | None = None
) -> ClipNetwork:
    """`checkpoint`: the folder of the encoder that LoRA adapts, where the setting's is not read."""
    return ClipNetwork(
        cut=functools.partial(_cut, own=dict(own)),
        build=functools.partial(_network, dict(own), dict(shape), outputs, checkpoint),
        collate=None if _averages(own) else functools.partial(_collate, floor=own["floor"] or 0.0),
    )


def _cut(part: Part, own: Setting) -> waves.Pieces:
    """Pieces of waves; or the states of whole clips, or their means over the frames."""
    if own["ssl_train"] != "none":
        if WAVE not in part.frames:
            raise ValueError(
                f"ssl_train={own['ssl_train']} reads waves; leave features out, or take "
                f"features={RECORDED}"
            )
        return waves.cut(
            {WAVE: part.frames[WAVE]}, longest=own["longest"], shortest=own["floor"], tail="pad"
        )
    rows, clips = _states(part), np.arange(len(part))
    if not _averages(own):
        return waves.Pieces({"states": rows}, clips, len(part))
    shape = _shape(part, own)
    means = np.empty((len(part), 1, shape["layers"], shape["size"]), np.float32)
    for row in range(len(rows)):
        means[row, 0] = _mean(rows[row], own["layer_norm"])
    streams: dict[str, Any] = {"states": means, "length": np.ones(len(part), np.int64)}
    return waves.Pieces(streams, clips, len(part))


def _mean(states: Array, norm: bool) -> NDArray[np.float32]:
    """[L, D] the mean over the frames of [T, L, D] or [T, D], each normalised before."""
    x = states.astype(np.float32)
    if norm:
        x -= x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean if mean.ndim == 2 else mean[None]


def _collate(rows: Mapping[str, Any], *, floor: float) -> dict[str, Tensor]:
    """A batch for `Probe`: `states` [n, T, L, D] or `wave` [n, T], and `length`."""
    from trainables.rows import tensors

    batch: dict[str, Any] = {}
    for name, values in rows.items():
        if not isinstance(values, list):
            batch[name] = values
        elif name == WAVE:
            heard = [waves.samples(wave) for wave in values]
            batch[WAVE], batch["length"] = waves.pad_rows(heard, max(round(floor * waves.RATE), 1))
        else:
            layers = [row if row.ndim == 3 else row[:, None] for row in values]
            batch["states"], batch["length"] = waves.pad_rows(layers)
    return tensors(batch)


def _network(own: Setting, shape: Setting, outputs: int, checkpoint: Path | None) -> Probe:
    from trainables.networks.layer_sum import Probe

    options: dict[str, Any] = {
        "norm": bool(own["layer_norm"]) and not _averages(own),
        "pool": own["pool"],
        "hidden": own["hidden"] or 1,
        "depth": own["depth"],
        "dropout": own["dropout"] or 0.0,
        "proxies": own["metric"] == "proxy_anchor",
    }
    if own["ssl_train"] == "none":
        return Probe(shape["size"], outputs, layers=shape["layers"], **options)
    encoder, count = _encoder(own, shape["encoder"], checkpoint)
    chosen = layer_numbers(own["layers"], count)
    return Probe(
        encoder.outputs, outputs, layers=len(chosen), encoder=encoder, chosen=chosen, **options
    )


def _encoder(own: Setting, facts: Setting | None, checkpoint: Path | None) -> tuple[Hearing, int]:
    """The encoder that is trained, and how many layers it gives."""
    from trainables.networks.hearing import adapt, hearing, load_encoder, of_facts

    if facts is not None:
        model, front = of_facts(facts)
    elif checkpoint is not None:
        model, front = load_encoder(str(checkpoint))
    else:
        check_digest("ssl", own["ssl"], own["ssl_digest"])
        model, front = load_encoder(
            own["ssl"], own["ssl_revision"] or "main", own["layerdrop"] or 0.0
        )
    encoder = hearing(
        model,
        front,
        train=own["ssl_train"],
        mask_time=own["mask_time"] or 0.0,
        checkpointing=bool(own["checkpointing"]),
    )
    if own["ssl_train"] == "lora":
        adapt(
            model,
            rank=own["lora_rank"],
            alpha=own["lora_alpha"],
            dropout=own["lora_dropout"],
            on=own["lora_on"],
        )
    config = model.config
    layers = getattr(config, "encoder_layers", None) or config.num_hidden_layers
    return encoder, int(layers) + 1


def infer(module: Probe, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows).logits


def _forward(module: Probe, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outputs = module(rows)
    return {"logits": outputs.logits, "embedding": outputs.embedding}


def _loss(
    module: Probe,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
    *,
    own: Setting,
    beta: NDArray[np.float32] | None,
) -> dict[str, Tensor]:
    return loss_terms(module, outputs, rows, own, beta)
