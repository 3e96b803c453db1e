"""AlexNet's features (Krizhevsky 2014, "One weird trick": the paper's reference 42), written out.

As torchvision has them, names of weights included, so that its ImageNet weights load here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

RANDOM = "random"
LAYERS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
"""channels, kernel, stride and padding of the convolutions"""
POOLS = (0, 1, 4)
"""convolutions that are followed by a maximum over 3 x 3, every second"""
GRID = 6
"""positions along each side of the output"""
FILES = ("model.safetensors", "pytorch_model.bin")


class AlexNet(nn.Module):
    """Five convolutions with ReLU and maxima, then the mean over a grid of 6 x 6.

    Args:
        width: multiplies the channels; 1 is AlexNet, and alone fits its weights
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for place, (full, kernel, stride, padding) in enumerate(LAYERS):
            after = max(1, round(full * width))
            layers += [nn.Conv2d(channels, after, kernel, stride, padding), nn.ReLU()]
            if place in POOLS:
                layers.append(nn.MaxPool2d(3, 2))
            channels = after
        self.features = nn.Sequential(*layers)
        self.outputs = channels

    def forward(self, images: Tensor) -> Tensor:
        """images [n, 3, H, W], both sides 63 or more -> [n, channels, 6, 6]."""
        return nn.functional.adaptive_avg_pool2d(self.features(images), GRID)


def load(name: str, *, width: float = 1.0, revision: str = "main") -> AlexNet:
    """AlexNet's features by hub name, folder or file; `random` weights, which `width` may thin.

    Args:
        name: "random", a file of weights (.safetensors, or what torch.save wrote), a folder with
            model.safetensors or pytorch_model.bin, or a hub name of such a folder
        width: of random weights; others are of AlexNet's own width
        revision: of a hub name

    Raises:
        ValueError: the weights cannot be loaded, or are not AlexNet's
    """
    if name == RANDOM:
        return AlexNet(width)
    network = AlexNet()
    try:
        weights = _read(_file(name, revision))
    except Exception as error:  # whatever a network or a file can do
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"alexnet={name} could not be loaded ({why}); name a file or folder with AlexNet's "
            "weights, or take alexnet=random"
        ) from error
    own_state = network.state_dict()
    state = {
        own: weights[file_name]
        for own in own_state
        for file_name in weights
        if (file_name == own or file_name.endswith(f".{own}"))
    }
    wrong = [
        n for n, tensor in own_state.items() if n not in state or state[n].shape != tensor.shape
    ]
    if wrong:
        raise ValueError(
            f"alexnet={name} holds no AlexNet: {wrong[0]} of the shape "
            f"{list(own_state[wrong[0]].shape)} is not in it; name other weights, or take "
            "alexnet=random"
        )
    network.load_state_dict(state)
    return network


def _file(name: str, revision: str) -> Path:
    place = Path(name).expanduser()
    if place.is_file():
        return place
    if place.is_dir():
        for file in FILES:
            if (place / file).is_file():
                return place / file
        raise OSError(f"the folder holds neither {FILES[0]} nor {FILES[1]}")
    import huggingface_hub as hub

    for file in FILES:
        try:
            return Path(hub.hf_hub_download(name, file, revision=revision))
        except hub.errors.RemoteEntryNotFoundError:
            continue
    raise OSError(f"it holds neither {FILES[0]} nor {FILES[1]}")


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return dict(torch.load(file, map_location="cpu", weights_only=True))
