"""BioFormer (Ho & Le): names of its model, in training and at evaluation → ours."""

from jaxcell.conversion.rules.parts import linear, norm, torch_encoder
from jaxcell.conversion.torch import Rule

FIELDS, HEADS = "params/fields", "params/heads"
RULES = (
    Rule("gene_embedding.weight", f"{FIELDS}/gene/embedding", "tokens"),
    Rule("value_embedding.weight", f"{FIELDS}/value/rows"),
    Rule("cell_type_embedding.weight", f"{FIELDS}/cell_type/rows", "classes"),
    Rule("study_embedding.weight", f"{FIELDS}/study/rows", "classes"),  # of the training model
    *norm("norm", f"{FIELDS}/norm"),
    *torch_encoder("transformer.layers.{at}"),
    *linear("mlm_head", f"{HEADS}/mlm/out"),
    *linear("cont_head", f"{HEADS}/regression/out"),
    *linear("adv_head", f"{HEADS}/study/out"),  # of the training model
)
