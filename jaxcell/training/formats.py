"""Versions of what is saved, and what is read without JAX. Each version is read by every later
jaxcell; tests keep one of each.

1 : configs may have true or false for `model.encoder.remat`; ontologies.json may be missing
2 : `remat` is a word; model folders have all of `checkpoint.FILES`, and a hash of the tensors
"""

import hashlib

import numpy as np

VERSION = 2
REMAT = {True: "full", False: "none"}


def _from_1(c):
    encoder = c.get("model", {}).get("encoder", {})
    encoder["remat"] = REMAT.get(encoder.get("remat"), encoder.get("remat", "none"))


STEPS = {1: _from_1}  # from that version to the next, of a config as plain dicts, in place


def upgrade(c, version, where):
    """The config of an older version as this one has it.

    Parameters
    ----------
    c : dict, a config as JSON has it; changed in place
    version : text or number, of the format that it was saved in
    where : what it belongs to, for messages

    Raises
    ------
    ValueError
        A version of a newer jaxcell, or none at all.
    """
    known = [*STEPS, VERSION]
    if str(version) not in map(str, known):
        raise ValueError(
            f"{where}: has format {str(version)[:20]!r}, this jaxcell reads {known[0]} to "
            f"{VERSION}; update jaxcell (pip install --upgrade jaxcell), or, if it says no number, "
            "copy the checkpoint again"
        )
    for one in range(int(version), VERSION):
        STEPS[one](c)
    return c


def unflatten(flat):
    """{'a/b/c': array} → nested dict."""
    tree = {}
    for path, leaf in flat.items():
        *above, last = path.split("/")
        at = tree
        for step in above:
            at = at.setdefault(step, {})
        at[last] = leaf
    return tree


def read_tables(path):
    """The nested dict of arrays in tables.npz.

    Raises
    ------
    ValueError
        It is damaged, or holds pickled objects.
    """
    try:
        with np.load(path) as arrays:
            return unflatten(dict(arrays))
    except Exception as error:
        raise ValueError(f"{path}: is damaged ({type(error).__name__}); copy it again") from error


def update(digest, flat):
    """Add {name: array} to a hash: names, types, shapes and bytes."""
    for path, leaf in sorted(flat.items()):
        digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf))


def tensors_sha256(flat):
    """Hash of {name: array}."""
    digest = hashlib.sha256()
    update(digest, flat)
    return digest.hexdigest()
