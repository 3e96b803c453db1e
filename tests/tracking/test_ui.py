"""MLflow's pages on a home: what is said where they cannot be served."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.tracking.ui import ui


def test_ui_without_a_database_or_a_port_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mlflow\.db"), ui(tmp_path):
        pass
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        probe.listen()
        with pytest.raises(BadInput, match="port="), ui(tmp_path, port=probe.getsockname()[1]):
            pass
