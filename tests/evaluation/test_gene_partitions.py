"""Families and programs of genes: priority, exclusions, what is missing; small files by hand."""

import gzip
import json

import pytest

from jaxcell.evaluation import gene_sets
from jaxcell.evaluation.gene_families import FAMILIES
from jaxcell.evaluation.gene_partitions import partition

OBO = """format-version: 1.2
ontology: go

"""


def obo_text(edges=(), extra=""):
    """Every term that is asked for, and (child, relation, parent) beside."""
    wanted = {t for f in FAMILIES for t in f.go} | {"GO:0009408", "GO:0006986"}
    up = {}
    for child, relation, parent in edges:
        up.setdefault(child, []).append((relation, parent))
    text = OBO
    for term in sorted(wanted | set(up)):
        text += f"[Term]\nid: {term}\nname: {term}\n"
        for relation, parent in up.get(term, ()):
            line = f"is_a: {parent}" if relation == "is_a" else f"relationship: {relation} {parent}"
            text += line + "\n"
        text += (extra if term == "GO:0016301" else "") + "\n"
    return text


def gaf_text(rows):
    """[(symbol, qualifier, GO id)] as GAF 2.2."""
    lines = ["!gaf-version: 2.2"]
    for symbol, qualifier, term in rows:
        cells = ["UniProtKB", "P1", symbol, qualifier, term, "PMID:1", "IDA", "", "F", "", ""]
        lines.append("\t".join([*cells, "protein", "taxon:9606", "20250101", "UniProt", "", ""]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def put(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def families(symbols, files=None):
    return dict(zip(symbols, partition(symbols, [""] * len(symbols), files).labels["family"],
                    strict=True))  # fmt: skip


def test_the_papers_order():
    assert len(FAMILIES) + 1 == 37  # its 34 priorities, of which the fourth has four parts
    order = [f.name for f in FAMILIES]
    assert order[:4] == ["Mitochondrial Genome", "Ribosome (Cytosolic)", "Ribosome (Mitochondrial)",
                         "MHC Class I (Classical)"]  # fmt: skip
    assert order.index("Cell Cycle") < order.index("DNA Repair") < order.index("Ubiquitin Ligase")
    assert order[-1] == "Enzyme: Other"


def test_symbols_alone():
    said = {
        "MT-ND1": "Mitochondrial Genome", "MTOR": "Unclassified", "RPL3L": "Ribosome (Cytosolic)",
        "RPS4Y1": "Ribosome (Cytosolic)", "FAU": "Ribosome (Cytosolic)", "RPS6KA1": "Unclassified",
        "MRPL36": "Ribosome (Mitochondrial)", "HLA-A": "MHC Class I (Classical)",
        "B2M": "MHC Class I (Classical)", "HLA-DRB1": "MHC Class II",
        "HLA-G": "MHC Class I (Non-Classical)", "HLA-H": "Unclassified", "H2AZ1": "Histone",
        "H3-3B": "Unclassified", "OR4F5": "Olfactory Receptor", "ORC1": "Unclassified",
        "SLC2A1": "Transporter (SLC/ABC)", "CD34": "Surface Marker (CD)", "CDK1": "Unclassified",
    }  # fmt: skip
    assert families(list(said)) == said
    found = partition(list(said), [""] * len(said))
    assert "program" not in found.labels
    assert found.absent["program"]["identity_associated"] == "identity"
    assert found.absent["family"]["Kinase"] == "gaf and obo (GO:0016301)"
    assert found.absent["family"]["TF: Basic Domains"] == "tfclass"
    assert found.sources["family"]["Ribosome (Cytosolic)"].endswith(
        "without gaf and obo (GO:0005840)"
    )


def test_go_is_followed_to_all_descendants_in_priority_order(put):
    edges = [
        ("GO:1000001", "is_a", "GO:0016301"),  # below kinase
        ("GO:1000002", "part_of", "GO:1000001"),
        ("GO:1000003", "regulates", "GO:0016301"),  # a regulator is no kinase
        ("GO:0016301", "is_a", "GO:0016740"),  # a kinase is a transferase
        ("GO:0016301", "has_part", "GO:0003723"),  # points the other way
    ]
    rows = [
        ("K1", "enables", "GO:0016301"), ("K2", "enables", "GO:1000001"),
        ("K3", "part_of", "GO:1000002"), ("R", "involved_in", "GO:1000003"),
        ("N", "NOT|enables", "GO:0016301"), ("T", "enables", "GO:0016740"),
        ("OLD", "enables", "GO:9999999"), ("K1", "enables", "GO:0045202"),
        ("S", "is_active_in", "GO:0045202"), ("RPL1", "located_in", "GO:0005840"),
        ("RPS6KA1", "located_in", "GO:0005840"), ("RPS6KA1", "enables", "GO:0016301"),
        ("MYO1", "enables", "GO:0003779"), ("TF1", "enables", "GO:0003700"),
        ("TF2", "enables", "GO:0003700"), ("HLA-H", "part_of", "GO:0042611"),
        ("HLA-A", "part_of", "GO:0042611"), ("SLC9", "enables", "GO:0016787"),
        ("X", "enables", "GO:0005215"),
    ]  # fmt: skip
    gaf = put("go.gaf", gaf_text(rows))
    obo = put("go.obo", obo_text(edges, "alt_id: GO:9999999\n"))
    classes = {"TF1": "Zinc-coordinating DNA-binding domains", "TF3": "Basic domains"}
    classes |= {"TF4": "Immunoglobulin fold", "TF5": "Helix-turn-helix domains"}
    tf = put("tf.tsv", "\n".join(["gene\tsuperclass", *map("\t".join, classes.items())]))
    symbols = [*sorted({r[0] for r in rows}), "TF3", "TF4", "TF5", "RPL2"]
    assert families(symbols, {"gaf": gaf, "obo": obo, "tfclass": tf}) == {
        "K1": "Kinase", "K2": "Kinase", "K3": "Kinase", "OLD": "Kinase", "RPS6KA1": "Kinase",
        "R": "Unclassified", "N": "Unclassified", "T": "Enzyme: Transferase", "S": "Synapse",
        "RPL1": "Ribosome (Cytosolic)", "RPL2": "Unclassified",  # the term and the symbol, both
        "MYO1": "Cytoskeleton & Motor", "TF1": "TF: Zinc-Coordinating", "TF2": "TF: Unclassified",
        "TF3": "TF: Basic Domains", "TF4": "TF: Other (Structural)", "TF5": "TF: Helix-Turn-Helix",
        "HLA-H": "MHC / Antigen Pres. (Other)", "HLA-A": "MHC Class I (Classical)",
        "SLC9": "Transporter (SLC/ABC)", "X": "Transporter (SLC/ABC)",
    }  # fmt: skip
    packed = gaf.with_suffix(".gaf.gz")
    packed.write_bytes(gzip.compress(gaf.read_bytes()))
    assert gene_sets.read_go(packed, obo, ["GO:0016301"]) == {
        "GO:0016301": {"K1", "K2", "K3", "OLD", "RPS6KA1"}
    }


def test_gene_sets_stand_in_for_go_and_say_so(put):
    gmt = put("a.gmt", "DNA repair (GO:0006281)\t\tREP1\tBOTH\nKEGG_CELL_CYCLE\turl\tCYC1\tBOTH\n"
              "REACTOME_DNA_REPAIR\turl\tREP2\n")  # fmt: skip
    symbols = ["REP1", "REP2", "CYC1", "BOTH"]
    found = partition(symbols, [""] * 4, {"gmt": [gmt]})
    # The set with the term's id goes before pathways; cell cycle goes before repair.
    assert found.labels["family"] == ["DNA Repair", "Unclassified", "Cell Cycle", "Cell Cycle"]
    assert found.sources["family"]["DNA Repair"] == "DNA repair (GO:0006281)"
    assert found.sources["family"]["Cell Cycle"] == "KEGG_CELL_CYCLE, without GO:0007049"
    assert "DNA Repair" not in found.absent["family"]
    assert "state_cell_cycle" in found.absent["program"]  # a pathway is no GO branch there


LISTS = {
    "dissociation_van_den_brink_2017": ["FOS", "D_ID", "D_HK", "D_CC"],
    "cell_cycle_S": ["PCNA", "C_ID"],
    "cell_cycle_G2M": ["D_CC", "C_HK"],
    "eisenberg_housekeeping": ["D_HK", "C_HK", "HK", "HK_ID"],
    "something_else": ["ACTB"],
}
SYMBOLS = ["FOS", "D_ID", "D_HK", "D_CC", "PCNA", "C_ID", "C_HK", "HK", "HK_ID", "ID", "none"]


def programs(files, symbols=SYMBOLS):
    found = partition(symbols, [""] * len(symbols), files)
    return dict(zip(symbols, found.labels["program"], strict=True)), found


def test_programs_in_order_with_identity_out_of_the_states(put):
    hpa = put("hpa.tsv", "Gene\tEnsembl\tRNA single cell type specificity\n"
              "D_ID\te1\tCell type enriched\nC_ID\te2\tGroup enriched\nID\te3\tcell type enriched\n"
              "HK_ID\te4\tGroup enriched\nHK\te5\tLow cell type specificity\n"
              "none\te6\tCell type enhanced\n")  # fmt: skip
    lists = put("lists.json", json.dumps(LISTS))
    expected = {
        "FOS": "state_dissociation", "D_ID": "identity_associated", "D_HK": "state_dissociation",
        "D_CC": "state_dissociation", "PCNA": "state_cell_cycle", "C_ID": "identity_associated",
        "C_HK": "state_cell_cycle", "HK": "constitutive", "HK_ID": "constitutive",
        "ID": "identity_associated", "none": "unassigned",
    }  # fmt: skip
    labels, found = programs({"lists": lists, "identity": hpa})
    assert labels == expected
    assert found.absent["program"] == {}
    plain = put("identity.txt", "D_ID\nC_ID  # comment\n\nID\nHK_ID\n")
    assert programs({"lists": lists, "identity": plain})[0] == expected

    labels, found = programs({"lists": lists})
    assert labels["D_ID"] == "state_dissociation"
    assert labels["C_ID"] == "state_cell_cycle"
    assert labels["ID"] == "unassigned"
    assert found.absent["program"] == {"identity_associated": "identity"}
    assert "identity genes not taken out" in found.sources["program"]["state_dissociation"]
    assert "without GO:0009408 and GO:0006986" in found.sources["program"]["state_dissociation"]


def test_programs_of_go_and_of_single_files(put):
    rows = [("HEAT", "x", "GO:0009408"), ("UPR", "x", "GO:0006986"), ("CYC", "x", "GO:0007049")]
    files = {"gaf": put("a.gaf", gaf_text(rows)), "obo": put("a.obo", obo_text())}
    symbols = ["HEAT", "UPR", "CYC", "FOS", "PCNA", "AAAS"]
    labels, found = programs(files, symbols)
    assert (
        list(labels.values())
        == ["state_dissociation"] * 2 + ["state_cell_cycle"] + ["unassigned"] * 3
    )
    assert found.sources["program"]["state_dissociation"].startswith("GO:0009408, GO:0006986, wi")
    # The list joins the terms; the term replaces lists of cycling genes; own files go first.
    files["lists"] = put("l.json", json.dumps(LISTS))
    files["dissociation"] = put("d.txt", "UPR\nAAAS\n")
    labels, _ = programs(files, symbols)
    assert labels["AAAS"] == "state_dissociation"
    assert labels["FOS"] == labels["PCNA"] == "unassigned"
    eisenberg = put("hk.txt", "#Source: somewhere\nAAAS \tNM_015665\n")
    assert programs({"housekeeping": eisenberg}, symbols)[0]["AAAS"] == "constitutive"


def test_a_ready_table_is_used_as_it_is(put):
    table = put("t.tsv", "gene\tfamily\nRPL3\tmine\nENSG1\tother\nA\t\n")
    found = partition(["RPL3", "B", "A", "MT-ND1"], ["", "ENSG1", "", ""], {"table": table})
    assert found.labels["family"] == ["mine", "other", "Unclassified", "Unclassified"]
    assert found.sources["family"] == {"mine": "t.tsv", "other": "t.tsv"}
    assert found.absent["family"] == {}
    both = put("b.tsv", "gene\tprogram\tfamily\nA\tp\tf\n")
    found = partition(["A", "B"], ["", ""], {"table": both})
    assert found.labels == {"family": ["f", "Unclassified"], "program": ["p", "unassigned"]}


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("gmt", "A\turl\n", r"x, line 1: expected a name, a description and genes"),
        ("gmt", "A\turl\tFOS\nA\turl\tFOS\n", "line 2: the set A is there twice"),
        ("gmt", "A\turl\tFos\n", "x: names none of the genes"),
        ("lists", "{", "x: is no JSON"),
        ("lists", '{"a": ["FOS"]}', "x: has none of cell_cycle_S"),
        ("lists", '{"cell_cycle_S": []}', "cell_cycle_S is no list"),
        ("housekeeping", "# nothing\n", "x: holds no gene"),
        ("dissociation", "Fos\n", "x: names none of the 11 genes; expected human symbols"),
        ("tfclass", "symbol\tclass\nFOS\tb\n", "found the columns symbol, class, expected .* gene"),
        ("identity", "Gene\tx\nFOS\ty\n", "expected .* RNA single cell type specificity"),
        ("identity", "Gene\tRNA single cell type specificity\nFOS\tLow\n", "is nowhere cell type"),
        ("table", "gene\tx\nFOS\ty\n", "expected .* gene and family or program"),
        ("table", "gene\tfamily\nFOS\ta\nFOS\tb\n", "x: names a gene twice"),
        ("table", "gene\tfamily\nFOS\n", "line 2: expected 2 columns, found 1"),
        ("table", "gene\tfamily\nQ\ta\n", "names none of the 11 genes"),
    ],
)
def test_other_files_are_refused(put, kind, text, said):
    with pytest.raises(ValueError, match=said):
        partition(SYMBOLS, [""] * len(SYMBOLS), {kind: put("x", text)})


def test_go_files_that_are_not_are_refused(put):
    gaf, obo = put("a.gaf", gaf_text([("FOS", "x", "GO:0007049")])), put("a.obo", obo_text())
    with pytest.raises(ValueError, match="gaf needs obo, the Gene Ontology"):
        partition(SYMBOLS, [""] * len(SYMBOLS), {"gaf": gaf})
    with pytest.raises(FileNotFoundError, match=r"b\.obo: no such file"):
        gene_sets.read_go(gaf, gaf.with_name("b.obo"), ["GO:0007049"])
    with pytest.raises(ValueError, match=r"a\.gaf: holds no \[Term\]"):
        gene_sets.read_go(gaf, gaf, ["GO:0007049"])
    with pytest.raises(ValueError, match="has no GO:0000000; expected the Gene Ontology"):
        gene_sets.read_go(gaf, obo, ["GO:0000000"])
    with pytest.raises(ValueError, match=r"c\.gaf, line 1: expected a GAF"):
        gene_sets.read_go(put("c.gaf", "FOS\tGO:0007049\n"), obo, ["GO:0007049"])
    with pytest.raises(ValueError, match=r"e\.gaf: holds no annotation"):
        gene_sets.read_go(put("e.gaf", "!gaf-version: 2.2\n"), obo, ["GO:0007049"])
