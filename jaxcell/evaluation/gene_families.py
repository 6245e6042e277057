"""The functional families: rules in order of priority, a gene is of the first that takes it.

Source: BMFM-RNA, supplement 9.1. Its table has lost the signs between rules: cytosolic ribosome is
GO:0005840 *and* the symbols (those alone would take S6 kinases in), every other pair is an *or*.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A rule of the paper's table."""

    name: str
    symbols: str = ""  # regular expression of whole symbols
    go: tuple = ()  # terms; a gene of any of them is taken
    both: bool = False  # symbols and terms must both agree
    tf: str = ""  # start of a TFClass superclass; '*': any
    pathways: tuple = ()  # KEGG and Reactome sets that stand in for the terms


FAMILIES = (
    Family("Mitochondrial Genome", r"MT-.*"),
    Family("Ribosome (Cytosolic)", r"RP[LS](?!6K|19BP).*|FAU|UBA52", ("GO:0005840",), both=True),
    Family("Ribosome (Mitochondrial)", r"MRP[LS].*"),
    Family("MHC Class I (Classical)", r"HLA-[ABC]|B2M"),
    Family("MHC Class II", r"HLA-D.*"),
    Family("MHC Class I (Non-Classical)", r"HLA-[EFG]"),
    Family("MHC / Antigen Pres. (Other)", go=("GO:0042611",)),
    Family("TF: Zinc-Coordinating", tf="zinc-coordinating"),
    Family("TF: Helix-Turn-Helix", tf="helix-turn-helix"),
    Family("TF: Basic Domains", tf="basic domain"),
    Family("TF: Other (Structural)", tf="*"),
    Family("TF: Unclassified", go=("GO:0003700",)),
    Family("Cilia & Flagella", go=("GO:0005929",)),
    Family("Cytoskeleton & Motor", go=("GO:0005856", "GO:0003774", "GO:0003779")),
    Family("Histone", r"HIST.*|H2A.*|H2B.*|H3C.*|H4C.*"),
    Family("GTPase / Trafficking", go=("GO:0003924",)),
    Family("Kinase", go=("GO:0016301",)),
    Family("Phosphatase", go=("GO:0016791",)),
    Family(
        "Synapse", go=("GO:0045202",), pathways=("REACTOME_TRANSMISSION_ACROSS_CHEMICAL_SYNAPSES",)
    ),
    Family("Cell Adhesion", go=("GO:0007155",), pathways=("KEGG_CELL_ADHESION_MOLECULES_CAMS",)),
    Family("Cytokine / Growth Factor", go=("GO:0005125", "GO:0008083")),
    Family("Olfactory Receptor", r"OR\d.*"),
    Family("GPCR (Non-Olfactory)", go=("GO:0004930",)),
    Family("Ion Channel", go=("GO:0005216",), pathways=("REACTOME_ION_CHANNEL_TRANSPORT",)),
    Family(
        "Transporter (SLC/ABC)", r"SLC.*", ("GO:0005215",),
        pathways=(
            "KEGG_ABC_TRANSPORTERS",
            "REACTOME_ABC_FAMILY_PROTEINS_MEDIATED_TRANSPORT",
            "REACTOME_SLC_MEDIATED_TRANSMEMBRANE_TRANSPORT",
        ),
    ),
    Family("Surface Marker (CD)", r"CD\d.*"),
    Family("Cell Cycle", go=("GO:0007049",), pathways=("KEGG_CELL_CYCLE", "REACTOME_CELL_CYCLE")),
    Family("DNA Repair", go=("GO:0006281",), pathways=("REACTOME_DNA_REPAIR",)),
    Family(
        "Ubiquitin Ligase", go=("GO:0004842",), pathways=("KEGG_UBIQUITIN_MEDIATED_PROTEOLYSIS",)
    ),
    Family("Peptidase", go=("GO:0008233",)),
    Family(
        "Extracellular Matrix", go=("GO:0031012",),
        pathways=("REACTOME_EXTRACELLULAR_MATRIX_ORGANIZATION",),
    ),
    Family("RNA Binding", go=("GO:0003723",)),
    Family("Enzyme: Hydrolase", go=("GO:0016787",)),
    Family("Enzyme: Transferase", go=("GO:0016740",)),
    Family("Enzyme: Oxidoreductase", go=("GO:0016491",)),
    Family("Enzyme: Other", go=("GO:0016829", "GO:0016874", "GO:0016853")),
)  # fmt: skip
