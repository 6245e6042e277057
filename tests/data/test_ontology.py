"""The ontology: reading, names, pruning, masks, masses and decodings, against plain loops."""

import itertools
import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxcell.data.decoding import greedy, leaf_argmax, reliable
from jaxcell.data.ontology import Ontology
from jaxcell.data.ontology_reading import read_ontology
from tests.conftest import ROOT

#        cell
#       /    \
#   immune    epithelial
#    /   \        \
#   T     B        gut
#  / \     \       /
# CD4 CD8  plasma-like      (a child of B and of gut)
OBO = """\
format-version: 1.2
data-version: releases/2026-08-01
ontology: cl

[Term]
id: CL:0000001
name: cell

[Term]
id: CL:0000002
name: immune cell
synonym: "leuco\\"cyte\\"" EXACT [X:1]
synonym: "white cell" RELATED []
is_a: CL:0000001 ! cell

[Term]
id: CL:0000003
name: T cell
alt_id: CL:0000099
synonym: "T-lymphocyte" EXACT []
synonym: "lymphocyte" EXACT []
is_a: CL:0000002 {source="X"} ! immune cell
relationship: part_of UBERON:0000001

[Term]
id: CL:0000004
name: B cell
synonym: "lymphocyte" EXACT []
synonym: "gut cell" EXACT []
is_a: CL:0000002

[Term]
id: CL:0000005
name: CD4 T cell
is_a: CL:0000003

[Term]
id: CL:0000006
name: CD8 T cell
is_a: CL:0000003
relationship: develops_from CL:0000004

[Term]
id: CL:0000007
name: plasma-like cell
is_a: CL:0000004
is_a: CL:0000009

[Term]
id: CL:0000008
name: epithelial cell
is_a: CL:0000001
is_a: UBERON:0000001

[Term]
id: CL:0000009
name: gut cell
is_a: CL:0000008

[Term]
id: CL:0000010
name: obsolete thing
is_obsolete: true

[Term]
id: UBERON:0000001
name: tissue
"""
CELL, IMMUNE, T, B, CD4, CD8, PLASMA, EPITHELIAL, GUT = range(9)


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "small.obo"
    found.write_text(OBO)
    return found


@pytest.fixture
def ontology(path):
    return read_ontology(path)


def random_dag(seed, nodes=40, roots=2):
    random = np.random.default_rng(seed)
    parents = [
        ()
        if i < roots
        else tuple(sorted(set(random.integers(0, i, random.integers(1, 4)).tolist())))
        for i in range(nodes)
    ]
    place = random.permutation(nodes)  # so that an id says nothing of the depth
    ordered = [tuple(sorted(place[list(parents[i])].tolist())) for i in np.argsort(place)]
    ids = tuple(f"CL:{i:07d}" for i in range(nodes))
    return Ontology(ids, tuple(f"n{i}" for i in ids), tuple(ordered), ((),) * nodes, "random")


def ancestors(ontology, node):
    """By recursion, with the node itself."""
    return {node}.union(*(ancestors(ontology, p) for p in ontology.parents[node]))


def draw(ontology, cells=300, seed=0):
    random = np.random.default_rng(seed)
    return random.dirichlet(np.full(len(ontology.leaves), 0.2), cells)


def masses(ontology, row):
    """Leaf by leaf."""
    found = np.zeros(len(ontology))
    for leaf, p in zip(ontology.leaves, row, strict=True):
        for node in ancestors(ontology, int(leaf)):
            found[node] += p
    return found


def test_reads_is_a_edges_of_one_prefix(ontology):
    assert len(ontology) == 9
    assert ontology.names[PLASMA] == "plasma-like cell"
    assert ontology.parents[PLASMA] == (B, GUT)
    assert ontology.parents[CD8] == (T,)  # develops_from is no edge
    assert ontology.parents[CELL] == ()
    assert ontology.parents[EPITHELIAL] == (CELL,)
    assert ontology.source == "small.obo (releases/2026-08-01)"
    np.testing.assert_array_equal(ontology.leaves, [CD4, CD8, PLASMA])
    assert ontology.leaves.dtype == np.int32
    np.testing.assert_array_equal(ontology.depth, [0, 1, 2, 2, 3, 3, 3, 1, 2])


