"""Vocabularies of any files: each gene once, each column where it belongs."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as some

from jaxcell.data.genes import GeneNames, identify, read_gene_map
from jaxcell.data.matching import match, project
from jaxcell.data.union import union
from jaxcell.data.vocabulary import Vocabulary
from tests.data.drawn import genes


def names_of(pairs):
    return GeneNames(tuple(s for s, _ in pairs), tuple(e for _, e in pairs))


def number(symbol, ensembl):
    """Which gene it is: both of its names say it."""
    return int(symbol[1:] if symbol else ensembl[4:])


@given(genes(), some.lists(some.sampled_from(["<cls>", "<mask>", "<pad>"]), unique=True))
def test_what_is_saved_is_loaded(tmp_path_factory, pairs, specials):
    symbols, ensembl = zip(*pairs, strict=True)
    made = Vocabulary(symbols, ensembl, specials)
    path = tmp_path_factory.mktemp("v") / "vocabulary.json"
    made.save(path)
    found = Vocabulary.load(path)
    assert (found, found.sha256) == (made, made.sha256)
    for i in range(len(made)):
        assert made.index(made.name(i)) == i
    for i, name in enumerate(specials, len(made)):
        assert (made.index(name), made.name(i)) == (i, name)
    content = json.loads(path.read_text())
    content["symbols"] = content["symbols"][::-1]
    if content["symbols"] != list(symbols):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"{path}|neither a symbol|twice"):
            Vocabulary.load(path)


@given(some.lists(genes(), min_size=1, max_size=4))
def test_a_union_has_each_gene_once_and_all_of_them(files):
    named = {f"{i}": names_of(pairs) for i, pairs in enumerate(files)}
    try:
        found = union(named)
    except ValueError:
        with pytest.raises(ValueError, match="mixed identifiers"):
            union(named)
        return
    every = {pair for pairs in files for pair in pairs}
    there = list(zip(found.symbols, found.ensembl, strict=True))
    known = {name for pair in there for name in pair if name}
    assert known == {name for pair in every for name in pair if name}
    for names in (found.symbols, found.ensembl):
        given_names = [name for name in names if name]
        assert len(given_names) == len(set(given_names))
    for symbol, ensembl in there:  # no gene has got another's name
        assert not (symbol and ensembl) or number(symbol, "") == number("", ensembl)
    # Each file is found again in it, column by column.
    for pairs in files:
        matched = match(names_of(pairs), found)
        for (symbol, ensembl), gene in zip(pairs, matched.columns.tolist(), strict=True):
            assert gene >= 0
            assert number(*there[gene]) == number(symbol, ensembl)


@given(genes(), some.randoms(use_true_random=False))
def test_the_order_of_columns_says_nothing(pairs, random):
    vocabulary = Vocabulary(*zip(*pairs, strict=True))
    order = list(range(len(pairs)))
    random.shuffle(order)
    found = match(names_of([pairs[i] for i in order]), vocabulary)
    assert found.columns.tolist() == order
    assert (found.missing, found.unmatched, found.duplicated) == ((), (), ())


@given(genes(), some.data())
def test_aliases_find_their_gene_and_never_take_a_present_one(tmp_path_factory, pairs, data):
    """By a map of three aliases a gene, one of which is the symbol of the gene after it."""
    lines = [f"ENSG{i:011}\tG{i}\tOLD{i}|VERY_OLD{i}|G{(i + 1) % 12}" for i in range(12)]
    path = tmp_path_factory.mktemp("m") / "map.tsv"
    path.write_text("\n".join(lines))
    gene_map = read_gene_map(path)
    vocabulary = Vocabulary(*zip(*pairs, strict=True))
    old = [data.draw(some.sampled_from(["", "OLD", "VERY_OLD"])) for _ in pairs]
    asked = [
        (f"{prefix}{number(*pair)}", "") if prefix else pair
        for prefix, pair in zip(old, pairs, strict=True)
    ]
    found = match(names_of(asked), vocabulary, gene_map)
    assert found.columns.tolist() == list(range(len(pairs)))
    # An alias beside the gene's own column is left out, or doubled only where it is asked for.
    twice = [*pairs, *((f"OLD{number(*pair)}", "") for pair in pairs)]
    both = match(names_of(twice), vocabulary, gene_map)
    assert both.columns.tolist() == [*range(len(pairs)), *[-1] * len(pairs)]


@given(some.integers(1, 6), some.data())
def test_projecting_is_a_sum_of_columns(n_var, data):
    columns = np.array([data.draw(some.integers(-1, 4)) for _ in range(n_var)], np.int32)
    dense = np.array(
        data.draw(
            some.lists(
                some.lists(some.integers(0, 3), min_size=n_var, max_size=n_var),
                min_size=1,
                max_size=4,
            )
        ),
        np.float32,
    )
    found = project(sp.csr_matrix(dense), columns, 5)
    wanted = np.zeros((len(dense), 5), np.float32)
    for j, gene in enumerate(columns):
        if gene >= 0:
            wanted[:, gene] += dense[:, j]
    np.testing.assert_array_equal(found.toarray(), wanted)
    assert found.has_canonical_format
    assert np.all(found.data)


@given(some.lists(some.integers(0, 11), unique=True, min_size=1), some.booleans(), some.booleans())
def test_versions_are_cut_off(numbers, versions, swap):
    ids = [f"ENSG{i:011}{f'.{i + 1}' if versions else ''}" for i in numbers]
    symbols = [f"G{i}" for i in numbers]
    index, column = (symbols, ids) if swap else (ids, symbols)
    name = "gene_ids" if swap else "gene_symbols"
    found = identify(pd.DataFrame({name: column}, index=index))
    assert found.ensembl == tuple(f"ENSG{i:011}" for i in numbers)
    assert found.symbols in (tuple(symbols), ("",) * len(symbols))
