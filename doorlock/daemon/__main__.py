"""`doorlockd`: parse the flags, run the daemon."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doorlock import __version__, paths
from doorlock.errors import BadConfig, DoorlockError

_EXIT_BAD_CONFIG = 78  # sysexits.h EX_CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 stopped as asked, 78 bad configuration, 1 anything else."""
    options = _parser().parse_args(argv)
    try:
        return _run(options)
    except BadConfig as error:
        _complain(error)
        return _EXIT_BAD_CONFIG
    except DoorlockError as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    from doorlock.daemon import config as settings

    uid = os.geteuid()
    if options.print_config_path:
        print(options.config or paths.config_path(os.environ, uid))  # noqa: T201
        return 0
    config = settings.load(options.config, os.environ, _flags(options), uid)
    if options.check_config:
        print("the configuration is good")  # noqa: T201
        return 0
    if options.print_mosquitto_conf:
        print(_broker_conf(), end="")  # noqa: T201
        return 0
    return _serve(config)


def _broker_conf() -> str:
    from doorlock.daemon.gateways.mosquitto import find_mosquitto
    from doorlock.daemon.gateways.mosquitto_conf import mosquitto_conf

    installed = find_mosquitto(os.environ.get("PATH"))
    return mosquitto_conf(installed.plugin) if installed else mosquitto_conf()


def _serve(config: Any) -> int:
    import uvloop

    from doorlock.daemon import app, logs

    logs.to_stderr(config.daemon.log_level, config.daemon.log_format)
    app.tune_interpreter()
    app.raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.run(config))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="doorlockd",
        description="The daemon that owns the locks and cameras.",
        epilog="Settings: doorlock.toml(5). Environment: DOORLOCK_SECTION__KEY.",
    )
    parser.add_argument("--version", action="version", version=f"doorlockd {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the settings file")
    parser.add_argument("--socket", metavar="PATH", help="the local Unix socket")
    parser.add_argument("--state-dir", metavar="DIR", help="where everything durable lives")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--log-format", choices=["auto", "text", "json"])
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any setting"
    )
    parser.add_argument("--check-config", action="store_true", help="check the settings and end")
    parser.add_argument("--print-config-path", action="store_true")
    parser.add_argument(
        "--print-mosquitto-conf", action="store_true", help="what a broker of one's own needs"
    )
    return parser


def _flags(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    flags: dict[str, dict[str, Any]] = {}
    for assignment in options.set:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.partition(".")
        if not equals or not dot:
            raise BadConfig(
                f"--set {assignment} is not SECTION.KEY=VALUE",
                hint="For example --set listen.port=3000.",
            )
        flags.setdefault(section, {})[key] = value
    for key in ("socket", "state_dir", "log_level", "log_format"):
        if (given := getattr(options, key)) is not None:
            flags.setdefault("daemon", {})[key] = given
    return flags


def _complain(error: DoorlockError) -> None:
    print(f"doorlockd: {error.message}", file=sys.stderr)  # noqa: T201
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
