"""Networks, one a file. They take flat keywords and know nothing of settings or stages."""

from trainables.networks.mlp import MLP

__all__ = ["MLP"]
