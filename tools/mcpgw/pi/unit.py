"""The systemd unit of the paired gateway."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .. import UserError

UNIT = "mcpgw-pi.service"
FOLDER = Path("/etc/systemd/system")
CONFIG = Path("/etc/mcpgw/mcp-edge.toml")

# State is /var/lib/mcpgw, owned by a user that systemd makes up; serial devices belong to
# `dialout` (Debian) or `uucp` (Arch).
_TEXT = """\
[Unit]
Description=MCP gateway for boards
Documentation=man:systemd.exec(5)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} pi --config {config}
Restart=on-failure
RestartSec=2
# Outcomes that are due are delivered first.
TimeoutStopSec=20
KillSignal=SIGTERM

DynamicUser=yes
User=mcpgw
StateDirectory=mcpgw
StateDirectoryMode=0700
SupplementaryGroups={group}
# Secrets that the configuration names as env:VARIABLE.
EnvironmentFile=-/etc/mcpgw/environment

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
LimitNOFILE=65536
TasksMax=512

[Install]
WantedBy=multi-user.target
"""


def text(config, program=None):
    """The unit (str). config: path of the configuration; program: of mcpgw, None: this one."""
    program = program or _program()
    for what in (str(program), str(config)):
        if any(c in what for c in " %\"'\\\n"):
            raise UserError(f"systemd cannot use the path {what}: move it, it has odd characters")
    return _TEXT.format(program=program, config=config, group=_group())


def install(config, folder=FOLDER):
    """Write the unit and have systemd read it. Returns its path. Raises UserError."""
    if not Path(config).is_file():
        raise UserError(f"there is no {config}; `mcpgw pi init --config {config}` makes it")
    path = Path(folder) / UNIT
    content = text(config)
    try:
        path.write_text(content)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror}; try it with sudo") from e
    systemctl = shutil.which("systemctl")
    if systemctl is not None and Path("/run/systemd/system").is_dir():
        done = subprocess.run([systemctl, "daemon-reload"], capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"systemctl daemon-reload: {done.stderr.strip()}")
    return path


def _program():
    """Path of the command `mcpgw` that runs now."""
    beside = Path(sys.executable).with_name("mcpgw")
    found = beside if beside.exists() else shutil.which("mcpgw")
    if found is None:
        raise UserError("the command mcpgw is not on the PATH")
    return os.path.abspath(found)


def _group():
    if sys.platform == "win32":
        return "dialout"
    import grp

    for name in ("dialout", "uucp"):
        try:
            return grp.getgrnam(name).gr_name
        except KeyError:
            continue
    return "dialout"
