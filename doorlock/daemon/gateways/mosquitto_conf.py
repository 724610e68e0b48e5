"""Mosquitto's configuration as text: for the embedded broker, and for a broker of one's own."""

from __future__ import annotations

from pathlib import Path

from doorlock.daemon.gateways.codec import MAX_MESSAGE_BYTES
from doorlock.daemon.gateways.dynsec_file import DAEMON_NAME, daemon_acls

_PLUGIN = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")

# use_username_as_clientid: a device can neither end nor take over another's session by its client
# id. persistence false: what was on its way is gone with the broker, so it can never arrive late.
_COMMON = f"""\
per_listener_settings false
allow_anonymous false
use_username_as_clientid true
set_tcp_nodelay true
persistence false
max_packet_size {MAX_MESSAGE_BYTES + 64 * 1024}
max_inflight_messages 1000
max_queued_messages 100000
"""


def embedded_conf(host: str, port: int, plugin: Path, users: Path, *, as_root: bool) -> str:
    """What the daemon's own child reads."""
    lines = [
        f"listener {port} {host}".rstrip(),
        _COMMON.rstrip(),
        f"plugin {plugin}",
        f"plugin_opt_config_file {users}",
        "log_dest stderr",
        "log_timestamp false",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
    ]
    if as_root:
        # It would become the user `mosquitto`, who cannot enter a state directory of root's, and
        # the kernel would forget to end it with the daemon.
        lines.insert(0, "user root")
    return "\n".join([*lines, ""])


def mosquitto_conf(plugin: Path = _PLUGIN, folder: Path = Path("/etc/mosquitto")) -> str:
    """What `doorlock broker mosquitto-conf` prints: a broker of one's own, with TLS, whose users
    the daemon manages."""
    users = folder / "dynamic-security.json"
    return f"""\
# A Mosquitto 2.0 broker for doorlock. Put this into {folder}/conf.d/doorlock.conf.
#
# 1. Make the file of users, with a first administrator:
#      mosquitto_ctrl dynsec init {users} admin
#      chown mosquitto: {users}
# 2. Start Mosquitto, then make the daemon's own user (each line asks for the admin's password):
{_commands()}
# 3. Tell the daemon, in doorlock.toml:
#      [mqtt]
#      url = "mqtts://BROKER:8883"
#      username = "{DAEMON_NAME}"
#      password_file = "/etc/doorlock/mqtt.password"
#      tls_ca = "{folder}/certs/ca.crt"
#      provision = "on"
# From then on it makes and removes the users of the devices by itself.

listener 8883
cafile {folder}/certs/ca.crt
certfile {folder}/certs/server.crt
keyfile {folder}/certs/server.key

{_COMMON}
plugin {plugin}
plugin_opt_config_file {users}
"""


def _commands() -> str:
    """The daemon's user, in the words of mosquitto_ctrl."""
    ctrl = "#      mosquitto_ctrl -u admin -h BROKER -p 8883 --cafile CA dynsec"
    rules = [
        f"{ctrl} addRoleACL {DAEMON_NAME} {rule['acltype']} '{rule['topic']}' allow 0"
        for rule in daemon_acls()
    ]
    return "\n".join(
        [
            f"{ctrl} createRole {DAEMON_NAME}",
            *rules,
            f"{ctrl} createClient {DAEMON_NAME}",
            f"{ctrl} addClientRole {DAEMON_NAME} {DAEMON_NAME} 0",
        ]
    )
