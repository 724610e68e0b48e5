"""Helps for the shell: completion, man."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from doorlock.cli.boundary import COMPLETION_VARIABLE
from doorlock.cli.failures import CliFailure
from doorlock.cli.inputs import one_of
from doorlock.cli.session import Session

SHELLS = ("bash", "zsh", "fish")
FALLBACK = "doorlock"


def completion(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(help="Which shell.", **one_of(*SHELLS))],
) -> None:
    """Print a shell's completion script.

    bash: doorlock completion bash > ~/.local/share/bash-completion/completions/doorlock
    """
    from typer._completion_shared import get_completion_script

    Session.of(ctx).out.write(
        get_completion_script(prog_name="doorlock", complete_var=COMPLETION_VARIABLE, shell=shell)
    )


def man(
    ctx: typer.Context,
    page: Annotated[str, typer.Argument(metavar="[PAGE]", help="doorlock.1 if none.")] = FALLBACK,
) -> None:
    """Show a manual page: doorlock, doorlockd, doorlock.toml, doorlock-protocol."""
    session = Session.of(ctx)
    file = _find_page(page)
    viewer = shutil.which("man") or shutil.which("mandoc")
    if viewer is None or not session.out.for_people:
        session.out.emit(file.read_text(), lambda: [file.read_text()])
        return
    session.out.stdout.flush()
    os.execv(viewer, [viewer, "-l", str(file)])


def _find_page(page: str) -> Path:
    found = {path.name: path for folder in reversed(_folders()) for path in _pages_in(folder)}
    for name, path in sorted(found.items()):
        if page in {name, name.rpartition(".")[0]}:
            return path
    known = ", ".join(sorted(found)) or "none are installed"
    raise CliFailure("not_found", f"there is no page {page!r}", f"the pages: {known}")


def _folders() -> list[Path]:
    """Where pages may lie: where an installation puts them, or beside the source."""
    share = Path(sys.prefix) / "share" / "man"
    return [*(share / f"man{number}" for number in (1, 5, 7, 8)), share, _source_folder()]


def _source_folder() -> Path:
    return Path(__file__).parents[3] / "man"


def _pages_in(folder: Path) -> list[Path]:
    return [path for path in folder.glob("doorlock*.[1578]") if path.is_file()]
