"""The last hidden layer that artifacts keep: its components, and that `fit` hands over the input
of the layer named."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from trainables.embedding import COMPONENTS, embedding, principal
from trainables.loop import Training, fit
from trainables.stage import Sequences


@pytest.mark.parametrize(("n", "e"), [(60, 24), (20, 64)])
def test_components_are_those_of_pca(n: int, e: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, e)) * np.linspace(4, 0.1, e)
    result = principal(x.astype(np.float32), components=5)
    want = PCA(5, svd_solver="full").fit_transform(x)
    want /= np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert result.shape == (n, 5)
    np.testing.assert_allclose(np.abs(result), np.abs(want), atol=1e-4)
    assert (result[np.abs(result).argmax(axis=0), np.arange(5)] > 0).all()


def test_distances_are_the_layers_own_where_all_components_are_kept() -> None:
    x = np.random.default_rng(1).normal(size=(12, 6)).astype(np.float32)
    result = principal(x)

    def distances(rows: np.ndarray) -> np.ndarray:
        return np.linalg.norm(rows[:, None] - rows[None], axis=-1)

    ratio = distances(result)[np.triu_indices(12, 1)] / distances(x)[np.triu_indices(12, 1)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_rows_that_are_alike_and_a_single_row_are_points() -> None:
    assert not principal(np.full((7, 9), 3.0, np.float32)).any()
    assert principal(np.ones((1, 9), np.float32)).shape == (1, 1)


def test_what_is_kept_is_small_and_says_its_part() -> None:
    x = np.random.default_rng(2).normal(size=(50, 200)).astype(np.float32) * 1e6
    result = embedding({"test": x})
    assert set(result) == {"embedding_test"}
    assert result["embedding_test"].dtype == np.float16
    assert result["embedding_test"].shape == (50, COMPONENTS)
    assert np.isfinite(result["embedding_test"]).all()


class LayerNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x)))


def trained(columns: Any, **more: Any) -> Any:
    y = np.arange(12) % 3
    collate = more.get("collate")
    return fit(
        Training(
            build=LayerNet,
            forward=lambda module, rows: {"logits": module(rows["x"])},
            infer=lambda module, rows: module(rows["x"]),
            loss=lambda module, outputs, rows, *_: {
                "ce": nn.functional.cross_entropy(outputs["logits"], rows["y"])
            },
            score=lambda p: {"validation_ua": float((p.argmax(axis=1) == y).mean())},
            train={"x": columns, "y": y},
            validation={"x": columns},
            predict={"test": {"x": columns}, "validation": {"x": columns}},
            embed={"test": "head"},
            epochs=2,
            batch=6,
            keep_weights=True,
            eval_batch=5 if collate else 0,
            **more,
        )
    )


def layer_of(actual: Any, x: np.ndarray) -> np.ndarray:
    net = LayerNet()
    net.load_state_dict(actual.weights)
    with torch.no_grad():
        return torch.relu(net.body(torch.as_tensor(x))).numpy()


def test_the_layer_named_is_handed_over_of_the_part_named_alone() -> None:
    x = np.random.default_rng(3).normal(size=(12, 4)).astype(np.float32)
    actual = trained(x)
    assert set(actual.layers) == {"test"}
    np.testing.assert_allclose(actual.layers["test"], layer_of(actual, x), atol=1e-6)
    np.testing.assert_allclose(actual.probabilities["test"], actual.probabilities["validation"])


def _summed(rows: Any) -> dict[str, torch.Tensor]:
    return {"x": torch.stack([torch.as_tensor(row.sum(axis=0)) for row in rows["x"]])}


def test_ragged_rows_come_back_in_their_order() -> None:
    rng = np.random.default_rng(4)
    lengths = rng.permutation(np.arange(1, 13))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = Sequences(rng.normal(size=(starts[-1], 4)).astype(np.float32), starts)
    actual = trained(rows, collate=functools.partial(_summed))
    sums = np.stack([rows[i].sum(axis=0) for i in range(12)])
    np.testing.assert_allclose(actual.layers["test"], layer_of(actual, sums), atol=1e-5)
