"""Features: what an extractor makes of each utterance, stored once and mapped into memory.

Either one vector an utterance, or frames.

A third party's extractor is an `ExtractorInfo` in the entry-point group `raysearch.features`.
"""

from raysearch.data.features.extract import (
    check,
    extract,
    extract_chunk,
    fingerprint,
    known,
    local_chunks,
    row_digests,
    sizes,
    stored,
)
from raysearch.data.features.extractor import (
    Chunk,
    ChunkResult,
    ExtractorInfo,
    FeatureSet,
    RunChunks,
    Unusable,
)
from raysearch.data.features.on_ray import ray_chunks

__all__ = [
    "Chunk",
    "ChunkResult",
    "ExtractorInfo",
    "FeatureSet",
    "RunChunks",
    "Unusable",
    "check",
    "extract",
    "extract_chunk",
    "fingerprint",
    "known",
    "local_chunks",
    "ray_chunks",
    "row_digests",
    "sizes",
    "stored",
]