@pytest.mark.parametrize(
    ("label", "node"),
    [
        ("CL:0000003", T),
        ("CL_0000003", T),
        (" cl:0000003 ", T),
        ("t CELL", T),
        ("T-Lymphocyte", T),
        ("CL:0000099", T),  # merged into it
        ('leuco"cyte"', IMMUNE),
        ("gut cell", GUT),  # a name before a synonym of the B cell
        ("lymphocyte", None),  # of two
        ("white cell", None),  # not exact
        ("CL:0000010", None),  # obsolete
        ("UBERON:0000001", None),
        ("unknown", None),
        (float("nan"), None),
    ],
)
def test_what_a_label_means(ontology, label, node):
    assert ontology.resolve(label) == node


def test_pruning_keeps_labels_and_all_their_ancestors(ontology):
    pruned = ontology.prune(["T cell", "CL_0000007", "nonsense"])
    assert pruned.names == (
        *("cell", "immune cell", "T cell", "B cell", "plasma-like cell"),
        *("epithelial cell", "gut cell"),
    )
    assert [pruned.names[i] for i in pruned.leaves] == ["T cell", "plasma-like cell"]
    assert pruned.source == ontology.source
    assert pruned.prune(pruned.names) == pruned


def test_pruning_gives_no_shared_synonym_a_new_meaning(ontology):
    pruned = ontology.prune(["B cell"])
    assert pruned.resolve("lymphocyte") is None
    assert pruned.resolve("gut cell") is None
    assert ontology.prune(["T cell"]).resolve("T-lymphocyte") == T


def test_pruning_to_nothing_is_refused(ontology):
    with pytest.raises(ValueError, match="labels 'x', 'y' is a term of small.obo"):
        ontology.prune(["x", "y"])


def test_mask(ontology):
    found = ontology.mask(["immune cell", "CL:0000005", "no term", "gut cell", "cell"])
    assert found.dtype == bool
    np.testing.assert_array_equal(found, [[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 1, 1]])


def test_what_does_not_resolve_is_said_with_its_cells(ontology):
    assert ontology.unresolved(["T cell", "CL:0000004"], [5, 6]) == ""
    assert ontology.unresolved(["T cell", "foo", "bar"], [5, 2, 30]) == (
        "2 of 3 labels, 32 of 37 cells, are no terms of small.obo (releases/2026-08-01): "
        "'bar' (30), 'foo' (2)"
    )


def test_lineage_has_every_ancestor_after_its_own(ontology):
    assert ontology.lineage(PLASMA) == [CELL, IMMUNE, EPITHELIAL, B, GUT, PLASMA]
    assert ontology.lineage(CELL) == [CELL]
    other = random_dag(3)
    for node in range(len(other)):
        line = other.lineage(node)
        assert set(line) == ancestors(other, node)
        assert line[-1] == node
        place = {a: i for i, a in enumerate(line)}
        assert all(place[p] < place[a] for a in line for p in other.parents[a])


def test_relation(ontology):
    pairs = [(T, T), (CD4, T), (IMMUNE, T), (B, T), (PLASMA, GUT), (PLASMA, EPITHELIAL), (CD4, CD8)]
    found = ontology.relation(*np.array(pairs).T)
    assert found.tolist() == [
        *("exact", "descendant", "ancestor", "off-lineage", "descendant", "descendant"),
        "off-lineage",
    ]
    with pytest.raises(ValueError, match="relation: nodes -1 … 2, expected 0 … 8"):
        ontology.relation([-1, 2], [0, 0])


def test_json_gives_an_equal_ontology(ontology):
    back = Ontology.from_json(ontology.to_json())
    assert back == ontology
    assert back.resolve("T-lymphocyte") == T
    assert back != replace(ontology, source="other")
    for damaged in ("", "[1]", json.dumps({"ids": []})):
        with pytest.raises(ValueError, match="not the JSON of an ontology with ids, names, paren"):
            Ontology.from_json(damaged)


def test_the_closure_equals_recursion():
    for seed in range(5):
        one = random_dag(seed)
        for i, j in itertools.product(range(len(one)), repeat=2):
            assert one.above[i, j] == (j in ancestors(one, i))


def test_masses_add_each_leaf_once(ontology):
    p = np.array([[0.2, 0.3, 0.5]])
    found = ontology.node_probabilities(p)
    np.testing.assert_allclose(found, [[1, 1, 0.5, 0.5, 0.2, 0.3, 0.5, 0.5, 0.5]], rtol=1e-15)
    for seed in range(5):
        one = random_dag(seed)
        p = draw(one)
        expected = [masses(one, row) for row in p]
        np.testing.assert_allclose(one.node_probabilities(p), expected, rtol=1e-12)
        assert one.node_probabilities(p.astype(np.float32)).dtype == np.float64


