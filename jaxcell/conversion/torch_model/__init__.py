"""Models of jaxcell in PyTorch, for those who have no JAX: the same numbers from the same weights.

    from jaxcell.conversion.torch_model import load

    model = load("exported")                    # jaxcell convert RUN exported --to torch
    vectors = model.embed(counts, gene_names)   # f32 [cells, D], as jaxcell.embed gives them

Only torch, numpy and safetensors are needed for `load` and a forward pass; nothing here imports
JAX. The modules compute what a model gives after training: dropout, stochastic depth and the
reversal of gradients are not there.
"""

from jaxcell.conversion.torch_model.cell import CellModel as CellModel
from jaxcell.conversion.torch_model.load import load as load
