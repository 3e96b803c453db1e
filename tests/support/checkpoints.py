"""Small encoders of each kind with random, UNTRAINED weights, as folders on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CONVOLUTIONS = {
    "conv_dim": (16,) * 3,
    "conv_kernel": (20, 16, 8),
    "conv_stride": (10, 8, 4),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
WAVES = ("wav2vec2", "hubert", "wavlm", "data2vec")
KINDS = (*WAVES, "whisper", "wav2vec2_bert")
"""the last one stands for any other model: it reads filter banks, and convolves over them"""


def checkpoint(kind: str, folder: Path, seed: int = 0, normalise: bool = True) -> Path:
    """A folder with config.json, weights and preprocessor_config.json."""
    import torch

    from trainables.pure_torchaudio import prepare

    prepare()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, front = _made(kind, normalise)
    place = folder / kind
    model.save_pretrained(place)
    front.save_pretrained(place)
    return place


def _made(kind: str, normalise: bool) -> tuple[Any, Any]:
    import transformers as tf

    if kind == "whisper":
        config = tf.WhisperConfig(
            d_model=32,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_source_positions=100,
            vocab_size=100,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        return tf.WhisperModel(config), tf.WhisperFeatureExtractor(80, chunk_length=2)
    if kind == "wav2vec2_bert":
        config = tf.Wav2Vec2BertConfig(**SMALL, feature_projection_input_dim=160)
        return tf.Wav2Vec2BertModel(config), tf.SeamlessM4TFeatureExtractor()
    names = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
    name = names.get(kind, "Data2VecAudio")
    config = getattr(tf, f"{name}Config")(**SMALL, **CONVOLUTIONS)
    return getattr(tf, f"{name}Model")(config), tf.Wav2Vec2FeatureExtractor(do_normalize=normalise)
