"""The files of `mlflow/`: compose, units, proxies, installation. No container is started."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import postgres, postgres_missing

FILES = Path(__file__).resolve().parents[2] / "mlflow"
UNITS = sorted((FILES / "systemd").glob("*.service")) + sorted((FILES / "systemd").glob("*.timer"))

SERVICE_FIELDS = {
    *("build", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image"),
    *("ports", "profiles", "restart", "volumes"),
}
"""those of the Compose specification that these files use"""


def compose(*names: str) -> dict[str, Any]:
    """Compose files, later ones over earlier ones, as `docker compose -f` merges mappings."""
    whole: dict[str, Any] = {"services": {}, "volumes": {}}
    for name in names:
        one = yaml.safe_load((FILES / name).read_text())
        assert set(one) <= {"name", "services", "volumes"}
        whole["volumes"] |= one["volumes"]
        for service, facts in one["services"].items():
            have = whole["services"].setdefault(service, {})
            for key, value in facts.items():
                both = isinstance(value, dict) and isinstance(have.get(key), dict)
                have[key] = {**have[key], **value} if both else value
    return whole


@pytest.mark.parametrize("names", [("compose.yaml",), ("compose.yaml", "compose.s3.yaml")])
def test_compose_files_hold_together(names: tuple[str, ...]) -> None:
    whole = compose(*names)
    services = whole["services"]
    for name, facts in services.items():
        assert set(facts) <= SERVICE_FIELDS, name
        assert ("image" in facts) != ("build" in facts), name
        if "image" in facts:
            assert re.search(r":[\w.-]+$", facts["image"]), f"{name}: a version must be named"
            assert not facts["image"].endswith(":latest")
        needs = facts.get("depends_on", [])
        for other in needs:
            assert other in services, f"{name} waits for {other}"
            condition = needs[other]["condition"] if isinstance(needs, dict) else ""
            if condition == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other} to be healthy"
        for volume in facts.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (FILES / source).is_file(), volume
            else:
                assert source in whole["volumes"], volume
        for port in facts.get("ports", ()):
            assert name == "proxy" or str(port).startswith("127.0.0.1:"), "only the proxy is public"
    assert (FILES / services["mlflow"]["build"]["dockerfile"]).is_file()


def test_no_secret_is_committed_and_every_setting_is_in_the_example() -> None:
    text = "".join((FILES / name).read_text() for name in ("compose.yaml", "compose.s3.yaml"))
    used = dict(re.findall(r"\$\{(\w+)(:[?-])", text))
    example = (FILES / ".env.example").read_text()
    lines = dict(
        line.lstrip("#").split("=", 1) for line in example.splitlines() if re.match(r"#?\w+=", line)
    )
    assert set(used) == set(lines)
    for name, kind in used.items():
        if kind == ":?":
            assert lines[name] == "", f"{name} is to be filled in"
    secret = re.compile(r"(?i)^\s*\w*(?:password|secret|_key)\w*\s*[:=](.*)$", re.M)
    for path in FILES.rglob("*"):
        if path.is_file() and path.suffix not in (".md", ".sh", ".conf"):
            values = [value.strip() for value in secret.findall(path.read_text())]
            assert all(not v or v.startswith("${") for v in values), path
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", str(FILES / ".env")], cwd=FILES, check=False
    )
    assert ignored.returncode in (0, 128), "mlflow/.env must be ignored by git"


def test_both_ways_run_the_same_server_with_logins() -> None:
    made = [
        compose("compose.yaml")["services"]["mlflow"]["command"],
        compose("compose.yaml", "compose.s3.yaml")["services"]["mlflow"]["command"],
        unit_command(FILES / "systemd" / "mlflow.service"),
    ]
    for command in made:
        assert "--app-name=basic-auth" in command
        assert "--serve-artifacts" in command
        assert "--backend-store-uri=postgresql+psycopg:///mlflow" in command
    logins = configparser.ConfigParser()
    logins.read(FILES / "basic_auth.ini")
    assert logins["mlflow"]["database_uri"] == "postgresql+psycopg:///mlflow_auth"
    assert logins["mlflow"]["default_permission"] == "READ"
    assert "admin_password" not in logins["mlflow"]
    assert "mlflow_auth" in (FILES / "databases.sql").read_text()


def unit_command(path: Path) -> list[str]:
    text = path.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    return shlex.split(line)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_are_ones(tmp_path: Path) -> None:
    for unit in UNITS:
        # the programs are not here
        text = re.sub(r"/opt/mlflow/bin/\S+|/opt/mlflow-backup.sh", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    (tmp_path / "postgresql.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    ours = [line for line in done.stderr.splitlines() if any(u.name in line for u in UNITS)]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    pair = [tmp_path / "fullchain.pem", tmp_path / "privkey.pem"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"),
            *("-days", "1", "-out", str(pair[0]), "-keyout", str(pair[1])),
        ],
        check=True,
        capture_output=True,
    )
    text = (FILES / "nginx.conf").read_text()
    site = text.replace("/etc/letsencrypt/live/mlflow.example.org", str(tmp_path))
    (tmp_path / "site").write_text(site)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/a; proxy_temp_path {tmp_path}/b;"
        f" fastcgi_temp_path {tmp_path}/c; uwsgi_temp_path {tmp_path}/d;"
        f" scgi_temp_path {tmp_path}/e; include {tmp_path}/site; }}\n"
    )
    done = subprocess.run(
        ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy")
def test_caddy_takes_its_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("caddy", "adapt", "--adapter", "caddyfile", "--validate"),
            *("--config", str(FILES / "Caddyfile")),
        ],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "MLFLOW_HOST": "mlflow.example.org",
            "MLFLOW_UPSTREAM": "mlflow:5000",
        },
    )
    assert done.returncode == 0, done.stderr
    assert "mlflow.example.org" in done.stdout
    assert "mlflow:5000" in done.stdout


FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >>"$LOG"
case "$(basename "$0") $*" in
"id mlflow") exit 1 ;;
"runuser "*"psql "*to_regclass*) [ -n "$MADE" ] && echo alembic_version ;;
"python3 -m venv "*) mkdir -p "$3/bin"
    for name in pip python mlflow; do ln -sf "$FAKES/id" "$3/bin/$name"; done ;;
esac
exit 0
"""


