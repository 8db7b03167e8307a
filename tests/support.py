"""What tests of several packages share."""

from __future__ import annotations

import os
import shutil

import pytest


def need(condition: bool, what: str) -> None:
    """Skip on a developer's machine that lacks WHAT; fail in CI, where nothing may be missing."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing: ./run setup says how to install it")


def need_root() -> None:
    need(os.geteuid() == 0, "root")


def need_program(*names: str) -> None:
    for name in names:
        need(shutil.which(name) is not None, f"the program {name}")
