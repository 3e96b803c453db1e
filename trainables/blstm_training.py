"""A submodel of co-rater training: a BLSTM on the frames of clips, trained, then frozen and read.

Torch is imported inside functions: processes that only plan import this module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.metrics import validation_scores
from trainables.stage import NetworkState, Part, StageInputs, weight_arrays
from trainables.waves import pad_rows

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.epochs import Fit
    from trainables.networks.blstm import BLSTM

CHECKPOINT_SECONDS = 20.0
"""at least so long between two checkpoints of a training, which are written after epochs"""

Read = Callable[[Part], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""a part -> [n, K] probabilities and [n, E] hidden vectors, by a frozen BLSTM"""


@dataclass(frozen=True)
class Submodel:
    """A BLSTM that has been trained."""

    fitted: Fit
    read: Read
    size: int
    """values of a frame"""

    def arrays(self, inputs: StageInputs) -> dict[str, NDArray[Any]]:
        """What it says of the validation and the test part, and its weights where asked for."""
        found: dict[str, NDArray[Any]] = {}
        for name, part in (("validation", inputs.validation), ("test", inputs.test)):
            found[name], found[f"hidden_{name}"] = self.read(part)
        return found | weight_arrays(self.fitted.weights if inputs.keep_weights else None)

    @property
    def info(self) -> dict[str, Any]:
        return self.fitted.facts | {"inputs": self.size}


def train(
    inputs: StageInputs,
    rows: NDArray[np.int64],
    target: NDArray[np.float32],
    held: NDArray[np.int64],
    y: NDArray[np.int64],
    own: Mapping[str, Any],
) -> Submodel:
    """Train a BLSTM on rows of the training part.

    Args:
        inputs: a fold
        rows, target: [m] training rows and [m, K] their targets
        held, y: [v] validation rows and their classes
        own: parameters of `corater.SUBMODEL`

    Raises:
        ValueError: frames or validation rows are not there
        NonFinite: the training diverged
    """
    from trainables.loop import Training, fit
    from trainables.losses import target_loss

    if not len(held) and not inputs.refit:
        raise ValueError("no validation clip has ratings that the model could be stopped by")
    k = len(inputs.classes)
    frames = _frames(inputs.train).take(rows)
    size = int(frames.values.shape[1])
    fitted = fit(
        Training(
            build=functools.partial(network, size, k, dict(own)),
            forward=_forward,
            infer=_logits,
            loss=functools.partial(target_loss, weights=class_weights(target, own)),
            score=functools.partial(validation_scores, y=y, k=k),
            train={"frames": frames, "target": target},
            validation={} if inputs.refit else {"frames": _frames(inputs.validation).take(held)},
            predict={},
            batch=own["batch"],
            lr=own["lr"],
            epochs=own["epochs"],
            patience=own["patience"],
            **{**inputs.training, "keep_weights": True},
            checkpoint_every=1,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            collate=functools.partial(collate, every=own["every"]),
            bucket=own["bucket"],
            optimiser=own["optimiser"],
        )
    )
    assert fitted.weights is not None
    read = _frozen(own, size, k, fitted.weights, inputs.threads, inputs.device)
    return Submodel(fitted, read, size)


def reader(trained: NetworkState) -> Read:
    """What a submodel of a model says of clips."""
    return _frozen(trained.params, trained.info["inputs"], len(trained.classes), trained.weights)


def _frozen(
    own: Mapping[str, Any],
    size: int,
    k: int,
    weights: Mapping[str, Any],
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Read:
    from scipy.special import softmax

    from trainables.passes import loaded, read

    module: Any = loaded(functools.partial(network, size, k, dict(own)), weights)

    def said(part: Part) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not len(part):
            both = np.zeros((0, k + module.head.in_features), np.float32)
        else:
            both = read(
                module,
                infer=infer,
                columns={"frames": _frames(part)},
                collate=functools.partial(collate, every=own["every"]),
                eval_batch=2 * own["batch"],
                threads=threads,
                device=device,
            )
        return softmax(both[:, :k], axis=1), np.ascontiguousarray(both[:, k:])

    return said


def class_weights(
    target: NDArray[np.float32], own: Mapping[str, Any]
) -> NDArray[np.float32] | None:
    """[K] weights of the classes in targets [n, K], as `class_weight` says; None for none."""
    if own["class_weight"] == "none":
        return None
    import torch

    from trainables.losses import inverse_frequency

    found: NDArray[np.float32] = inverse_frequency(torch.as_tensor(target.sum(axis=0))).numpy()
    return found


# --- Frames on their way to the network -----------------------------------------------------


def pool_frames(frames: NDArray[Any], every: int) -> NDArray[np.float32]:
    """Means of every so many frames, [L, D] -> [ceil(L / every), D]; the last of what is left."""
    starts = np.arange(0, len(frames), every)
    sums = np.add.reduceat(np.asarray(frames, dtype=np.float32), starts, axis=0)
    counts = np.diff([*starts, len(frames)])
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means


def collate(rows: Mapping[str, Any], *, every: int) -> dict[str, Tensor]:
    """A batch: `frames` [n, T, D] with `length` [n], and the arrays of `rows`."""
    import torch

    made = {
        name: torch.as_tensor(np.require(values, requirements=["C", "W"]))
        for name, values in rows.items()
        if not isinstance(values, list)
    }
    whole, lengths = pad_rows([pool_frames(frames, every) for frames in rows["frames"]])
    return made | {"frames": torch.from_numpy(whole), "length": torch.from_numpy(lengths)}


def _frames(part: Part) -> Any:
    """The one feature set of frames, [n] rows of [L, D]."""
    if len(part.frames) != 1:
        raise ValueError(
            f"co-rater training reads one feature set of frames, but features= names "
            f"{sorted(part.frames)}; take features=emobase-frames"
        )
    (found,) = part.frames.values()
    if found.values.ndim != 2:
        raise ValueError("co-rater training reads frames [L, D], not a wave")
    return found


# --- The network ----------------------------------------------------------------------------


def network(inputs: int, classes: int, own: Mapping[str, Any]) -> BLSTM:
    from trainables.networks.blstm import BLSTM

    return BLSTM(inputs, classes, dropout=own["dropout"], width=own["width"], units=own["units"])


def infer(module: BLSTM, rows: Mapping[str, Tensor]) -> Tensor:
    """Logits and hidden vectors side by side, [n, K + E]."""
    import torch

    return torch.cat(list(module(rows["frames"], rows["length"])), dim=1)


def _logits(module: BLSTM, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["frames"], rows["length"]).logits


def _forward(module: BLSTM, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": _logits(module, rows)}
