"""The command line's entry."""

from __future__ import annotations

import gc
import os


def main() -> None:
    """`doorlock`: run the verb of this process's arguments and exit with its code."""
    # A fifth of a quick verb's time would go into collecting what imports leave behind, which is
    # nothing, and into taking the interpreter apart afterwards.
    gc.disable()
    from doorlock.cli.boundary import run_process

    gc.freeze()
    gc.enable()
    os._exit(run_process())


if __name__ == "__main__":
    main()
