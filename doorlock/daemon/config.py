"""Settings, read once: TOML file < environment (`DOORLOCK_SECTION__KEY`) < flags.

An unknown key in any of them is refused, with the nearest known name.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from doorlock import paths
from doorlock.errors import BadConfig
from doorlock.times import parse_span

ENV_PREFIX = "DOORLOCK_"
_CLIENT_VARIABLES = frozenset({"DOORLOCK_SOCKET"})  # the command line's own, not a setting


def _span(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write a span such as 30s")
    try:
        if isinstance(value, str):
            return parse_span(value)
        return timedelta(seconds=value) if isinstance(value, int | float) else value
    except OverflowError as error:
        raise ValueError("that span is too long") from error


def _listed(value: object) -> object:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


LONGEST_SPAN = timedelta(days=36_500)  # so that the clock can always be moved by one
PositiveSpan = Annotated[timedelta, BeforeValidator(_span), Field(gt=timedelta(0), le=LONGEST_SPAN)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DaemonSection(Section):
    """Paths of the daemon; None means the default for whoever runs it (see `doorlock.paths`).
    `socket_group` is the Unix group whose members may reach the socket."""

    socket: Path | None = None
    socket_group: str | None = None
    state_dir: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"


UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


class ListenSection(Section):
    """TCP, for devices and web clients; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 3000
    cors_origins: Annotated[list[str], BeforeValidator(_listed)] = []
    tls_cert: UserPath | None = None
    tls_key: UserPath | None = None
    public_url: str | None = None


class StoreSection(Section):
    """Where everything durable lives; None is a file in the state directory."""

    url: str | None = None


class MqttSection(Section):
    """A broker of one's own at `url` (mqtt:// or mqtts://), or the embedded Mosquitto."""

    url: str | None = None
    embedded: Literal["auto", "on", "off"] = "auto"
    host: str | None = None
    port: Port = 1883
    username: str | None = None
    password_file: UserPath | None = None
    client_id: str | None = None
    provision: Literal["auto", "on", "off"] = "auto"
    legacy_topics: bool = False
    tls_ca: UserPath | None = None
    tls_cert: UserPath | None = None
    tls_key: UserPath | None = None
    tls_insecure: bool = False


class AuthSection(Section):
    jwt_secret_file: UserPath | None = None
    jwt_expiration: PositiveSpan = timedelta(days=7)
    signup: bool = True


class CommandsSection(Section):
    """`queue_for` is how long settings and firmware wait for a device that is offline."""

    timeout: PositiveSpan = timedelta(seconds=30)
    failover_after: PositiveSpan = timedelta(seconds=2)
    queue_for: PositiveSpan = timedelta(days=1)


class PresenceSection(Section):
    heartbeat: PositiveSpan = timedelta(seconds=30)
    missed: Annotated[int, Field(ge=1)] = 3


class EventsSection(Section):
    retention: PositiveSpan = timedelta(days=90)


class VisitorsSection(Section):
    """`expire_after` is how long a visitor waits for somebody to decide."""

    expire_after: PositiveSpan = timedelta(minutes=10)


class SnapshotsSection(Section):
    """Where pictures are kept; None is a folder in the state directory."""

    url: str | None = None


class Config(Section):
    """Everything that can be set; each field is a section of the file."""

    daemon: DaemonSection = DaemonSection()
    listen: ListenSection = ListenSection()
    store: StoreSection = StoreSection()
    mqtt: MqttSection = MqttSection()
    auth: AuthSection = AuthSection()
    commands: CommandsSection = CommandsSection()
    presence: PresenceSection = PresenceSection()
    events: EventsSection = EventsSection()
    visitors: VisitorsSection = VisitorsSection()
    snapshots: SnapshotsSection = SnapshotsSection()


Layer = dict[str, dict[str, Any]]


def load(
    file: Path | None,
    env: Mapping[str, str],
    flags: Mapping[str, Mapping[str, Any]],
    uid: int,
) -> Config:
    """The settings in force, every path filled in. Raises BadConfig, naming what to mend.

    `file` must exist when given; None takes the default file if there is one.
    """
    default = paths.config_path(env, uid)
    chosen = file or (default if default.is_file() else None)
    layers = [_checked(_from_file(chosen), str(chosen))] if chosen else []
    layers.append(_checked(_from_environment(env), "the environment"))
    layers.append(_checked({name: dict(keys) for name, keys in flags.items()}, "the flags"))
    return _filled(_validated(_merged(layers)), env, uid)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise BadConfig(
            f"cannot read {file}: {error.strerror}", hint="Check the path given with --config."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file} is not valid TOML: {error}", hint="Mend that line.") from error


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    layer: Layer = {}
    for variable, value in env.items():
        if not variable.startswith(ENV_PREFIX) or variable in _CLIENT_VARIABLES:
            continue
        section, separator, key = variable[len(ENV_PREFIX) :].lower().partition("__")
        if not separator:
            if section.startswith("test_"):
                continue
            raise BadConfig(
                f"the environment variable {variable} is not a setting",
                hint=f"Settings are {ENV_PREFIX}SECTION__KEY, such as DOORLOCK_LISTEN__PORT.",
            )
        layer.setdefault(section, {})[key] = value
    return layer


