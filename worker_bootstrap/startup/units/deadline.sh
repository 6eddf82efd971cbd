# First of all: a machine that @NOT-YET@ within @SECONDS@ s powers off, whatever fails below.
cat > /etc/systemd/system/remora-deadline.service <<'END-OF-FILE'
[Unit]
Description=Remora: powers off a machine that @NOT-YET@ in time
ConditionPathExists=!@DONE@
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart=-/bin/sh -c 'echo "This machine @NOT-YET@ within @SECONDS@ s and powers off. $(cat /run/remora-start.why)"'
ExecStart=/usr/bin/systemctl poweroff
StandardOutput=journal+console
StandardError=journal+console
END-OF-FILE
cat > /etc/systemd/system/remora-deadline.timer <<'END-OF-FILE'
[Unit]
Description=Remora: how long this machine may take

[Timer]
OnActiveSec=@SECONDS@
AccuracySec=1

[Install]
WantedBy=timers.target
END-OF-FILE
systemctl daemon-reload
systemctl enable --quiet --now remora-deadline.timer
