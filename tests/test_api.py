import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import trc

MODULES = [trc, *(importlib.import_module(m.name) for m in pkgutil.walk_packages(trc.__path__, "trc."))]
CALLABLES = [name for name in trc.__all__ if callable(getattr(trc, name))]


def test_public_names_exist_once():
    assert len(set(trc.__all__)) == len(trc.__all__)
    assert not [name for name in trc.__all__ if not hasattr(trc, name)]


@pytest.mark.parametrize("name", CALLABLES)
def test_public_name_is_documented(name):
    found = getattr(trc, name)
    text = inspect.getdoc(found) or ""
    assert text and not text.startswith(f"{name}("), f"{name} has no docstring of its own"
    if "Parameters\n---" in text:
        bases = [base for base in getattr(found, "__mro__", ()) if base.__module__.startswith("trc.")]
        text += "".join(inspect.getdoc(base) or "" for base in bases)  # what is inherited is documented there
        undocumented = [p for p in inspect.signature(found).parameters if not re.search(rf"\b{p}\b", text)]
        assert not undocumented, f"the docstring of {name} does not name {', '.join(undocumented)}"


@pytest.mark.parametrize("name", [name for name in CALLABLES if inspect.isclass(getattr(trc, name))])
def test_public_methods_are_documented(name):
    for attribute, value in vars(getattr(trc, name)).items():
        if not attribute.startswith("_") and (callable(value) or isinstance(value, classmethod | property)):
            assert inspect.getdoc(value), f"{name}.{attribute} has no docstring"


def test_examples_in_docstrings_hold():
    attempted = 0
    for module in MODULES:
        failed, tried = doctest.testmod(module)
        assert not failed, f"an example in {module.__name__} fails; see the output above"
        attempted += tried
    assert attempted >= 5
