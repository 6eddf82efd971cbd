#!/bin/sh
# Remora, installation @INSTALLATION@: this machine becomes @WHAT@. No secret stands here.
set -eu
umask 077
@DEADLINE@
mkdir -p /opt/remora-start
cd /opt/remora-start
cat > settings.json <<'END-OF-FILE'
@SETTINGS@
END-OF-FILE
mkdir -p worker_bootstrap/protocol worker_bootstrap/startup/boot
: > worker_bootstrap/__init__.py
: > worker_bootstrap/startup/__init__.py
@SOURCES@
cat > __main__.py <<'END-OF-FILE'
from worker_bootstrap.startup.boot.@KIND@ import main

main()
END-OF-FILE
cat > /etc/systemd/system/remora-start.service <<'END-OF-FILE'
[Unit]
Description=Remora: makes this machine @WHAT@
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart=/usr/bin/python3 /opt/remora-start
Restart=on-failure
RestartSec=10
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
END-OF-FILE
systemctl daemon-reload
systemctl enable --quiet remora-start.service
systemctl start --no-block remora-start.service
