"""How the columns of each source became genes, as tables of a store: all but the plain cases."""

import shutil

import numpy as np

from jaxcell.data.matching import LEVELS

FOLDER = "mapping"
PLAIN = 2  # levels below this one are exact names, which need no table
HEADING = ("column", "name", "gene", "how")


def write_mappings(folder, parts, names, matches, vocabulary):
    """`write_mapping` of each source, told in the facts of its datasets; anew after a stop.

    Parameters
    ----------
    folder : Path
        The store.
    parts : list of Part
    names : dict, {name of the source: GeneNames}
    matches : list of GeneMatch
    vocabulary : Vocabulary
    """
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    for part, found in zip(parts, matches, strict=True):
        source = part.source
        told = write_mapping(folder, names[source.name], found, vocabulary)
        for facts in part.facts:
            facts |= {"mapping": told, "left_out": source.left_out}


def write_mapping(folder, names, found, vocabulary):
    """Write the table of a source into ``folder/mapping``, once for all sources with the same.

    Its rows are the columns without a gene, those that share one, and those whose gene is not
    exactly what the source calls it: by a gene map, by case, or as an ortholog.

    Parameters
    ----------
    folder : Path
        The store.
    names : GeneNames, [n_var]
    found : GeneMatch
    vocabulary : Vocabulary, the one that was matched

    Returns
    -------
    str
        The file's path in the store; '' if there is nothing to tell.
    """
    times = np.bincount(found.columns[found.columns >= 0], minlength=found.n_genes)
    rows = ["\t".join(HEADING)]
    for j, gene in enumerate(found.columns):
        shared = gene >= 0 and times[gene] > 1
        if 0 <= found.level[j] < PLAIN and gene >= 0 and not shared and not names.spelled:
            continue
        how = "no gene" if found.level[j] < 0 else LEVELS[found.level[j]]
        if names.spelled and gene >= 0:
            how += " of the ortholog"
        if shared:
            how += ", summed"
        elif found.level[j] >= 0 and gene < 0:
            how += ", a later duplicate left out"
        title = "" if gene < 0 else vocabulary.names[gene]
        rows.append("\t".join((str(j), names.show([j])[0], title, how)))
    if len(rows) == 1:
        return ""
    text = "\n".join(rows) + "\n"
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    there = sorted((folder / FOLDER).iterdir())
    same = [path for path in there if path.read_text(encoding="utf-8") == text]
    path = same[0] if same else folder / FOLDER / f"{len(there):05}.tsv"
    path.write_text(text, encoding="utf-8")
    return path.relative_to(folder).as_posix()
