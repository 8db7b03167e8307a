"""What tests of several packages share."""

from __future__ import annotations

import importlib.util
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


def need_module(*names: str) -> None:
    """For a whole test file, before it imports NAMES: those of the benches are not in every environment."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is missing", pytrace=False)
            pytest.skip(f"{name} is missing: ./run setup test installs it", allow_module_level=True)
