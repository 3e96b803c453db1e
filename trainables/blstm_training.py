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

from trainables import fitting
from trainables.metrics import validation_scores
from trainables.stage import (
    FAST,
    Array,
    Cuda,
    NetworkState,
    Part,
    Setting,
    StageInputs,
    weight_arrays,
)
from trainables.waves import pad_rows

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.blstm import BLSTM
    from trainables.optimisation import Fit

Read = Callable[[Part], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""a part -> [n, K] probabilities and [n, E] hidden vectors, by a frozen BLSTM"""


@dataclass(frozen=True)
class Submodel:
    """A BLSTM that has been trained."""

    result: Fit
    read: Read
    size: int
    """values of a frame"""

    def arrays(self, inputs: StageInputs) -> dict[str, Array]:
        """What it says of the validation and the test part, and its weights where asked for."""
        arrays: dict[str, Array] = {}
        for name, part in (("validation", inputs.validation), ("test", inputs.test)):
            arrays[name], arrays[f"hidden_{name}"] = self.read(part)
        return arrays | weight_arrays(self.result.weights if inputs.keep_weights else None)

    @property
    def info(self) -> dict[str, Any]:
        return self.result.facts | {"inputs": self.size}


def train(
    inputs: StageInputs,
    rows: NDArray[np.int64],
    target: NDArray[np.float32],
    stop: NDArray[np.int64],
    y: NDArray[np.int64],
    own: Setting,
) -> Submodel:
    """Train a BLSTM on rows of the training part.

    Args:
        inputs: a fold
        rows, target: [m] training rows and [m, K] their targets
        stop, y: [v] validation rows and their classes
        own: parameters of `corater.SUBMODEL`

    Raises:
        ValueError: frames or validation rows are not there
        NonFinite: the training diverged
    """
    if not len(stop) and not inputs.refit:
        raise ValueError("no validation clip has ratings that the model could be stopped by")
    k = len(inputs.classes)
    frames = _frames(inputs.train).take(rows)
    size = int(frames.values.shape[1])
    result = fitting.fit(
        inputs,
        own,
        build=functools.partial(network, size, k, dict(own)),
        infer=_logits,
        score=functools.partial(validation_scores, y=y, k=k),
        train={"frames": frames, "target": target},
        validation={"frames": _frames(inputs.validation).take(stop)},
        predict={},
        keep_weights=True,
        collate=functools.partial(collate, every=own["every"]),
    )
    assert result.weights is not None
    card = (inputs.own_device, inputs.cuda)
    read = _frozen(own, size, k, result.weights, inputs.threads, *card)
    return Submodel(result, read, size)


def reader(state: NetworkState) -> Read:
    """What a submodel of a model says of clips."""
    return _frozen(state.params, state.info["inputs"], len(state.classes), state.weights)


def _frozen(
    own: Setting,
    size: int,
    k: int,
    weights: Mapping[str, Any],
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
    cuda: Cuda = FAST,
) -> Read:
    from scipy.special import softmax

    from trainables.passes import read, restore

    module: Any = restore(functools.partial(network, size, k, dict(own)), weights)

    def run(part: Part) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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
                cuda=cuda,
            )
        return softmax(both[:, :k], axis=1), np.ascontiguousarray(both[:, k:])

    return run


# --- Frames on their way to the network -----------------------------------------------------


def pool_frames(frames: Array, every: int) -> NDArray[np.float32]:
    """Means of every so many frames, [L, D] -> [ceil(L / every), D]; the last of what is left."""
    starts = np.arange(0, len(frames), every)
    sums = np.add.reduceat(np.asarray(frames, dtype=np.float32), starts, axis=0)
    counts = np.diff([*starts, len(frames)])
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means


def collate(rows: Mapping[str, Any], *, every: int) -> dict[str, Tensor]:
    """A batch: `frames` [n, T, D] with `length` [n], and the arrays of `rows`."""
    from trainables.rows import tensors

    arrays = {name: values for name, values in rows.items() if not isinstance(values, list)}
    whole, lengths = pad_rows([pool_frames(frames, every) for frames in rows["frames"]])
    return tensors({**arrays, "frames": whole, "length": lengths})


def _frames(part: Part) -> Any:
    """The one feature set of frames, [n] rows of [L, D]."""
    if len(part.frames) != 1:
        raise ValueError(
            f"co-rater training reads one feature set of frames, but features= names "
            f"{sorted(part.frames)}; take features=emobase-frames"
        )
    (frames,) = part.frames.values()
    if frames.values.ndim != 2:
        raise ValueError("co-rater training reads frames [L, D], not a wave")
    return frames


# --- The network ----------------------------------------------------------------------------


def network(inputs: int, classes: int, own: Setting) -> BLSTM:
    from trainables.networks.blstm import BLSTM

    return BLSTM(inputs, classes, dropout=own["dropout"], width=own["width"], units=own["units"])


def infer(module: BLSTM, rows: Mapping[str, Tensor]) -> Tensor:
    """Logits and hidden vectors side by side, [n, K + E]."""
    import torch

    return torch.cat(list(module(rows["frames"], rows["length"])), dim=1)


def _logits(module: BLSTM, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["frames"], rows["length"]).logits
