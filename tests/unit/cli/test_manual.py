"""The manual page: well-formed, and in step with the verbs and the exits."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from doorlock.cli.exit_codes import BY_CODE
from doorlock.cli.registry import ENTRIES

PAGE = Path(__file__).parents[3] / "man" / "doorlock.1"


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc: it checks the manual")
def test_the_page_is_well_formed() -> None:
    command = ["mandoc", "-Tlint", "-W", "warning", str(PAGE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_verb_is_in_it(entry: object) -> None:
    words = {word for line in PAGE.read_text().splitlines() for word in line.split()}
    name = getattr(entry, "name", "")
    assert name in words
    assert {below.name for below in getattr(entry, "below", ())} <= words


def test_every_exit_is_in_it() -> None:
    listed = {int(number) for number in re.findall(r"^\.It (\d+)$", PAGE.read_text(), re.M)}
    assert listed == {0, *(code.value for code in BY_CODE.values())}
