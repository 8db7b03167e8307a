"""The tutorial's commands do what it says; and what reads the tutorial can tell when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.machines import LABELS, room
from tests.docs.tutorial import PAGE, ByHand, Typed, matches, steps, take

_PAGE = """\
# A page

```console
root@red:~# cat > file <<'END'
> # not a prompt
> END
root@red:/tmp# ls
file
...
last
```

<!-- by hand: move red blue -->
"""


def test_a_page_is_read() -> None:
    first, second, hand = steps(_PAGE)
    assert isinstance(first, Typed)
    assert (first.command, first.printed) == ("cat > file <<'END'\n# not a prompt\nEND", "")
    assert isinstance(second, Typed)
    assert (second.machine, second.command, second.printed) == ("red", "ls", "file\n...\nlast\n")
    assert _PAGE[second.at :].startswith("file\n...")
    assert hand == ByHand("move", ("red", "blue"))
    with pytest.raises(ValueError, match="begins with a prompt"):
        list(steps("```console\nls\n```\n"))


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a 1.5 ms b\n", "a 27 ms b\n", True),
        ("a 1.5 ms b\n", "a 27 ms c\n", False),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("a\n...\nb\n", "a\nb\n", True),
        ("a\n...\nb\n", "a\nx\n", False),
        ("", "an error\n", False),
        ("253.64.145.8\n", "253.64.145.9\n", False),
        (f"k={'A' * 43}= p=5847\n", f"k={'B' * 43}= p=5847\n", True),
    ],
)
def test_what_differs_between_runs_is_let_pass_and_nothing_else(
    expected: str, printed: str, same: bool
) -> None:
    assert matches(expected, printed) is same


def test_the_tutorial_speaks_of_machines_that_there_are() -> None:
    typed = [step for step in steps(PAGE.read_text()) if isinstance(step, Typed)]
    assert {step.machine for step in typed} == set(LABELS)
    assert sum(bool(step.printed) for step in typed) > 10


@pytest.mark.stack
def test_every_command_prints_what_the_tutorial_says(tmp_path: Path) -> None:
    with room(tmp_path) as there:
        for step in steps(PAGE.read_text()):
            printed = take(step, there)
            if isinstance(step, Typed):
                said = (
                    f"root@{step.machine}: {step.command}\n--- the page:\n{step.printed}--- now:\n{printed}"
                )
                assert matches(step.printed, printed), said
