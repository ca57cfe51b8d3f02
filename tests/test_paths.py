"""Where artifacts live: in the checkout, where the package is in one; never in a folder of installed packages."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossrec import paths
from crossrec.cli import app
from crossrec.errors import CrossrecError


def test_home_is_in_the_checkout_or_else_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSREC_HOME", str(tmp_path / "moved"))
    assert paths.home() == tmp_path / "moved"
    monkeypatch.delenv("CROSSREC_HOME")
    assert paths.home() == Path(__file__).resolve().parents[1] / "artifacts"
    monkeypatch.setattr(paths, "ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert paths.home() == tmp_path / "artifacts"


def test_a_copy_of_the_package_says_that_it_has_no_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    with pytest.raises(CrossrecError, match=r"The app is not in .*pip install -r requirements\.txt"):
        CliRunner().invoke(app, ["serve"], catch_exceptions=False)
