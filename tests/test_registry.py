"""Plug-ins are found as files, paths, modules; and listing imports nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penchant import registry
from penchant.errors import InputError


@pytest.mark.parametrize("kind", registry.KINDS)
def test_everything_has_a_name_and_a_line_of_help(kind: str) -> None:
    for name in registry.names(kind):
        assert not name.startswith("_")
        assert len(registry.describe(kind, name)) > 10, f"{kind}/{name} needs a first line"


def test_listing_imports_no_plugin() -> None:
    code = (
        "import sys; from penchant import registry\n"
        "for kind in registry.KINDS: [registry.describe(kind, n) for n in registry.names(kind)]\n"
        "print([m for m in sys.modules if m.startswith(('torch', 'numpy', 'pydantic', 'penchant.signals'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_load_by_name_path_and_module(tmp_path: Path) -> None:
    assert registry.load("stages", "report").__name__ == "penchant.stages.report"
    (tmp_path / "mine.py").write_text('"""Mine."""\nVALUE = 7\n')
    assert registry.load("signals", str(tmp_path / "mine.py")).VALUE == 7
    assert registry.load("signals", "penchant.errors").InputError is InputError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stlye", "no signal named 'stlye'; did you mean 'style'?"),
        ("nowhere/mine.py", "nowhere/mine.py: no such file"),
        ("_shared", "no signal named '_shared'"),
        ("../stages/report", "no signal named"),
        ("no_such_package.module", "no signal named"),
    ],
)
def test_a_missing_plugin_is_one_line(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        registry.load("signals", name)
    assert str(error.value).startswith(message)
