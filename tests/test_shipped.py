"""The package's own configs are found with a checkout and without."""

import tomllib
from importlib.metadata import PackagePath
from types import SimpleNamespace

from jaxcell import config, shipped
from tests.conftest import ROOT


def test_from_any_folder_but_ones_own_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.load("configs/txfm_s.py:tiny").name == "txfm_s_tiny"
    assert str(shipped.config_file("configs/none.py")) == "configs/none.py"
    assert str(shipped.config_file("demo.py")) == "demo.py"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.py").write_text("own")
    assert shipped.config_file("configs/demo.py").read_text() == "own"


def test_where_pip_has_put_them(tmp_path, monkeypatch):
    """As a wheel lays them down: beside lib, and named so in the list of its files."""
    packages = tmp_path / "lib" / "python3" / "site-packages"
    file = PackagePath("../../../share/jaxcell/configs/demo.py")
    file.dist = SimpleNamespace(locate_file=packages.joinpath)
    there = tmp_path / "share" / "jaxcell" / "configs"
    for folder in (packages / "jaxcell", there):
        folder.mkdir(parents=True)
    (there / "demo.py").write_text("shipped")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "__file__", str(packages / "jaxcell" / "shipped.py"))
    monkeypatch.setattr(shipped.metadata, "files", lambda name: [PackagePath("x.py"), file])
    assert shipped.config_file("configs/demo.py").read_text() == "shipped"
    assert not shipped.config_file("configs/txfm_s.py").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    files = project["tool"]["setuptools"]["data-files"]
    assert files == {"share/jaxcell/configs": ["configs/*.py"]}
