"""Commands built from the registry, each when it is run and none before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from doorlock.cli.registry import Entry, Section
from doorlock.cli.session import Session

FORMATS = ("table", "json", "ndjson")
HELP_NAMES = {"help_option_names": ["-h", "--help"]}
EPILOG = "Global options go before or after the verb: doorlock --help lists them."


class Formatter(Protocol):
    """What is used of the library's help formatter."""

    width: int

    def section(self, name: str) -> Any: ...

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...


class Verb(TyperCommand):
    """A verb; it takes the global options as well, save those that it has itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        own = super().get_params(ctx)
        taken = {name for param in own for name in param.opts}
        return [*own, *(o for o in global_options(hidden=True) if not taken & {*o.opts})]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # A verb with a --socket of its own is to use the one chosen before its name as well.
        if socket := Session.of(ctx).socket:
            ctx.default_map = {"socket": socket}
        return super().parse_args(ctx, args)


class Noun(TyperGroup):
    """A group of verbs that imports one when it is asked for."""

    def __init__(self, sections: Sequence[Section], *, is_root: bool = False, **rest: Any) -> None:
        super().__init__(rich_markup_mode=None, context_settings=HELP_NAMES, **rest)
        self._sections = sections
        self._entries = {entry.name: entry for section in sections for entry in section.entries}
        self._is_root = is_root
        # The library offers its suggestions from here.
        self.commands = {name: stub(entry) for name, entry in self._entries.items()}

    def get_params(self, ctx: Any) -> list[Any]:
        return [*super().get_params(ctx), *global_options(hidden=not self._is_root)]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        # Completion lists the names; nothing below them is needed for that.
        return (
            self.commands[cmd_name]
            if ctx.resilient_parsing and not _is_typed(ctx, entry)
            else build(entry)
        )

    def format_commands(self, ctx: Any, formatter: Formatter) -> None:
        widest = max(map(len, self._entries))
        for section in self._sections:
            with formatter.section(section.title):
                formatter.write_dl([(e.name.ljust(widest), e.help) for e in section.entries])


def root(sections: Sequence[Section]) -> Noun:
    """The whole command line."""
    return Noun(
        sections,
        is_root=True,
        name="doorlock",
        help="Administer smart door locks: through the daemon, which owns them.",
        invoke_without_command=True,
        callback=_help_without_verb,
    )


def build(entry: Entry) -> Any:
    """The command of an entry, its module imported."""
    if not entry.below:
        return verb(entry, load(entry.target))
    sections = [Section("Commands", entry.below)]
    if not entry.target:
        return Noun(sections, name=entry.name, help=entry.help, no_args_is_help=True)
    alone = verb(entry, load(entry.target))
    return Noun(
        sections,
        name=entry.name,
        help=alone.help,
        params=alone.params,
        callback=alone.callback,
        invoke_without_command=True,
    )


def verb(entry: Entry, function: Callable[..., Any]) -> Any:
    """One function as a command: its docstring is the help, its annotations the parameters."""
    settings: dict[str, Any] = dict(HELP_NAMES)
    if entry.raw:
        settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(
        entry.name,
        cls=TyperCommand if entry.raw else Verb,
        context_settings=settings,
        add_help_option=not entry.raw,
        epilog=EPILOG,
    )(function)
    return typer.main.get_command(single)


def load(target: str) -> Callable[..., Any]:
    """The function behind "module:function" of `doorlock.cli.commands`."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(f"doorlock.cli.commands.{module}"), name)
    return function


def stub(entry: Entry) -> Any:
    """What lists an entry without importing it."""
    return TyperCommand(entry.name, help=entry.help)


def _is_typed(ctx: Any, entry: Entry) -> bool:
    return bool(ctx._protected_args and ctx._protected_args[0] == entry.name)


def _help_without_verb() -> None:
    context = _current_context()
    if context.invoked_subcommand is None:
        Session.of(context).out.write(context.get_help())


def _current_context() -> Any:
    from typer._click.globals import get_current_context

    return get_current_context()


def global_options(*, hidden: bool) -> list[Any]:
    """The options that every verb takes, before and after its name."""

    def flag(help_text: str, *names: str, set_it: Callable[[Session], None]) -> Any:
        def take(ctx: Any, _param: Any, value: bool) -> None:
            if value:
                set_it(Session.of(ctx))

        return _option(names, take, help_text, hidden, is_flag=True, default=False)

    def text(help_text: str, metavar: str, *names: str, set_it: Callable[..., None]) -> Any:
        def take(ctx: Any, _param: Any, value: str | None) -> None:
            if value is not None:
                set_it(Session.of(ctx), value)

        return _option(names, take, help_text, hidden, metavar=metavar)

    return [
        text("How to print.", "|".join(FORMATS), "-o", "--output", set_it=_set_format),
        flag("Print nothing but data.", "-q", "--quiet", set_it=_set_quiet),
        flag("Say more, also about errors.", "-v", "--verbose", set_it=_set_verbose),
        flag("No colour.", "--no-color", set_it=_set_no_color),
        text("The daemon's socket.", "PATH", "--socket", set_it=_set_socket),
        text("Act for another user.", "USER", "--as", set_it=_set_as_user),
        flag("Never ask.", "--no-input", set_it=_set_no_input),
    ]


def _option(
    names: Sequence[str], take: Callable[..., None], help_text: str, hidden: bool, **rest: Any
) -> Any:
    return TyperOption(
        param_decls=[*names, f"global_{names[-1].strip('-').replace('-', '_')}"],
        callback=take,
        expose_value=False,
        help=help_text,
        hidden=hidden,
        **rest,
    )


def _set_format(session: Session, value: str) -> None:
    if value not in FORMATS:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(FORMATS)}.")
    session.out.format = value


def _set_quiet(session: Session) -> None:
    session.out.quiet = True


def _set_verbose(session: Session) -> None:
    session.verbose = True


def _set_no_color(session: Session) -> None:
    session.out.no_color = True


def _set_socket(session: Session, value: str) -> None:
    session.socket = value


def _set_as_user(session: Session, value: str) -> None:
    session.as_user = value


def _set_no_input(session: Session) -> None:
    session.no_input = True
