"""Speech encoders of transformers: wav2vec 2.0, HuBERT and WavLM, for rows of different lengths.

A row's states do not depend on what it is padded to. Models whose first convolution is followed by
a group norm over time (`feat_extract_norm: group`: wav2vec2-base, hubert-base) would mix padding
into every state, which is why they are to be run without an attention mask, one row at a time.
Here that norm counts a row's own frames alone, and attention and the positional convolution see
no padding either, so a batch gives what rows one at a time give (to rounding).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TINY = "tiny"
KINDS = ("wav2vec2", "hubert", "wavlm")
MASK = "masked_spec_embed"
"""the state that stands for hidden ones in training; a checkpoint may lack it, and 0 does then"""


class _RowNorm(nn.GroupNorm):
    """A group norm of one channel a group whose statistics are of the first `frames` of a row."""

    frames: Tensor | None = None
    """[n]"""

    def forward(self, input: Tensor) -> Tensor:
        if self.frames is None:
            return super().forward(input)
        x = input.float()
        here = (torch.arange(x.shape[2], device=x.device) < self.frames[:, None])[:, None]
        count = self.frames.to(x.dtype)[:, None, None]
        mean = (x * here).sum(dim=2, keepdim=True) / count
        centred = (x - mean) * here
        variance = centred.square().sum(dim=2, keepdim=True) / count
        scaled = centred * torch.rsqrt(variance + self.eps)
        weight, bias = self.weight.float(), self.bias.float()
        return (scaled * weight[:, None] + bias[:, None]).to(input.dtype)


class SSL(nn.Module):
    """A pre-trained encoder: waves -> its last hidden states.

    Args:
        model: of `load`
        train: "all" of it, the "transformer" without the convolutions that read the wave, "lora",
            adapters that are put in afterwards, or "none"; what is not trained stays in eval mode
        mask_time: share of the states hidden in training (SpecAugment over time, in spans of 10);
            drawn from torch's generator
        checkpointing: recompute activations of the transformer instead of keeping them
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        train: Literal["all", "transformer", "lora", "none"] = "all",
        mask_time: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        # This module masks; transformers would draw from numpy's global generator.
        model.config.mask_time_prob = model.config.mask_feature_prob = 0.0
        self.mask_time, self.mask_span = mask_time, int(model.config.mask_time_length)
        self.kernels = list(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))
        self.norms = _row_norms(model)
        if mask_time > 0 and not hasattr(model, "masked_spec_embed"):
            # A checkpoint without SpecAugment has no state that stands for hidden ones.
            model.masked_spec_embed = nn.Parameter(torch.zeros(model.config.hidden_size))
        self.model = model
        self.trained = train
        self.outputs = int(model.config.hidden_size)
        if train == "none":
            model.requires_grad_(False)
        elif train == "transformer":
            self._front()._freeze_parameters()
        if checkpointing and train != "none":
            checkpoint_activations(model)

    def train(self, mode: bool = True) -> SSL:
        super().train(mode)
        if self.trained in ("none", "lora"):
            self.model.eval()
        elif self.trained == "transformer":
            self._front().eval()
        return self

    def _front(self) -> Any:
        """The convolutions that read the wave."""
        return self.model.feature_extractor

    @property
    def least(self) -> int:
        """Samples that give one state."""
        samples = 1
        for kernel, stride in reversed(self.kernels):
            samples = (samples - 1) * stride + kernel
        return samples

    def frames(self, samples: Tensor) -> Tensor:
        """States [n] of rows of so many samples [n], 1 at least."""
        for kernel, stride in self.kernels:
            samples = (samples - kernel) // stride + 1
        return samples.clamp_min(1)

    def forward(self, wave: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """wave [n, T], samples [n] of each row -> states [n, T', D] and states [n] of each row."""
        outputs, frames = self._run(wave, length, every=False)
        return outputs.last_hidden_state, frames

    def states(self, wave: Tensor, length: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """As `forward`, with the states of every layer: the transformer's input first."""
        outputs, frames = self._run(wave, length, every=True)
        return outputs.hidden_states, frames

    def _run(self, wave: Tensor, length: Tensor, every: bool) -> tuple[Any, Tensor]:
        if wave.shape[1] < self.least:
            wave = nn.functional.pad(wave, (0, self.least - wave.shape[1]))
        at = torch.arange(wave.shape[1], device=wave.device)
        wave = wave * (at < length[:, None])
        length = length.clamp_min(self.least)
        here = at < length[:, None]
        kernel, stride = self.kernels[0]
        for norm in self.norms:
            norm.frames = (length - kernel) // stride + 1
        frames = self.frames(length)
        hidden = None
        if self.training and self.trained != "none" and self.mask_time > 0:
            states = int(self.frames(torch.tensor(wave.shape[1])))
            hidden = self._hidden(frames, states)
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and self.trained != "none"),
            warnings.catch_warnings(),
        ):
            # WavLM hands torch two masks of unlike types, and torch does what is meant.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            outputs = self.model(
                wave,
                attention_mask=here.long(),
                mask_time_indices=hidden,
                output_hidden_states=every,
                return_dict=True,
            )
        return outputs, frames

    def _hidden(self, frames: Tensor, most: int) -> Tensor:
        """[n, most] bool: spans that start so often that about `mask_time` of a row is hidden."""
        # On the CPU, so that a seed hides the same on every device.
        starts = torch.rand(len(frames), most) < self.mask_time / self.mask_span
        window = nn.functional.pad(starts.float()[:, None], (self.mask_span - 1, 0))
        covered = nn.functional.max_pool1d(window, self.mask_span, stride=1)[:, 0] > 0
        return covered.to(frames.device) & (
            torch.arange(most, device=frames.device) < frames[:, None]
        )


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Let a model recompute its activations instead of keeping them."""
    # The old name, before transformers 5.2x, warns where there is the new one.
    old = "gradient_checkpointing_enable"
    enable = getattr(model, "activation_checkpointing_enable", None) or getattr(model, old)
    enable({"use_reentrant": False})


def _row_norms(model: PreTrainedModel) -> list[_RowNorm]:
    """Put `_RowNorm` where the model has a group norm over time, with the same weights."""
    if model.config.feat_extract_norm != "group":
        return []
    front: Any = model.feature_extractor
    layer = front.conv_layers[0]
    norm = layer.layer_norm
    if norm.num_groups != norm.num_channels:
        raise ValueError("a group norm of several channels a group is not supported")
    new = _RowNorm(norm.num_groups, norm.num_channels, eps=norm.eps)
    new.weight, new.bias = norm.weight, norm.bias
    layer.layer_norm = new
    return [new]


def load(
    name: str,
    layerdrop: float = 0.0,
    revision: str = "main",
    kinds: Collection[str] | None = KINDS,
) -> PreTrainedModel:
    """A model by hub name, by local folder, or `tiny`: untrained, small, the same every time.

    Args:
        name: "tiny", a folder with config.json and weights, or a name on the Hugging Face hub
        layerdrop: share of the transformer's layers that a training step leaves out
        revision: of a hub name
        kinds: model types that will do; None: any

    Raises:
        ValueError: it cannot be loaded, is of another kind, or lacks weights
    """
    from trainables.pure_torchaudio import prepare

    prepare()
    import transformers

    if name == TINY:
        config = transformers.Wav2Vec2Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            # One state in 20 ms like the others, by three convolutions instead of seven.
            conv_dim=(16,) * 3,
            conv_kernel=(20, 16, 8),
            conv_stride=(10, 8, 4),
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            layerdrop=layerdrop,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return transformers.Wav2Vec2Model(config)
    source, where = source_of(name, revision)
    with readable(name):
        return _read(name, source, layerdrop, where, kinds)


def wave_norm(name: str, revision: str = "main") -> Literal["given", "piece"]:
    """The level of the wave that a model was trained with, for `waves.condition`.

    A model with a group norm after its first convolution hears every level alike, and takes the
    wave as it is given. One with layer norms needs what the checkpoint's `do_normalize` says.

    Args:
        name: as of `load`
        revision: as of `load`

    Raises:
        ValueError: the configuration of the model, or of its wave, cannot be read
    """
    if name == TINY:
        return "given"
    from trainables.pure_torchaudio import prepare

    prepare()
    import transformers
    from transformers.utils.hub import cached_file

    source, where = source_of(name, revision)
    with readable(name):
        shape = transformers.AutoConfig.from_pretrained(source, **where)
    if getattr(shape, "feat_extract_norm", "group") != "layer":
        return "given"
    try:
        file = cached_file(source, "preprocessor_config.json", **where)
        facts = json.loads(Path(str(file)).read_text(encoding="utf-8"))
        return "piece" if facts.get("do_normalize", True) else "given"
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"preprocessor_config.json of ssl={name} cannot be read "
            f"({str(error).splitlines()[0]}), and it says how the wave is normalised; add it to "
            "the folder, or take wave_norm=piece (mean 0 and deviation 1) or wave_norm=given"
        ) from error


def source_of(name: str, revision: str) -> tuple[str, dict[str, Any]]:
    """What transformers reads a model from, and the revision of a hub name."""
    folder = Path(name).expanduser()
    if name.startswith(("/", ".", "~")) and not (folder / "config.json").is_file():
        raise ValueError(
            f"ssl={name} holds no config.json; name a folder with config.json and weights, or take "
            "ssl=tiny, an untrained model"
        )
    return (str(folder), {}) if folder.is_dir() else (name, {"revision": revision})


@contextmanager
def readable(name: str, file: str = "weights") -> Iterator[None]:
    """What fails while a model's files are read is one sentence (a ValueError)."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"ssl={name} could not be loaded ({str(error).splitlines()[0]}); name a local folder "
            f"with config.json and {file}, or take ssl=tiny, an untrained model"
        ) from error


