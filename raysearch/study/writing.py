"""A study as the file that makes it again."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import OmegaConf

from raysearch.study.frozen import thaw
from raysearch.study.schema import Study, one_or_list


def dump(study: Study) -> str:
    """YAML from which `load_study(["space=FILE.yaml"])` reads an equal study."""
    plain = thaw(study.model_dump())
    plain["home"] = str(plain["home"])
    plain["objective"] = one_or_list(study.objective)
    text = OmegaConf.to_yaml(OmegaConf.create(_escaped(plain)))
    return f"# python -m raysearch tune space=FILE   (this file; study {study.id})\n{text}"


def _escaped(value: Any) -> Any:
    """`value` with every literal `${` written so that reading does not resolve it."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    return value
