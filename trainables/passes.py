"""Passes without gradient: what a network says of rows, in training, afterwards and in a model."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables import workers
from trainables.rows import Arrays, Collate, Dense, Infer, Ragged, length
from trainables.stage import Array

Link = Literal["softmax", "identity"]
"""from a network's outputs to what it predicts: class probabilities, or numbers as they are"""
Precision = Literal["fp32", "bf16", "fp16"]


class NonFinite(ArithmeticError):
    """A loss or a prediction is NaN or infinite; the message names the epoch and the terms."""


def restore(build: Callable[[], nn.Module], weights: Mapping[str, Any]) -> nn.Module:
    """A trained network, frozen and in eval mode, on the CPU.

    Args:
        build: makes the module, whose weights are replaced
        weights: its whole state by name, tensors (as `Fit.weights` holds them) or arrays
    """
    with quiet_corner(1, torch.device("cpu")):
        module = build()
    module.load_state_dict(
        {
            n: w if isinstance(w, Tensor) else torch.as_tensor(np.array(w))
            for n, w in weights.items()
        }
    )
    return module.eval().requires_grad_(False)


def read(
    module: nn.Module,
    *,
    infer: Infer,
    columns: Arrays,
    collate: Collate,
    eval_batch: int = 128,
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
) -> NDArray[np.float32]:
    """What a `restore`d network gives for rows [n, ...], without gradients.

    Args:
        module: is moved to the device
        infer: (module, rows) -> [n, ...], any outputs
        columns, collate, eval_batch, threads, device: as for `Training`
    """
    length(columns, "columns")
    place = torch.device(device)
    with quiet_corner(threads, place), torch.inference_mode():
        module = module.to(place)
        table = Ragged(columns, place, collate, 0, eval_batch)
        return table.in_order(table.logits(functools.partial(infer, module))).cpu().numpy()


@contextlib.contextmanager
def quiet_corner(threads: int, device: torch.device) -> Iterator[None]:
    """torch's threads set, and the caller's threads and random state put back afterwards."""
    before = torch.get_num_threads()
    cards = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def cast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype)


def predictor(
    *,
    build: Callable[[], nn.Module],
    weights: Mapping[str, Array],
    infer: Infer,
    collate: Collate | None = None,
    bucket: int = 16,
    batch: int = 64,
    precision: Precision = "fp32",
    link: Link = "softmax",
) -> Callable[[Arrays], NDArray[np.float32]]:
    """A trained network as a function: columns of n rows -> class probabilities [n, K].

    It runs in this process on one thread of the CPU, and needs no Ray.

    Args:
        build: makes the module, whose weights are replaced
        weights: its whole state, by name
        infer, collate, bucket, precision: as in `Training`
        batch: with `collate`, rows a pass

    Raises (the function that it gives):
        NonFinite: a prediction is NaN or infinite
        ValueError: no rows, or columns of unlike lengths
    """
    cpu = torch.device("cpu")
    module = restore(build, weights)

    def predict(columns: Arrays) -> NDArray[np.float32]:
        length(columns, "what is predicted")
        table = (
            Dense(columns, cpu) if collate is None else Ragged(columns, cpu, collate, bucket, batch)
        )
        with quiet_corner(1, cpu):
            probabilities = probabilities_of(module, table, infer, precision, link)
        bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
        if bad:
            raise NonFinite(f"{bad} of {len(probabilities)} predictions are not finite")
        return probabilities

    return predict


def probabilities_of(
    module: nn.Module,
    table: Dense | Ragged,
    infer: Infer,
    precision: Precision,
    link: Link = "softmax",
) -> NDArray[np.float32]:
    """Eval-mode predictions [n, K] of all rows; each worker does its share, and all get all."""
    module.eval()
    with torch.inference_mode(), cast(precision, table.device):
        own = table.logits(functools.partial(infer, module))
    with torch.inference_mode():
        own = own.float()
        return _whole(own if link == "identity" else torch.softmax(own, dim=-1), table)


def _whole(own: Tensor, table: Dense | Ragged) -> NDArray[np.float32]:
    """Every worker's rows [n, ...], in the order of the columns."""
    whole = workers.exchange(own, table.total) if workers.count() > 1 else own
    return table.in_order(whole).cpu().numpy()


def with_layer(
    module: nn.Module,
    table: Dense | Ragged,
    infer: Infer,
    precision: Precision,
    name: str,
    link: Link = "softmax",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`probabilities_of`, and what the layer of that name gets as input [n, E] on the way."""
    inputs: list[Tensor] = []

    def look(layer: nn.Module, values: tuple[Tensor, ...]) -> None:
        inputs.append(values[0].float())

    layer = module.get_submodule(name)
    last = layer[-1] if isinstance(layer, nn.Sequential) else layer
    hook = last.register_forward_pre_hook(look)
    try:
        probabilities = probabilities_of(module, table, infer, precision, link)
    finally:
        hook.remove()
    with torch.inference_mode():
        # a worker without rows passes one through the network and drops it
        share = workers.share(table.total)
        return probabilities, _whole(torch.cat(inputs)[: share.stop - share.start], table)
