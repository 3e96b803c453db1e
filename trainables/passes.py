"""Passes without gradient: what a network says of rows, in training, afterwards and in a model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables import workers
from trainables.rows import Arrays, Collate, Dense, Infer, Ragged, length
from trainables.stage import FAST, Array, Cuda

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
    cuda: Cuda = FAST,
) -> NDArray[np.float32]:
    """What a `restore`d network gives for rows [n, ...], without gradients.

    Args:
        module: is moved to the device
        infer: (module, rows) -> [n, ...], any outputs
        columns, collate, eval_batch, threads, device, cuda: as for `Training`
    """
    length(columns, "columns")
    place = torch.device(device)
    how = dataclasses.replace(cuda, benchmark=False)  # its rows are of many shapes
    with quiet_corner(threads, place, how), torch.inference_mode():
        module = module.to(place)
        table = Ragged(columns, place, collate, 0, eval_batch)
        return table.in_order(table.logits(functools.partial(infer, module))).cpu().numpy()


@contextlib.contextmanager
def quiet_corner(threads: int, device: torch.device, cuda: Cuda = FAST) -> Iterator[None]:
    """torch's threads and, on a card, how it computes.

    Afterwards the caller's, and the caller's random state, are put back.
    """
    before = torch.get_num_threads()
    on_card = device.type == "cuda"
    cards = [torch.cuda.current_device()] if on_card else []
    with torch.random.fork_rng(devices=cards), modes(cuda) if on_card else contextlib.nullcontext():
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def modes(cuda: Cuda) -> Iterator[None]:
    """torch's modes of computing on a card set, and put back afterwards.

    Raises:
        RuntimeError: the block needs an algorithm that is not there in a deterministic form
    """
    # cuBLAS needs this for repeatable sums; it is read when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # torch refuses to mix these with their older names (allow_tf32)
    cudnn: Any = torch.backends.cudnn
    products: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [each.fp32_precision for each in products]
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    timing = torch.backends.cudnn.benchmark
    try:
        torch.use_deterministic_algorithms(cuda.deterministic)
        torch.backends.cudnn.benchmark = cuda.benchmark
        for each in products:
            each.fp32_precision = "tf32" if cuda.tf32 else "ieee"
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        what = str(error).partition(" does not have")[0]
        raise RuntimeError(
            f"{what} has no deterministic algorithm on this card; write "
            "deterministic_algorithms=false to train without that promise"
        ) from error
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.backends.cudnn.benchmark = timing
        for each, own in zip(products, before, strict=True):
            each.fp32_precision = own


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
