"""Encoders of transformers that give the states of every layer, for waves of different lengths.

A wave comes as it was recorded, at 16 kHz; what a checkpoint's own preprocessor does to it (level,
log-mel bands, padding to 30 s) is done here. A row's states do not depend on the rows beside it:
wav2vec 2.0, HuBERT and WavLM read a batch by `encoders.SSL`, which sees no padding; Whisper pads
every row to its own window; any other model (data2vec, conformers, spectrogram transformers, ...)
hears each row alone, because a convolution over padding reaches into the states beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from trainables.networks.encoders import (
    KINDS,
    SSL,
    TINY,
    checkpoint_activations,
    load,
    of_config,
    readable,
    source_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RATE = 16_000
Train = Literal["all", "transformer", "lora", "none"]
_QUERY_OR_VALUE = re.compile(r"(linear_)?(q|v|query|value)(_proj)?")
FEED_FORWARD, ATTENTION, BOTH = "feed_forward", "attention", "both"


class Hearing(nn.Module):
    """A pre-trained encoder of any kind that hears each row alone.

    Args:
        model: an encoder of transformers that gives hidden states
        front: the checkpoint's preprocessor, of `preprocessor`
        train: "all", "transformer" (without the convolutions that read the wave), "lora", adapters
            that `adapt` puts in, or "none"; what is not trained stays in eval mode
        mask_time: of `SSL`; other kinds take 0
        checkpointing: recompute activations instead of keeping them

    Raises:
        ValueError: an argument asks for what this kind of model does not have
    """

    longest: int | None = None
    """samples that it hears at once; None: any number"""

    def __init__(
        self,
        model: PreTrainedModel,
        front: Any,
        *,
        train: Train = "none",
        mask_time: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.front, self.trained = model, front, train
        self._prepare(mask_time, checkpointing)

    def _prepare(self, mask_time: float, checkpointing: bool) -> None:
        kind = self.model.config.model_type
        if mask_time:
            raise ValueError(
                f"mask_time hides states of wav2vec 2.0, HuBERT and WavLM, and this encoder is a "
                f"{kind}; take mask_time=0"
            )
        # What transformers hides by itself it draws from numpy's global generator.
        self.model.config.mask_time_prob = self.model.config.mask_feature_prob = 0.0
        if self.trained == "none":
            self.model.requires_grad_(False)
        elif self.trained == "transformer":
            for part in self._ears():
                part.requires_grad_(False)
        if checkpointing and self.trained != "none":
            checkpoint_activations(self.model)

    def _ears(self) -> list[nn.Module]:
        """The convolutions that read the wave, or its bands."""
        front = getattr(self.model, "feature_extractor", None)
        if not isinstance(front, nn.Module):
            raise ValueError(
                f"ssl_train=transformer leaves the convolutions alone that read the wave, and a "
                f"{self.model.config.model_type} has none by that name; take ssl_train=all or lora"
            )
        return [front]

    @property
    def outputs(self) -> int:
        """D, values a state."""
        return int(getattr(self.model.config, "hidden_size", 0) or self.model.config.d_model)

    def train(self, mode: bool = True) -> Hearing:
        super().train(mode)
        if self.trained in ("none", "lora"):
            self.model.eval()
        elif self.trained == "transformer":
            for part in self._ears():
                part.eval()
        for name, module in self.model.named_modules():
            if name.endswith("lora_dropout"):
                module.train(mode)
        return self

    def forward(self, wave: Tensor, length: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The states of every layer.

        Args:
            wave: [n, T], as recorded
            length: [n] samples of each row, 1 or more

        Returns:
            by layer, the transformer's input first, [n, T', D], with 0 behind a row's last state;
            and [n] states of each row
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trained != "none"):
            layers, frames = self.states(wave, length)
        here = torch.arange(layers[0].shape[1], device=wave.device) < frames[:, None]
        return tuple(layer * here[..., None] for layer in layers), frames

    def states(self, wave: Tensor, length: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        rows = [self._alone(row[:n]) for row, n in zip(wave, length.tolist(), strict=True)]
        frames = torch.tensor([len(row[0]) for row in rows], device=wave.device)
        pad = nn.utils.rnn.pad_sequence
        return tuple(
            pad(list(layer), batch_first=True) for layer in zip(*rows, strict=True)
        ), frames

    def _alone(self, wave: Tensor) -> list[Tensor]:
        """The states [T', D] of every layer for one wave."""
        inputs = self.front(wave.cpu().numpy(), sampling_rate=RATE, return_tensors="pt")
        there = {name: values.to(wave.device) for name, values in inputs.items()}
        outputs = self.model(**there, output_hidden_states=True, return_dict=True)
        layers = getattr(outputs, "hidden_states", None) or ()
        forms = {tuple(layer.shape) for layer in layers}
        if len(forms) != 1 or len(next(iter(forms))) != 3:
            raise ValueError(
                f"a {self.model.config.model_type} gives no states [frames, values] of one size in "
                f"every layer, but {sorted(forms) or 'none'}; name another encoder"
            )
        return [layer[0] for layer in layers]


class WaveHearing(Hearing):
    """wav2vec 2.0, HuBERT and WavLM: `SSL`, at the level that the preprocessor says."""

    def _prepare(self, mask_time: float, checkpointing: bool) -> None:
        # In a tuple, so that the model's weights are in this module's state once.
        self.ssl = (
            SSL(self.model, train=self.trained, mask_time=mask_time, checkpointing=checkpointing),
        )

    def train(self, mode: bool = True) -> WaveHearing:
        super().train(mode)
        self.ssl[0].training = mode
        return self

    def states(self, wave: Tensor, length: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        if self.front is None or self.front.do_normalize:
            here = torch.arange(wave.shape[1], device=wave.device) < length[:, None]
            count = length[:, None].to(wave.dtype)
            centred = (wave - (wave * here).sum(dim=1, keepdim=True) / count) * here
            variance = centred.square().sum(dim=1, keepdim=True) / count
            wave = centred / torch.sqrt(variance + 1e-7)
        return self.ssl[0].states(wave, length)


class WhisperHearing(Hearing):
    """Whisper's encoder: a row is padded to its window, whose empty rest gives no states."""

    def __init__(self, model: PreTrainedModel, front: Any, **options: Any) -> None:
        super().__init__(model, front, **options)
        self.longest = int(front.n_samples)

    def _ears(self) -> list[nn.Module]:
        return [self.model.get_submodule("conv1"), self.model.get_submodule("conv2")]

    def states(self, wave: Tensor, length: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        if self.longest is not None and int(length.max()) > self.longest:
            raise ValueError(
                f"Whisper hears {self.longest / RATE:g} s at once, but got "
                f"{int(length.max()) / RATE:g} s"
            )
        rows = [row[:n].cpu().numpy() for row, n in zip(wave, length.tolist(), strict=True)]
        inputs = self.front(rows, sampling_rate=RATE, return_tensors="pt")
        outputs = self.model(inputs["input_features"].to(wave.device), output_hidden_states=True)
        step = 2 * int(self.front.hop_length)
        frames = ((length + step - 1) // step).clamp(1, outputs.hidden_states[0].shape[1])
        most = int(frames.max())
        return tuple(layer[:, :most] for layer in outputs.hidden_states), frames


# --- From files ----------------------------------------------------------------------------------


def hearing(model: PreTrainedModel, front: Any, **options: Any) -> Hearing:
    """The class that fits the kind of a model; arguments are those of `Hearing`."""
    kind = model.config.model_type
    if kind in KINDS:
        return WaveHearing(model, front, **options)
    return (WhisperHearing if kind == "whisper" else Hearing)(model, front, **options)


def load_encoder(name: str, revision: str = "main", layerdrop: float = 0.0) -> tuple[Any, Any]:
    """An encoder and its preprocessor, by hub name, by folder, or `tiny` (untrained).

    Args:
        name, revision: of `encoders.load`
        layerdrop: share of the layers that a training step leaves out, where the model can

    Returns:
        a model of transformers, of one with a decoder its encoder; and the preprocessor, None for
        `tiny`, which hears waves of mean 0 and deviation 1

    Raises:
        ValueError: one of them cannot be read, or the model cannot leave layers out
    """
    model = _encoder_of(load(name, layerdrop=layerdrop, revision=revision, kinds=None))
    if layerdrop and model.config.model_type not in (*KINDS, "data2vec-audio"):
        raise ValueError(
            f"layerdrop leaves out layers of wav2vec 2.0's kin, and ssl={name} is a "
            f"{model.config.model_type}; take layerdrop=0"
        )
    if name == TINY:
        return model, None
    import transformers

    source, where = source_of(name, revision)
    with readable(name, "preprocessor_config.json"):
        return model, transformers.AutoFeatureExtractor.from_pretrained(source, **where)


def facts_of(model: PreTrainedModel, front: Any) -> dict[str, Any]:
    """What `of_facts` builds an encoder from without its weights, as JSON can hold it."""
    return {
        "config": json.loads(model.config.to_json_string(use_diff=False)),
        "front": None if front is None else json.loads(front.to_json_string()),
    }


def of_facts(facts: Mapping[str, Any]) -> tuple[Any, Any]:
    """An encoder of that shape, its weights to be filled in, and its preprocessor."""
    model = _encoder_of(of_config(facts["config"]))
    if facts["front"] is None:
        return model, None
    import transformers

    kind = getattr(transformers, facts["front"]["feature_extractor_type"])
    return model, kind.from_dict(dict(facts["front"]))


def _encoder_of(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model


# --- LoRA -----------------------------------------------------------------------------------------


def adapt(model: PreTrainedModel, *, rank: int, alpha: int, dropout: float, on: str) -> None:
    """Put LoRA's matrices (Hu et al. 2021) into an encoder's layers; nothing else is trained.

    Each chosen linear layer W x becomes W x + (alpha / rank) B A x, with B at 0, so that an
    untrained adapter changes nothing.

    Args:
        model: is changed
        rank: rows of A
        alpha: of the scale
        dropout: share of x dropped on the way to A
        on: "feed_forward" (Feng and Narayanan 2023, PEFT-SER), "attention" (query and value, as in
            Hu et al.), or "both"

    Raises:
        ValueError: peft is not installed, or the model has no such layers, or does not pass its
            attention through them (WavLM reads their weights alone)
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("ssl_train=lora needs peft; write pip install peft") from error
    if on != FEED_FORWARD and model.config.model_type == "wavlm":
        raise ValueError(
            f"lora_on={on}: WavLM's attention reads the weights of its linear layers and not what "
            "an adapter adds to them; take lora_on=feed_forward"
        )
    names = _targets(model, on)
    if not names:
        raise ValueError(
            f"a {model.config.model_type} has no linear layers that lora_on={on} names; take "
            f"another of feed_forward, attention, both, or ssl_train=all"
        )
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names)
    inject_adapter_in_model(config, model)


def _targets(model: PreTrainedModel, on: str) -> list[str]:
    """The linear layers by name: feed-forward ones go between D and another width."""
    size = int(getattr(model.config, "hidden_size", 0) or model.config.d_model)
    names = []
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear) or not any(p.isdigit() for p in name.split(".")):
            continue
        widths = {layer.in_features, layer.out_features}
        last = name.rsplit(".", 1)[-1].lower()
        is_attention = widths == {size} and _QUERY_OR_VALUE.fullmatch(last) is not None
        is_feed_forward = len(widths) == 2 and size in widths and max(widths) > size
        if (is_feed_forward and on != ATTENTION) or (is_attention and on != FEED_FORWARD):
            names.append(name)
    return names
