"""The same cells twice: one may be trained on and the other validate, and both weigh double.

The same name alone proves nothing: barcodes of two lanes collide. Cells of the same name whose
depth and number of genes agree too are the same; of different cells few do by chance. Of one file
that two sources of a manifest read, it is known which cells are the same.
"""

import warnings

import numpy as np
import pandas as pd

from jaxcell.data.sources.opening import place_of

KEY = ["name", "total", "genes"]
BLOCK = 2**20  # names
SHARE, FEWEST = 0.5, 2  # of the cells that share a name: so many agree where they are the same


def check_cells(surveys):
    """Refuse kept cells that are there twice, within a source or in two of them.

    Those that a filter or a manifest's `keep` leaves out may be: a study's cells stand again in an
    atlas, which marks them (is_primary_data). Warns of names that stand twice in a source for
    different cells.

    Parameters
    ----------
    surveys : list of Survey

    Raises
    ------
    ValueError
    """
    _of_one_file(surveys)
    known = [_keys(survey) for survey in surveys]
    for survey, keys in zip(surveys, known, strict=True):
        names, same = keys["name"].duplicated(), keys.duplicated()
        if not names.any():
            continue
        first = survey.source.obs.index[survey.kept][names.to_numpy()][0]
        found = (
            f"{survey.source.name}: {names.sum():,} of {len(keys):,} cells have a name that "
            f"another has ({first!r}, for example)"
        )
        if same.sum() >= max(1, SHARE * names.sum()):
            raise ValueError(
                f"{found}, and {same.sum():,} of them its depth and number of genes too: the same "
                "cells twice? Expected each cell once: adata[~adata.obs_names.duplicated()]"
            )
        warnings.warn(
            f"{found}, taken as different cells (duplicate barcodes): predictions and embeddings "
            "cannot be told apart by name; adata.obs_names_make_unique() makes them unique",
            stacklevel=3,
        )
    _between(surveys, known)


def _of_one_file(surveys):
    """Refuse cells of a file or an address that two surveys keep."""
    places = {}
    for survey in surveys:
        if (spec := survey.source.spec) is not None:
            places.setdefault(place_of(spec), []).append(survey)
    for place, sharing in places.items():
        for i, survey in enumerate(sharing):
            mine = survey.source.cell_ids()[survey.kept]
            for other in sharing[:i]:
                same = np.intersect1d(mine, other.source.cell_ids()[other.kept]).size
                if same:
                    raise ValueError(
                        f"{survey.source.name}: {same:,} of its cells are in {other.source.name} "
                        f"too: both are cells of {place}. Expected each cell once: choose others "
                        "in one of them (keep, value_filter, filters)"
                    )


def _keys(survey):
    """Hash of the name, total and genes of each kept cell."""
    return pd.DataFrame(
        {
            "name": hashes(survey.source.obs.index[survey.kept]),
            "total": survey.total[survey.kept],
            "genes": survey.n_genes[survey.kept].astype(np.int32),
        }
    )


def hashes(index):
    """Hash of each name of an index, u64 [n]; a block of them at once is a text of Python."""
    blocks = (index[a : a + BLOCK].astype(str) for a in range(0, len(index), BLOCK))
    found = [pd.util.hash_array(b.to_numpy(object), categorize=False) for b in blocks]
    return np.concatenate([np.zeros(0, np.uint64), *found])


def _between(surveys, known):
    """Compare the sources with each other: one sort of the cells that agree with another."""
    if len(known) < 2:
        return
    table = pd.concat([k.drop_duplicates().assign(source=i) for i, k in enumerate(known)])
    table = table[table.duplicated(KEY, keep=False)].sort_values([*KEY, "source"])
    twin = np.all([table[k].to_numpy()[1:] == table[k].to_numpy()[:-1] for k in KEY], axis=0)
    source = table["source"].to_numpy()
    pairs, numbers = np.unique(
        np.stack([source[:-1], source[1:]], axis=1)[twin], axis=0, return_counts=True
    )
    for (a, b), same in zip(pairs, numbers, strict=True):
        names = len(np.intersect1d(known[a]["name"], known[b]["name"]))
        if same >= max(FEWEST, SHARE * names):
            raise ValueError(
                f"{surveys[b].source.name}: {same:,} of its cells are in "
                f"{surveys[a].source.name} too ({names:,} names are in both, {same:,} of them with "
                "the same depth and number of genes). Expected each cell once: leave them out of "
                "one"
            )
