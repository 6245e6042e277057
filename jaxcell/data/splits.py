"""Which cells are for training and which for validation, and the class of each, from obs."""

import numpy as np

DROPPED, TRAIN, VALID = -1, 0, 1
# Values of a label that say "not known", compared without case and blanks; NaN does too.
MISSING = ("", "nan", "na", "n/a", "none", "unknown")


def is_missing(values):
    """Which values say "not known": str [n] -> bool [n]."""
    return np.isin(np.char.lower(np.char.strip(np.asarray(values, str))), MISSING)


def parse_hold_out(hold_out):
    """'column=value' strings → list of (column, value).

    Raises
    ------
    ValueError
        A string has no '='.
    """
    pairs = [hold_out] if isinstance(hold_out, str) else list(hold_out or ())
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"hold_out {pair!r}: write column=value, as in batch=kang_ifnb")
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in pairs]


def check_columns(sources, whole, labels, hold_out):
    """Refuse obs columns and values that the sources do not have.

    A label may be unknown in some sources, not in all; a held-out column must be in each that is
    not wholly for validation, or cells of the held-out group could slip into training.
    """
    for column in labels:
        if all(column not in source.obs for source in sources):
            raise ValueError(f"label column {column!r}: {lacking(sources[0])} (--labels)")
    divided = [source for source, w in zip(sources, whole, strict=True) if not w]
    for column, value in hold_out:
        for source in divided:
            if column not in source.obs:
                raise ValueError(f"hold-out column {column!r}: {lacking(source)} (--hold-out)")
        values = sorted({name for s in divided for name in classes(s.obs[column])[1]})
        if value not in values:
            raise ValueError(
                f"hold-out {column}={value}: no cell has this value; {column} has: "
                f"{', '.join(values[:20])}{' …' if len(values) > 20 else ''}"
            )


def lacking(source):
    """That a source has no such obs column, and which it has."""
    return (
        f"{source.name} has no such obs column; it has: {', '.join(map(str, source.obs.columns))}"
    )


def classes(column):
    """A column of obs → (codes i32 [cells] into names, names as str); -1 = NaN or ''."""
    column = column.astype("category").cat
    names = sorted({str(c) for c in column.categories} - {""})
    place = {name: i for i, name in enumerate(names)}
    recode = np.array([*(place.get(str(c), -1) for c in column.categories), -1], np.int32)
    return recode[column.codes.to_numpy()], names


def label_codes(source, column, names):
    """Class of each cell of a source, i32 [cells], as index into names; -1 = unknown."""
    if column not in source.obs:
        return np.full(source.n_cells, -1, np.int32)
    codes, own = classes(source.obs[column])
    place = {name: i for i, name in enumerate(names)}  # without those that say "not known"
    return np.array([*(place.get(name, -1) for name in own), -1], np.int32)[codes]


def missing_values(survey, columns):
    """{column: {value: kept cells}} of the values that say "not known", NaN among them."""
    found = {}
    for column in (c for c in columns if c in survey.source.obs):
        values = survey.source.obs[column][survey.kept]
        values = values.astype(object).where(values.notna(), "NaN").astype(str)
        counts = values[is_missing(values)].value_counts()
        found[column] = {str(value): int(counts[value]) for value in sorted(counts.index)}
    return {column: counts for column, counts in found.items() if counts}


def present_classes(column, surveys):
    """Sorted classes of the kept cells of all sources, without what says "not known".

    Raises
    ------
    ValueError
        There are none.
    """
    found = set()
    for survey in surveys:
        if column in survey.source.obs:
            codes, names = classes(survey.source.obs[column])
            found.update(names[i] for i in np.unique(codes[survey.kept]) if i >= 0)
    names = sorted(found)
    known = [name for name, lost in zip(names, is_missing(names), strict=True) if not lost]
    if not known:
        raise ValueError(
            f"label column {column!r}: no kept cell of {', '.join(v.source.name for v in surveys)} "
            "has a value there; expected one at least (--labels)"
        )
    return known


def with_values(source, hold_out):
    """Cells with any of some values of obs columns, list of (column, value) -> bool [cells]."""
    found = np.zeros(source.n_cells, bool)
    for column, value in hold_out:
        codes, names = classes(source.obs[column])
        if value in names:
            found |= codes == names.index(value)
    return found


def split_cells(survey, number, *, hold_out, fraction, whole, seed, held=None):
    """TRAIN, VALID or DROPPED for each cell of a source, i8 [cells].

    Parameters
    ----------
    survey : Survey
        The source and which of its cells are kept.
    number : int
        Place of the source among the sources, or what else tells it from them; with seed and the
        cell's position it decides alone over the random fraction.
    hold_out : list of (column, value)
        A cell with any of these values is for validation.
    fraction : float
        Share of the remaining cells drawn for validation.
    whole : {None, 'train', 'valid'}
        What all its cells are for, whatever the rest says.
    seed : int
    held : bool [cells], optional
        Cells that are for validation too.
    """
    source = survey.source
    valid = np.random.default_rng([seed, number]).random(source.n_cells) < fraction
    if held is not None:
        valid |= held
    if whole:
        valid[:] = whole == "valid"
    else:
        valid |= with_values(source, hold_out)
    return np.where(survey.kept, np.where(valid, VALID, TRAIN), DROPPED).astype(np.int8)