def check_decodings(one, p):
    """Each decoding against a loop over cells, with the masses of a loop over leaves."""
    leaves, paths = leaf_argmax(one, p), greedy(one, p)
    size = [sum(n in ancestors(one, int(leaf)) for leaf in one.leaves) for n in range(len(one))]
    sure = {at: reliable(one, p, at) for at in (0.3, 0.5, 0.9)}
    mass = one.node_probabilities(p)  # ties are ties to the last bit
    assert leaves.dtype == paths.dtype == sure[0.5].dtype == np.int32
    for i, row in enumerate(p):
        np.testing.assert_allclose(mass[i], masses(one, row), rtol=1e-12)
        assert leaves[i] == max(one.leaves.tolist(), key=lambda n, m=mass[i]: (m[n], -n))
        step = max((n for n in range(len(one)) if not one.parents[n]), key=lambda n: mass[i][n])
        walked = [step]
        while one.children[step]:
            step = max(one.children[step], key=lambda n: (mass[i][n], -n))
            walked.append(step)
        steps = paths.shape[1]
        np.testing.assert_array_equal(paths[i], (walked + [step] * steps)[:steps])
        for at, found in sure.items():
            enough = [n for n in range(len(one)) if mass[i][n] >= at]
            rank = lambda n, m=mass[i]: (size[n], -m[n], -len(ancestors(one, n)), n)
            roots = [n for n in range(len(one)) if not one.parents[n]]
            best = min(enough, key=rank) if enough else max(roots, key=lambda n: mass[i][n])
            assert found[i] == best


@pytest.mark.parametrize("seed", range(4))
def test_decodings_equal_loops(seed):
    one = random_dag(seed, nodes=14)
    check_decodings(one, draw(one, cells=25, seed=seed))


def test_decodings_can_disagree(ontology):
    p = np.array([[0.3, 0.3, 0.4]])
    assert leaf_argmax(ontology, p) == [PLASMA]
    # all are immune; T .6 against B .4; CD4 and CD8 are equal: the lower id
    np.testing.assert_array_equal(greedy(ontology, p), [[CELL, IMMUNE, T, CD4]])
    assert reliable(ontology, p, 0.35) == [PLASMA]
    assert reliable(ontology, p, 0.5) == [T]
    assert reliable(ontology, p, 0.7) == [IMMUNE]  # as sure as the cell, and deeper
    np.testing.assert_array_equal(  # a leaf that is less deep fills the row
        greedy(ontology.prune(["epithelial cell", "CD4 T cell"]), np.array([[0.1, 0.9]])),
        [[0, 4, 4, 4]],
    )


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (
            np.ones((2, 4)) / 4,
            r"found the shape \(2, 4\), expected \[cells, 3\]: the ontol",
        ),
        (np.ones(3) / 3, r"found the shape \(3,\)"),
        (np.array([[0.5, np.nan, 0.5]]), "negative or not finite"),
        (np.array([[1.5, -0.5, 0]]), "negative or not finite"),
        (np.array([[0.9, 0.9, 0.9]]), "rows sum to 2.7 … 2.7, expected 1: the softmax over the l"),
    ],
)
def test_what_is_no_distribution_is_refused(ontology, p, text):
    with pytest.raises(ValueError, match=text):
        ontology.node_probabilities(p)


def test_no_cells_and_no_p(ontology):
    none = np.zeros((0, 3))
    assert ontology.node_probabilities(none).shape == (0, 9)
    assert leaf_argmax(ontology, none).shape == reliable(ontology, none, 0.5).shape == (0,)
    assert greedy(ontology, none).shape == (0, 4)
    with pytest.raises(ValueError, match="p=1: expected a probability between 0 and 1"):
        reliable(ontology, np.ones((1, 3)) / 3, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            OBO.replace("name: immune cell", "name: immune cell\nis_a: CL:0000005"),
            r"form a cycle: CL:000000\d",
        ),
        (
            OBO.replace("is_a: CL:0000008", "is_a: CL:0000777"),
            "CL:0000009 is_a CL:0000777, wh",
        ),
        (OBO.replace("is_a: CL:0000008", "is_a: CL:0000010"), "is no term of it or obsolete"),
        (OBO.replace("CL:", "XX:"), "has no term CL:… that is not obsolete"),
        ("<html>\n\nno ontology at all\n", "small.obo: is no OBO file"),
        (OBO.replace("id: CL:0000004\n", ""), "small.obo: is no OBO file: 'id'"),
    ],
)
def test_a_bad_file_is_refused(path, text, says):
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        read_ontology(path)