def _checked(layer: Mapping[str, Any], where: str) -> Layer:
    sections = Config.model_fields
    for name, keys in layer.items():
        if name not in sections:
            raise _unknown(f"section [{name}]", name, list(sections), where)
        if not isinstance(keys, dict):
            raise BadConfig(f"{name} in {where} is not a section", hint=f"Write [{name}].")
        kind = sections[name].annotation
        assert isinstance(kind, type) and issubclass(kind, Section)
        for key in keys:
            if key not in kind.model_fields:
                raise _unknown(f"{name}.{key}", key, list(kind.model_fields), where)
    return dict(layer)


def _unknown(what: str, name: str, known: list[str], where: str) -> BadConfig:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(known)}."
    return BadConfig(f"unknown setting {what} in {where}", hint=hint)


def _merged(layers: list[Layer]) -> Layer:
    merged: Layer = {}
    for layer in layers:
        for name, keys in layer.items():
            merged.setdefault(name, {}).update(keys)
    return merged


def _validated(merged: Layer) -> Config:
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadConfig(
            f"the setting {name} cannot be used: {first['msg']}",
            hint="See doorlock.toml(5) for what it takes.",
        ) from error


def _filled(config: Config, env: Mapping[str, str], uid: int) -> Config:
    state = (config.daemon.state_dir or paths.state_dir(env, uid)).expanduser().absolute()
    socket = (config.daemon.socket or paths.socket_path(env, uid)).expanduser().absolute()
    url = config.store.url or f"sqlite:///{state / 'doorlock.db'}"
    pictures = config.snapshots.url or (state / "snapshots").as_uri()
    _check_pair(config.listen.tls_cert, config.listen.tls_key, "listen")
    _check_pair(config.mqtt.tls_cert, config.mqtt.tls_key, "mqtt")
    _check_urls(url, config.mqtt.url)
    _check_snapshots(pictures)
    return config.model_copy(
        update={
            "daemon": config.daemon.model_copy(update={"state_dir": state, "socket": socket}),
            "store": config.store.model_copy(update={"url": url}),
            "snapshots": config.snapshots.model_copy(update={"url": pictures}),
            "auth": config.auth.model_copy(
                update={"jwt_secret_file": config.auth.jwt_secret_file or state / "jwt.key"}
            ),
        }
    )


def _check_pair(cert: Path | None, key: Path | None, section: str) -> None:
    if (cert is None) != (key is None):
        raise BadConfig(
            f"{section}.tls_cert and {section}.tls_key go together",
            hint="Set both, or neither.",
        )


def _check_urls(store: str, mqtt: str | None) -> None:
    if not store.startswith("sqlite:///"):
        raise BadConfig(
            f"the store {_scheme(store) or 'of that url'} is not known",
            hint="Use sqlite:///path/to/doorlock.db.",
        )
    if mqtt is not None and _scheme(mqtt) not in ("mqtt", "mqtts"):
        raise BadConfig(
            "mqtt.url must begin with mqtt:// or mqtts://", hint="For example mqtt://broker:1883."
        )


def _check_snapshots(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc or len(parts.path) < 2:
        raise BadConfig(
            f"the snapshot store {parts.scheme or url!r} is not known",
            hint="Use file:///path/to/folder.",
        )


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts.scheme if parts.hostname and parts.port != 0 else ""
    except ValueError:
        return ""


def shown(config: Config) -> dict[str, Any]:
    """The settings as plain JSON, without any secret: passwords stand in files, and one inside a
    URL is blanked."""
    plain: dict[str, Any] = json.loads(config.model_dump_json())
    for section in ("mqtt", "store", "snapshots"):
        plain[section]["url"] = _without_password(plain[section]["url"])
    return plain


def _without_password(url: str | None) -> str | None:
    if url is None or (parts := urlsplit(url)).password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)
