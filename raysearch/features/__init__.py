"""Features: what an extractor makes of each utterance, stored once and mapped into memory.

A third party's extractor is an `ExtractorInfo` in the entry-point group `raysearch.features`.
"""

from raysearch.features.base import Chunk, ExtractorInfo, FeatureSet, Result, RunChunks
from raysearch.features.extract import extract, extract_chunk, known, local_chunks, stored
from raysearch.features.on_ray import ray_chunks

__all__ = [
    "Chunk",
    "ExtractorInfo",
    "FeatureSet",
    "Result",
    "RunChunks",
    "extract",
    "extract_chunk",
    "known",
    "local_chunks",
    "ray_chunks",
    "stored",
]
