"""The cells that a race left out: draws of full tables of scores from the joint model of V and T.

A race decides on observed scores alone, so which cells are missing can be ignored (Rubin, 1976).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Completed:
    """Draws of the full tables given the observed cells."""

    draws: tuple[tuple[Array, dict[str, Array]], ...]
    """(V, T) [C, K] each; observed cells are the same in every draw"""
    imputed: float
    """share of the cells that were drawn, in [0, 1)"""


def impute(V: Array, T: Mapping[str, Array], *, draws: int = 30, seed: int = 0) -> Completed:
    """Draw the missing cells of V and T from their joint model, given the observed ones.

    With Y[c,f] the vector of V and the metrics of T (d of them):
        Y[c,f] = B_f + Q_c + E_cf,   Q_c ~ N(0, Psi) [d, d],   E_cf ~ N(0, Sigma) [d, d],
    so that a setting's validation scores inform its test scores as far as the two go together,
    between settings (Psi) and within a fold (Sigma). B is flat; Psi and Sigma have half-t standard
    deviations and uniform correlations (Huang and Wand, 2013, Simple marginally noninformative
    prior distributions for covariance matrices, eq. 2). Sampled by Gibbs, parameters too, so that
    the draws carry their uncertainty. Which cells are missing may depend on observed scores, as it
    does after a race; then it can be ignored (Rubin, 1976).

    Draws are not clipped to [0, 1]: that would bias their means near the ends.

    Args:
        V: [C, K] validation scores of the objective, NaN where not run.
        T: metric -> [C, K] test scores, NaN in the same cells.
        draws: how many completed tables; at least 1.
        seed: of the draws. Same input and seed, same draws.

    Raises:
        ValueError: shapes or missing cells differ between V and T, a row or a column has no cell at
            all, or draws < 1. (Leave settings without a single fold out: nothing is known of them.)
    """
    V = np.asarray(V, dtype=float)
    names = tuple(T)
    layers = [V, *(np.asarray(T[name], dtype=float) for name in names)]
    observed = np.isfinite(V)
    for name, layer in zip(names, layers[1:], strict=True):
        if layer.shape != V.shape or not np.array_equal(np.isfinite(layer), observed):
            raise ValueError(f"T[{name!r}] must have the shape and the missing cells of V")
    if V.ndim != 2 or not (observed.any(axis=0).all() and observed.any(axis=1).all()):
        raise ValueError("every row and every column of V must have at least one finite cell")
    if draws < 1:
        raise ValueError(f"draws >= 1 must hold, but got {draws}")
    Y = np.stack(layers, axis=-1)
    if observed.all():
        completed: list[Array] = [Y.copy() for _ in range(draws)]
    else:
        completed = _gibbs(Y, observed, draws, np.random.default_rng(seed))
    out = tuple(
        (
            np.ascontiguousarray(y[..., 0]),
            {name: np.ascontiguousarray(y[..., 1 + i]) for i, name in enumerate(names)},
        )
        for y in completed
    )
    return Completed(out, float(1.0 - observed.mean()))


_BURN, _THIN = 150, 12
"""Gibbs sweeps before the first draw and between draws"""


def _gibbs(
    Y: Array, observed: NDArray[np.bool_], draws: int, rng: np.random.Generator
) -> list[Array]:
    rows, _, d = Y.shape
    mask = observed.astype(float)
    n_row, n_column = mask.sum(axis=1), mask.sum(axis=0)
    centre = Y[observed].mean(axis=0)
    y = np.where(observed[..., None], Y - centre, 0.0)
    row_sum, column_sum = y.sum(axis=1), y.sum(axis=0)
    square = np.einsum("cfi,cfj->ij", y, y)
    counts, group = np.unique(n_row, return_inverse=True)

    psi, sigma = 0.02**2 * np.eye(d), 0.06**2 * np.eye(d)
    q = np.zeros((rows, d))
    out: list[Array] = []
    for sweep in range(_BURN + draws * _THIN):
        # B | Q, Sigma
        mean = (column_sum - mask.T @ q) / n_column[:, None]
        b = _normal(rng, mean.shape) @ np.linalg.cholesky(sigma).T
        b = mean + b / np.sqrt(n_column)[:, None]
        # Q | B, Psi, Sigma: rows with as many folds share their covariance
        inverse_psi, inverse_sigma = np.linalg.inv(psi), np.linalg.inv(sigma)
        covariance = np.linalg.inv(inverse_psi + counts[:, None, None] * inverse_sigma)
        root = np.linalg.cholesky(covariance)
        right = (row_sum - mask @ b) @ inverse_sigma
        q = np.einsum("cij,cj->ci", covariance[group], right) + np.einsum(
            "cij,cj->ci", root[group], _normal(rng, q.shape)
        )
        # a common shift between B and Q leaves the likelihood as it is: draw it from Q's prior
        shift = -q.mean(axis=0) + np.linalg.cholesky(psi / rows) @ rng.standard_normal(d)
        q, b = q + shift, b - shift
        # Sigma | B, Q, from sums alone: E = y - b - q over the observed cells
        cross = row_sum.T @ q + column_sum.T @ b
        both = (q.T @ mask) @ b
        products = (
            square
            - cross
            - cross.T
            + both
            + both.T
            + (q * n_row[:, None]).T @ q
            + (b * n_column[:, None]).T @ b
        )
        sigma = _covariance(rng, sigma, products, n_row.sum(), 0.1)
        psi = _covariance(rng, psi, q.T @ q, rows, 0.05)
        if sweep >= _BURN and (sweep - _BURN) % _THIN == _THIN - 1:
            noise = _normal(rng, y.shape) @ np.linalg.cholesky(sigma).T
            table = centre + b + q[:, None, :] + noise
            out.append(np.where(observed[..., None], Y, table))
    return out


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _covariance(
    rng: np.random.Generator, before: Array, products: Array, count: float, typical: float
) -> Array:
    """Gibbs step for a covariance matrix under Huang and Wand's prior (2013, eq. 2, nu = 2).

    Standard deviations are half-t with `typical` as their scale, correlations uniform. A plain
    inverse Wishart of few degrees of freedom draws small variances towards zero, which shrank the
    settings too much (0.6 points of bias in the imputed rows of simulated races).
    """
    d = len(before)
    rate = 2.0 * np.diag(np.linalg.inv(before)) + typical**-2
    scales = rate / rng.gamma((2.0 + d) / 2.0, size=d)
    # 0.01 points keep constant scores from collapsing to a singular matrix, and a millionth of the
    # variance those that are one another's copies
    floor = (1e-8 + 1e-6 * np.trace(products) / d) * np.eye(d)
    return _inverse_wishart(rng, 1.0 + d + count, products + 4.0 * np.diag(1.0 / scales) + floor)


def _inverse_wishart(rng: np.random.Generator, dof: float, scale: Array) -> Array:
    """One draw of an inverse Wishart, by Bartlett's decomposition of the Wishart."""
    d = len(scale)
    scale = 0.5 * (scale + scale.T)
    a = np.tril(rng.standard_normal((d, d)), -1)
    a[np.diag_indices(d)] = np.sqrt(rng.chisquare(dof - np.arange(d)))
    # W = L^-T A A' L^-1 with L L' = scale; its inverse is R R' with R = L A'^-1
    r = np.linalg.cholesky(scale) @ np.linalg.inv(a).T
    out: Array = r @ r.T
    return out
