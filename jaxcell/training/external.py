"""Gene vectors from a file, for the fields of kind 'external'. R rows of tokens, E channels."""

from pathlib import Path

import numpy as np

from jaxcell.data.genes import GeneNames, read_gene_map, strip_version
from jaxcell.data.matching import match
from jaxcell.files import near
from jaxcell.models.cell import CellModel
from jaxcell.processes import say


def external_tables(spec, vocabulary):
    """{'vectors': {field: f32 [R, E]}, 'known': {field: bool [R]}} of a model's fields from files.

    Raises
    ------
    ValueError
        A file that is not there, holds no vectors, has another number of channels than the config
        says, or none of the vocabulary's genes.
    """
    found = {"vectors": {}, "known": {}}
    for name in spec.tokens:
        field, where = spec.fields[name], f"config.model.fields.{name}"
        if field.kind != "external":
            continue
        if not field.get("file"):
            raise ValueError(f"{where}.file: found none, expected a tsv, npz or h5ad of vectors")
        genes, vectors = read_vectors(field.file)
        if vectors.shape[1] != field.channels:
            raise ValueError(
                f"{where}.channels: found {field.channels}, expected {vectors.shape[1]}, as in "
                f"{field.file}"
            )
        ensembl = [strip_version(g) or "" for g in genes]
        symbols = ["" if e else g for g, e in zip(genes, ensembl, strict=True)]
        names = GeneNames(symbols, ensembl)
        matched = match(names, vocabulary, read_gene_map(), "first", str(field.file))
        if not matched.n_matched:
            raise ValueError(f"{where}.file: {matched.report()}")
        rows = CellModel(spec).token_rows
        table, known = np.zeros((rows, vectors.shape[1]), np.float32), np.zeros(rows, bool)
        column = np.flatnonzero(matched.columns >= 0)
        table[matched.columns[column]], known[matched.columns[column]] = vectors[column], True
        twice = f" ({len(matched.duplicated)} twice: the first is taken)"
        say(
            f"{where}: {matched.n_matched:,} of {len(vocabulary):,} genes have vectors in "
            f"{field.file}{twice if matched.duplicated else ''}; the others are learned"
        )
        found["vectors"][name], found["known"][name] = table, known
    return found


def read_vectors(path):
    """Names of genes [n] and their vectors f32 [n, E].

    path : tsv (a name, then numbers, in each line), npz (arrays genes and vectors) or h5ad (a row
        for each gene, in X or in the only obsm)
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file of gene vectors{near(path)}")
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            if not {"genes", "vectors"} <= set(arrays):
                there = ", ".join(arrays) or "none"
                raise ValueError(f"{path}: expected the arrays genes and vectors, found {there}")
            genes, vectors = arrays["genes"], arrays["vectors"]
    elif path.suffix == ".h5ad":
        import anndata

        adata = anndata.read_h5ad(path)
        keys = list(adata.obsm)
        if len(keys) > 1:
            raise ValueError(f"{path}: holds several vectors of each gene ({', '.join(keys)})")
        genes, vectors = adata.obs_names, adata.obsm[keys[0]] if keys else adata.X
        vectors = vectors.toarray() if hasattr(vectors, "toarray") else vectors
    else:
        lines = [line.split("\t") for line in path.read_text().splitlines() if line]
        genes = [line[0] for line in lines]
        try:
            vectors = np.array([line[1:] for line in lines], np.float32)
        except ValueError as error:
            raise ValueError(
                f"{path}: expected a gene's name and its numbers in each line: {error}"
            ) from None
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or not vectors.size or len(vectors) != len(genes):
        raise ValueError(
            f"{path}: expected vectors [genes, channels] of {len(genes)} genes, found "
            f"{vectors.shape}"
        )
    if lost := [
        gene for gene, one in zip(genes, np.isfinite(vectors), strict=True) if not one.all()
    ]:
        raise ValueError(f"{path}: the vectors of {', '.join(lost[:5])} are not finite")
    return list(map(str, genes)), vectors
