"""Where the configs that come with the package lie, however it was installed."""

from importlib import metadata
from pathlib import Path

FOLDER = "configs"


def config_file(path):
    """A config's file: the one at ``path``, or else, of 'configs/NAME.py', the package's own.

    A checkout has them beside the package, an installed package in ``share/jaxcell/configs``.

    Parameters
    ----------
    path : path

    Returns
    -------
    Path : as given where neither is there
    """
    path = Path(path)
    if path.is_file() or path.parent != Path(FOLDER):
        return path
    places = [Path(__file__).parent.parent / path, *_installed(path)]
    return next((place for place in places if place.is_file()), path)


def _installed(path):
    """Where pip has put it, a list of none or one."""
    try:
        files = metadata.files("jaxcell") or ()
    except metadata.PackageNotFoundError:
        return []
    return [Path(f.locate()) for f in files if f.match(f"share/jaxcell/{path.as_posix()}")]