def test_install_sh_puts_everything_in_its_place_and_keeps_secrets(tmp_path: Path) -> None:
    """With stand-ins for what would change this machine; twice, as for an upgrade."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    for name in (
        *("apt-get", "id", "useradd", "systemctl", "runuser", "python3", "chgrp"),
        *("pip",),
    ):
        (fakes / name).write_text(FAKE)
        (fakes / name).chmod(0o755)
    # the real one, without the owner that this machine does not have
    (fakes / "install").write_text(
        '#!/bin/sh\nset -- $(echo "$*" | sed "s/-o mlflow -g mlflow//")\n'
        f'exec {shutil.which("install")} "$@"\n'
    )
    (fakes / "install").chmod(0o755)
    root, log = tmp_path / "root", tmp_path / "log"

    def install(made: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(FILES / "systemd" / "install.sh"), "mlflow.example.org"],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PATH": f"{fakes}:{os.environ['PATH']}",
                "DESTDIR": str(root),
                "LOG": str(log),
                "FAKES": str(fakes),
                "MADE": made,
            },
        )

    first = install("")
    assert first.returncode == 0, first.stderr
    settings = root / "etc/mlflow/server.env"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640
    values = dict(line.split("=", 1) for line in settings.read_text().splitlines())
    assert len(values["MLFLOW_AUTH_ADMIN_PASSWORD"]) == 48
    assert values["MLFLOW_AUTH_ADMIN_PASSWORD"] != values["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    assert values["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith("mlflow.example.org,")
    assert values["MLFLOW_AUTH_ADMIN_PASSWORD"] not in first.stdout
    for unit in UNITS:
        assert (root / "etc/systemd/system" / unit.name).read_text() == unit.read_text()
    drop_in = (root / "etc/systemd/system/caddy.service.d/mlflow.conf").read_text()
    assert "MLFLOW_HOST=mlflow.example.org" in drop_in
    said = log.read_text()
    assert "db upgrade" not in said, "a new database is made whole by the server"
    assert "systemctl enable --now mlflow.service" in said

    before = settings.read_text()
    log.unlink()
    second = install("yes")
    assert second.returncode == 0, second.stderr
    assert settings.read_text() == before, "an upgrade keeps the passwords"
    steps = [
        "systemctl start mlflow-backup.service",
        "systemctl stop mlflow.service",
        "pip install",
        "mlflow db upgrade postgresql+psycopg:///mlflow",
        "mlflow.server.auth db upgrade --url postgresql+psycopg:///mlflow_auth",
        "systemctl enable --now mlflow.service",
    ]
    places = [log.read_text().index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.slow
def test_a_backup_is_restored_although_a_file_grew_and_seven_are_kept(tmp_path: Path) -> None:
    if postgres_missing():
        pytest.skip(postgres_missing())
    artifacts, place = tmp_path / "data" / "artifacts", tmp_path / "backup"
    artifacts.mkdir(parents=True)
    place.mkdir()
    for day in range(1, 10):
        (place / f"2026-01-{day:02d}").mkdir()
    (artifacts / "report.html").write_text("whole")
    with postgres(("mlflow_auth", "optuna")) as folder:
        environment = {**os.environ, "PGHOST": str(folder), "PGUSER": "mlflow"}

        def run(*words: str) -> str:
            done = subprocess.run(words, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        run("psql", "-qc", "create table runs as select 7 as ua", "mlflow")
        grow = 'while :; do head -c 100000 /dev/zero >> "$1"; done'
        writer = subprocess.Popen(["sh", "-c", grow, "sh", str(artifacts / "grows.bin")])
        try:
            for _ in range(2):  # the day's second replaces its first
                run("sh", str(FILES / "systemd" / "backup.sh"), str(place), str(tmp_path / "data"))
        finally:
            writer.kill()
            writer.wait()
        days = sorted(path.name for path in place.iterdir())
        assert len(days) == 7
        assert days[:6] == [f"2026-01-{day:02d}" for day in range(4, 10)]
        today = place / days[-1]
        run("psql", "-qc", "drop table runs", "mlflow")
        restore = ("pg_restore", "--clean", "--if-exists", "--dbname=mlflow")
        run(*restore, str(today / "mlflow.dump"))
        assert run("psql", "-qtAc", "select ua from runs", "mlflow").strip() == "7"
    (artifacts / "report.html").unlink()
    unpack = ["tar", "-xzf", str(today / "artifacts.tar.gz"), "-C", str(tmp_path / "data")]
    subprocess.run(unpack, check=True)
    assert (artifacts / "report.html").read_text() == "whole"


def test_every_unit_that_is_installed_is_there_and_the_other_way_round() -> None:
    text = (FILES / "systemd" / "install.sh").read_text()
    (listed,) = re.findall(r"^for unit in (.*); do$", text, re.M)
    assert set(listed.split()) == {unit.name for unit in UNITS}
    readme = (FILES / "README.md").read_text()
    for path in FILES.iterdir():
        if path.name not in ("README.md", ".gitignore", ".env"):
            assert path.name in readme, f"the README says nothing of {path.name}"
