"""Every task of the command line says all that a session asks it."""

from __future__ import annotations

import inspect

import pytest

from gradlearn import find
from gradlearn.symbols import Offered, Task

ASKED = {name for kind in (Task, Offered) for name, member in vars(kind).items() if inspect.isfunction(member) and name[0] != "_"}


@pytest.mark.parametrize("name", find.names("tasks"))
def test_a_task_has_every_method_that_is_asked_for(name: str):
    kind = find.find("tasks", name)
    assert {method for method in ASKED if not callable(getattr(kind, method, None))} == set()
    assert {"read", "rebuild"} <= {method for method in dir(kind) if callable(getattr(kind, method))}
    for method in sorted(ASKED):
        asked = inspect.signature(getattr(Offered, method)).parameters
        assert list(inspect.signature(getattr(kind, method)).parameters) == list(asked), method


@pytest.mark.parametrize("name", find.names("tasks"))
def test_what_is_measured_with_belongs_to_the_plan(name: str):
    assert isinstance(inspect.getattr_static(find.find("tasks", name), "usual"), (property, dict))
