# First of all: a machine that has not joined within @SECONDS@ s powers off, whatever fails below.
cat > /etc/systemd/system/remora-deadline.service <<'END-OF-FILE'
[Unit]
Description=Remora: powers off a machine that never joined
ConditionPathExists=!/var/lib/remora-agent/identity/worker.json
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart=-/bin/sh -c 'echo "This machine has not joined within @SECONDS@ s and powers off. $(cat /run/remora-start.why)"'
ExecStart=/usr/bin/systemctl poweroff
StandardOutput=journal+console
StandardError=journal+console
END-OF-FILE
cat > /etc/systemd/system/remora-deadline.timer <<'END-OF-FILE'
[Unit]
Description=Remora: how long this machine may take to join

[Timer]
OnActiveSec=@SECONDS@
AccuracySec=1

[Install]
WantedBy=timers.target
END-OF-FILE
systemctl daemon-reload
systemctl enable --quiet --now remora-deadline.timer