def _read(
    name: str,
    source: str,
    layerdrop: float,
    where: Mapping[str, Any],
    kinds: Collection[str] | None,
) -> PreTrainedModel:
    """A trained model of `source_of`.

    Raises:
        ValueError: the model is of another kind, or the files lack weights of it, which
            transformers would fill with random numbers
    """
    import transformers

    # What is missing is one message of this module's, not a table on the screen.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shape = transformers.AutoConfig.from_pretrained(source, **where)
    if kinds is not None and shape.model_type not in kinds:
        raise ValueError(
            f"ssl={name} is of the kind {shape.model_type!r}, but must be one of {list(kinds)}"
        )
    shape.layerdrop = layerdrop
    model, report = transformers.AutoModel.from_pretrained(
        source, config=shape, dtype=torch.float32, output_loading_info=True, **where
    )
    lacks = sorted(key for key in report["missing_keys"] if not key.endswith(MASK))
    if lacks:
        raise ValueError(
            f"ssl={name} lacks {len(lacks)} weights of a {type(model).__name__} (the first is "
            f"{lacks[0]}); name a folder or a hub model that holds them all"
        )
    if report["missing_keys"]:
        nn.init.zeros_(model.masked_spec_embed)
    return model


def of_config(config: Mapping[str, Any]) -> PreTrainedModel:
    """A model of the shape that a configuration describes, its weights to be filled in.

    Args:
        config: `model.config.to_dict()` of a model of `load`
    """
    from trainables.pure_torchaudio import prepare

    prepare()
    import transformers

    shape = transformers.AutoConfig.for_model(**config)
    return transformers.AutoModel.from_config(shape, dtype=torch.float32)
