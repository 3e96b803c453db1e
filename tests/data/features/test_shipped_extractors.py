"""Every extractor that raysearch ships; those of models with their untrained stand-ins."""

from __future__ import annotations

import pytest

from raysearch.data.features import ExtractorInfo, known
from tests.contracts.extractors import ExtractorContract

pytestmark = pytest.mark.filterwarnings("default")  # torch's and transformers' own

NAMES = [
    f"{name}:tiny" if info.configure and name != "wave" else name
    for name, info in known().items()
    if info.values is None  # such hear no clip
] + ["wave@level=recorded", "layers:tiny@layers=1-2"]


class TestShippedExtractors(ExtractorContract):
    @pytest.fixture(params=NAMES)
    def extractor(self, request: pytest.FixtureRequest) -> ExtractorInfo:
        return known()[request.param]


def test_there_are_extractors_of_both_kinds() -> None:
    assert {known()[name].kind for name in NAMES} == {"vector", "frames"}
