"""A Trainable for Tune whose actors need time to start, some of them more than others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune


class SlowStart(tune.Trainable):
    """Trials of two steps that take no time. A start adds a line to the file `log`."""

    def setup(self, config: dict[str, Any]) -> None:
        log = Path(config["log"])
        with log.open("a") as file:
            file.write("started\n")
        time.sleep(1.5 * len(log.read_text().splitlines()) % 4)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return {"done": self.iteration >= 1}
