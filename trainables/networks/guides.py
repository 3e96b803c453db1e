"""What guides a speech encoder: MFCC through a BiLSTM, a spectrogram through AlexNet.

Shared by MS-EmoBoost (Song et al. 2025) and CA-MSER (Zou et al. 2022). Both read clips of a fixed
length, because their last layer has a weight for every position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.networks.alexnet import GRID, AlexNet
from trainables.networks.attention import SelfAttention
from trainables.networks.encoders import SSL

HIDDEN = 128
UNITS = 256
"""of the BiLSTM, a direction"""
IMAGE = (256, 384)
"""height (frequency, high at the top) and width (time) of what AlexNet sees; CA-MSER's"""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""of ImageNet's red, green and blue"""


class _TokenSqueeze(nn.Module):
    """Tokens [n, T, D] -> attention, or none -> flat -> dropout -> linear -> ReLU [n, hidden]."""

    def __init__(
        self, tokens: int, size: int, hidden: int, *, attention: bool, dropout: float
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(size) if attention else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(tokens * size, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        flat = self.attention(tokens).flatten(1)
        return torch.relu(self.project(self.dropout(flat)))


class MFCCGuide(nn.Module):
    """MFCC [n, frames, bands] -> a BiLSTM's outputs X_m [n, frames, 512] -> [n, hidden] (eq. 2).

    Args:
        frames, bands: of the input
        hidden: size of the output
        units: of the BiLSTM, a direction
        layers: of it (CA-MSER: 2)
        lstm_dropout: between its layers
        attention: over the frames
        dropout: before the projection
    """

    def __init__(
        self,
        frames: int,
        bands: int,
        hidden: int = HIDDEN,
        *,
        units: int = UNITS,
        layers: int = 2,
        lstm_dropout: float = 0.5,
        attention: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            bands, units, layers, batch_first=True, dropout=lstm_dropout, bidirectional=True
        )
        self.squeeze = _TokenSqueeze(
            frames, 2 * units, hidden, attention=attention, dropout=dropout
        )

    def forward(self, mfcc: Tensor) -> Tensor:
        return self.squeeze(self.lstm(mfcc)[0])


class SpectrogramGuide(nn.Module):
    """Spectrogram in 0 .. 1 [n, frames, bins] -> AlexNet's X_s [n, 36, 256] -> [n, hidden] (eq. 3).

    The 36 positions are the tokens. (CA-MSER's reshape would make the 256 channels tokens; the
    paper does not say.)

    Args:
        alexnet: of `alexnet.load`
        hidden: size of the output
        image_norm: "imagenet" takes ImageNet's mean off and divides by its deviation; "none"
        attention: over the positions
        dropout: before the projection
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        alexnet: AlexNet,
        hidden: int = HIDDEN,
        *,
        image_norm: Literal["imagenet", "none"] = "imagenet",
        attention: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.alexnet = alexnet
        plain = image_norm == "none"
        mean, deviation = ((0.0,) * 3, (1.0,) * 3) if plain else (MEAN, DEVIATION)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)
        self.squeeze = _TokenSqueeze(
            GRID * GRID, alexnet.outputs, hidden, attention=attention, dropout=dropout
        )

    def image(self, spectrogram: Tensor) -> Tensor:
        """[n, frames, bins] -> [n, 3, 256, 384]: grey in three channels, high pitch on top."""
        grey = spectrogram.mT.flip(1)[:, None]
        grey = nn.functional.interpolate(grey, IMAGE, mode="bilinear", align_corners=False)
        return (grey - self.mean) / self.deviation

    def forward(self, spectrogram: Tensor) -> Tensor:
        features = self.alexnet(self.image(spectrogram))
        return self.squeeze(features.flatten(2).mT)


class Guides(nn.Module):
    """The guides there are, and the vector over an encoder's states that they give (eq. 11).

    Args:
        mfcc, spectrogram: one or both
        states: T', of the encoder
        hidden: size of what a guide gives
        relu: keep the vector from being negative (CA-MSER's way; eq. 11 has none)
    """

    def __init__(
        self,
        mfcc: MFCCGuide | None,
        spectrogram: SpectrogramGuide | None,
        *,
        states: int,
        hidden: int = HIDDEN,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.mfcc, self.spectrogram = mfcc, spectrogram
        self.outputs = hidden * sum(guide is not None for guide in (mfcc, spectrogram))
        if not self.outputs:
            raise ValueError("guides need MFCC, a spectrogram, or both")
        self.enhance = nn.Linear(self.outputs, states)
        self.relu = relu

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`mfcc`, `spectrogram` of a batch -> the guides' own vectors [n, 128 or 256], in that
        order, and the enhancement vector X_enh [n, T']."""
        vectors = []
        if self.mfcc is not None:
            vectors.append(self.mfcc(rows["mfcc"]))
        if self.spectrogram is not None:
            vectors.append(self.spectrogram(rows["spectrogram"]))
        both = torch.cat(vectors, dim=1)
        vector = self.enhance(both)
        return both, torch.relu(vector) if self.relu else vector


def audible_states(ssl: SSL, rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The states [n, T', D] of `wave` and `wave_length`, zero where only padding was heard, and how
    many each row has [n]."""
    states, frames = ssl(rows["wave"], rows["wave_length"])
    here = torch.arange(states.shape[1], device=states.device) < frames[:, None]
    return states * here[..., None].to(states.dtype), frames


def enhance(vector: Tensor, states: Tensor) -> Tensor:
    """Eq. 12: X'_w = X_enh X_w, [n, T'] and [n, T', D] -> [n, D]."""
    return (vector[:, None].to(states.dtype) @ states)[:, 0]
