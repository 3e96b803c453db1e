"""Self-attention over a row's tokens, with a residual path (Song et al. 2025, eqs. 4 to 10)."""

from __future__ import annotations

from torch import Tensor, nn


class SelfAttention(nn.Module):
    """X + softmax(Q K^T / sqrt(D)) V, one head, Q, K and V affine maps of X.

    Args:
        size: D of the tokens
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """[n, T, D] -> [n, T, D]"""
        attended = nn.functional.scaled_dot_product_attention(
            self.query(tokens), self.key(tokens), self.value(tokens)
        )
        return tokens + attended
