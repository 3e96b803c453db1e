#!/bin/sh
# MLflow with logins on PostgreSQL, behind Caddy, as systemd services of a Debian or Ubuntu machine:
#
#   sudo sh mlflow/systemd/install.sh mlflow.example.org
#
# The same command again upgrades: it backs up, installs MLFLOW_VERSION and brings the databases up
# to it. DESTDIR puts the files elsewhere, for a look at them.
set -eu

host=${1:?"usage: install.sh NAME-OF-THE-SERVER"}
version=${MLFLOW_VERSION:-3.17.2}
root=${DESTDIR:-}
here=$(cd "$(dirname "$0")/.." && pwd)

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
as_postgres() { runuser -u postgres -- "$@"; }

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql caddy python3-venv

id mlflow >/dev/null 2>&1 ||
    useradd --system --home-dir /var/lib/mlflow --shell /usr/sbin/nologin mlflow
systemctl start postgresql
as_postgres psql -qtAc "select 1 from pg_roles where rolname = 'mlflow'" | grep -q 1 ||
    as_postgres createuser mlflow
for name in mlflow mlflow_auth optuna; do
    as_postgres psql -qtAc "select 1 from pg_database where datname = '$name'" | grep -q 1 ||
        as_postgres createdb --owner=mlflow "$name"
done

install -d "$root/etc/mlflow" "$root/etc/systemd/system" "$root/etc/caddy"
install -d -o mlflow -g mlflow -m 0750 "$root/var/lib/mlflow" "$root/var/lib/mlflow/artifacts"
install -m 0644 "$here/basic_auth.ini" "$root/etc/mlflow/basic_auth.ini"
install -m 0644 "$here/Caddyfile" "$root/etc/caddy/Caddyfile"
for unit in mlflow.service optuna-dashboard.service mlflow-backup.service mlflow-backup.timer; do
    install -m 0644 "$here/systemd/$unit" "$root/etc/systemd/system/$unit"
done
install -d "$root/opt"
install -m 0755 "$here/systemd/backup.sh" "$root/opt/mlflow-backup.sh"
install -d "$root/etc/systemd/system/caddy.service.d"
printf '[Service]\nEnvironment=MLFLOW_HOST=%s MLFLOW_UPSTREAM=127.0.0.1:5000\n' "$host" \
    >"$root/etc/systemd/system/caddy.service.d/mlflow.conf"

settings="$root/etc/mlflow/server.env"
if [ ! -e "$settings" ]; then
    (umask 077 && cat >"$settings.new" <<EOF
MLFLOW_AUTH_ADMIN_PASSWORD=$(secret)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret)
MLFLOW_SERVER_ALLOWED_HOSTS=$host,localhost:*,127.0.0.1:*
MLFLOW_SERVER_CORS_ALLOWED_ORIGINS=https://$host
EOF
    )
    chgrp mlflow "$settings.new"
    chmod 0640 "$settings.new"
    mv "$settings.new" "$settings"
fi

systemctl daemon-reload
if [ -x "$root/opt/mlflow/bin/mlflow" ]; then
    systemctl start mlflow-backup.service
    systemctl stop mlflow.service optuna-dashboard.service
else
    python3 -m venv "$root/opt/mlflow"
fi
"$root/opt/mlflow/bin/pip" install -q "mlflow[auth]==$version" "psycopg[binary]>=3.2" boto3 \
    "optuna>=5.0" "optuna-dashboard>=0.20"
as_mlflow() { runuser -u mlflow -- env PGHOST=/run/postgresql "$@"; }
if as_mlflow psql -qtAc "select to_regclass('alembic_version')" mlflow | grep -q alembic; then
    as_mlflow "$root/opt/mlflow/bin/mlflow" db upgrade postgresql+psycopg:///mlflow
    as_mlflow "$root/opt/mlflow/bin/python" -m mlflow.server.auth db upgrade \
        --url postgresql+psycopg:///mlflow_auth
fi
systemctl enable --now mlflow.service mlflow-backup.timer
systemctl enable caddy.service
systemctl restart caddy.service

echo "MLflow: https://$host, user admin, password in $settings"
echo "optuna-dashboard, where wanted: systemctl enable --now optuna-dashboard.service"