def test_a_cycle_is_named_as_the_file_has_it(path):
    path.write_text(OBO.replace("name: T cell", "name: T cell\nis_a: CL:0000005"))
    t, cd4 = r"CL:0000003 \(T cell\)", r"CL:0000005 \(CD4 T cell\)"
    with pytest.raises(ValueError, match=f"{t} is_a {cd4} is_a {t}|{cd4} is_a {t} is_a {cd4}"):
        read_ontology(path)


def test_no_file_and_no_extra(tmp_path, path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no.obo: no such file; expected OBO, or 'c"):
        read_ontology(tmp_path / "no.obo")
    monkeypatch.setitem(sys.modules, "obonet", None)
    with pytest.raises(ImportError, match=r"needs obonet: pip install 'jaxcell\[ontology\]'"):
        read_ontology(path)
    monkeypatch.setitem(sys.modules, "cellxgene_ontology_guide.ontology_parser", None)
    with pytest.raises(ImportError, match=r"cellxgene-ontology-guide: pip install 'jaxcell\[onto"):
        read_ontology("cellxgene")


def test_a_remark_stands_in_for_the_version(path):
    path.write_text(OBO.replace("data-version: releases/2026-08-01", "remark: made by hand"))
    assert read_ontology(path).source == "small.obo (made by hand)"


def test_the_package_carries_the_cell_ontology():
    found = read_ontology("cellxgene")
    assert "cellxgene-ontology-guide" in found.source
    assert "CL v20" in found.source
    b = found.resolve("B cell")
    assert found.ids[b] == "CL:0000236"
    assert found.resolve("B lymphocyte") == b
    line = [found.names[i] for i in found.lineage(b)]
    assert line[0] == "cell"
    assert {"leukocyte", "lymphocyte"} < set(line)
    assert found.resolve("CL:0000003") is None  # deprecated
    with pytest.raises(ValueError, match="has no XX, but "):
        read_ontology("cellxgene", prefix="XX")


def test_importing_needs_numpy_alone():
    absent = ("obonet", "networkx", "cellxgene_ontology_guide", "scipy", "jax")
    code = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in absent)
    code += textwrap.dedent("import jaxcell.data.ontology_reading, jaxcell.data.decoding\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


DATA = Path(os.environ.get("JAXCELL_DATA", ROOT.parent / "shared" / "data"))
REAL = DATA / "annotation" / "cell_ontology"


def real_ontology():
    """The labels of the CELLxGENE corpus in the Cell Ontology: (pruned, labels)."""
    text = (REAL / "biomed_cellxgene_cell_type_vocabulary.txt").read_text()
    labels = [line for line in text.splitlines() if line.startswith("CL:")]
    return read_ontology(REAL / "cl.obo").prune(labels), labels


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no folder {REAL}; set JAXCELL_DATA")
def test_the_real_ontology_and_label_list():
    whole = read_ontology(REAL / "cl.obo")
    pruned, labels = real_ontology()
    assert len(whole) == 3008
    assert len(pruned) < len(whole)
    known = {pruned.resolve(label) for label in labels} - {None}
    assert set(pruned.leaves.tolist()) <= known  # every leaf is a label in use
    assert "9 of 580 labels" in pruned.unresolved(labels, [1] * len(labels))
    assert Ontology.from_json(pruned.to_json()) == pruned
    mask = pruned.mask(labels)
    for label, row in zip(labels, mask, strict=True):
        node = pruned.resolve(label)
        under = [] if node is None else [node in ancestors(pruned, int(x)) for x in pruned.leaves]
        np.testing.assert_array_equal(np.flatnonzero(row), np.flatnonzero(under))
    check_decodings(pruned, draw(pruned, cells=4))


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no folder {REAL}; set JAXCELL_DATA")
def test_thousands_of_cells_take_well_under_a_second():
    pruned, _ = real_ontology()
    p = draw(pruned, cells=4000)
    for decode in (leaf_argmax, greedy, lambda o, q: reliable(o, q, 0.7)):
        decode(pruned, p)
        start = time.perf_counter()
        decode(pruned, p)
        assert time.perf_counter() - start < 1
