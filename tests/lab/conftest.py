"""Labs for tests, and what they leave in pytest's report: logs after a failure, figures at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import pytest
from tests.lab.labs import Lab, open_labs, running_lab

LabFactory = Callable[..., Lab]

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def new_lab() -> Iterator[LabFactory]:
    """Return a function that builds a lab (the options of `lab up`); all go down with the test."""
    with ExitStack() as labs:
        yield lambda *options, dns="bind": labs.enter_context(running_lab(*options, dns=dns))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that puts a line among the figures at the end of the run."""
    lines = request.config.stash.setdefault(_FIGURES, [])
    return lambda text: lines.append(f"{request.node.name}: {text}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Labs are still up here: their fixtures end after the report of the call is made."""
    report = yield
    if report.failed:
        for lab in open_labs:
            try:
                report.sections += lab.diagnosis()
            except Exception as error:  # noqa: BLE001 - the test's own failure is what counts
                report.sections.append((f"lab {lab.name}", f"no diagnosis: {error}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_FIGURES, [])
    if lines:
        terminalreporter.section("figures of the lab")
        for line in lines:
            terminalreporter.write_line(line)
