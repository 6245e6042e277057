"""Our parameters (or their gradients) by the names of torch's state dicts, for tests/reference.

Each function takes {'a/b/c': array} and gives {name: array}; linear weights are [out, in] there.
"""

import numpy as np

from jaxcell.sharding import path_of


def flat(tree):
    import jax

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_of(keys): np.asarray(leaf) for keys, leaf in leaves}


def _linear(found, p, path, name):
    found[f"{name}.weight"] = p[f"{path}/kernel"].T
    if f"{path}/bias" in p:
        found[f"{name}.bias"] = p[f"{path}/bias"]


def _norm(found, p, path, name):
    if f"{path}/scale" in p:
        found[f"{name}.weight"], found[f"{name}.bias"] = p[f"{path}/scale"], p[f"{path}/bias"]


def blocks(p, name):
    """The encoder's blocks as torch.nn.TransformerEncoderLayer has them."""
    found, of = {}, "encoder/blocks"
    for i in range(len(p[f"{of}/norm1/scale"])):
        q = {k.removeprefix(f"{of}/"): v[i] for k, v in p.items() if k.startswith(of)}
        width, own = q["norm1/scale"].shape[0], f"{name}.{i}"
        found[f"{own}.self_attn.in_proj_weight"] = q["attention/qkv/kernel"].reshape(width, -1).T
        found[f"{own}.self_attn.in_proj_bias"] = q["attention/qkv/bias"].reshape(-1)
        kernel = q["attention/out/kernel"].reshape(-1, width)
        found[f"{own}.self_attn.out_proj.weight"] = kernel.T
        found[f"{own}.self_attn.out_proj.bias"] = q["attention/out/bias"]
        _linear(found, q, "mlp/in", f"{own}.linear1")
        _linear(found, q, "mlp/out", f"{own}.linear2")
        for k in ("norm1", "norm2"):
            _norm(found, q, k, f"{own}.{k}")
    return found


def scformer(p):
    """Of `scformer.Scformer` and `bioformers.Bioformers`; the head mgm is their decoder."""
    found = blocks(p, "transformer_encoder.layers")
    found["encoder.embedding.weight"] = p["fields/gene/embedding"]
    _norm(found, p, "fields/gene/norm", "encoder.enc_norm")
    if "fields/value/rows" in p:
        found["value_encoder.embedding.weight"] = p["fields/value/rows"]
        _norm(found, p, "fields/value/norm", "value_encoder.enc_norm")
    else:
        found["value_encoder.linear1.weight"] = p["fields/value/in_kernel"].T
        found["value_encoder.linear1.bias"] = p["fields/value/in_bias"]
        _linear(found, p, "fields/value/out", "value_encoder.linear2")
        _norm(found, p, "fields/value/norm", "value_encoder.norm")
    if "fields/external/rows" in p:
        found["flag_encoder.weight"] = p["fields/external/rows"]
    if "fields/query/embedding" in p:
        found["query.weight"] = p["fields/query/embedding"]
    if "condition_batch/rows" in p:
        found["batch_encoder.embedding.weight"] = p["condition_batch/rows"]
        _norm(found, p, "condition_batch/norm", "batch_encoder.enc_norm")
    if "fields/norm/scale" in p:
        scale, bias = p["fields/norm/scale"], p["fields/norm/bias"]
        for k in range(len(scale)):
            name = "bn" if len(scale) == 1 else f"dsbn.bns.{k}"
            found[f"{name}.weight"], found[f"{name}.bias"] = scale[k], bias[k]
    _decoder(found, p)
    _mvc(found, p)
    for head, name in (("cls", "cls_decoder"), ("dar", "grad_reverse_discriminator")):
        if f"heads/{head}/out/kernel" in p:
            _classifier(found, p, f"heads/{head}", name)
    return found


def _decoder(found, p):
    if "heads/mgm/hidden_0/kernel" not in p:
        return _linear(found, p, "heads/mgm/out", "decoder")
    for prefix, name in (("", "decoder.fc"), ("zero_", "decoder.zero_logit")):
        for place, layer in ((0, "hidden_0"), (2, "hidden_1"), (4, "out")):
            if f"heads/mgm/{prefix}{layer}/kernel" in p:
                _linear(found, p, f"heads/mgm/{prefix}{layer}", f"{name}.{place}")


def _mvc(found, p):
    head, name = "heads/mvc", "mvc_decoder"
    if f"{head}/query/kernel" not in p:
        return
    _linear(found, p, f"{head}/query", f"{name}.gene2query")
    if f"{head}/product_kernel" in p:
        found[f"{name}.W.weight"] = p[f"{head}/product_kernel"].T
        if f"{head}/zero_kernel" in p:
            found[f"{name}.W_zero_logit.weight"] = p[f"{head}/zero_kernel"].T
            found[f"{name}.W_zero_logit.bias"] = p[f"{head}/zero_bias"]
        if f"{head}/out_kernel" in p:
            found[f"{name}.U.weight"] = p[f"{head}/out_kernel"].T
            found[f"{name}.U.bias"] = p[f"{head}/out_bias"]
        return
    kernels = [
        p[f"{head}/{k}/kernel"] for k in ("hidden_cell", "hidden") if f"{head}/{k}/kernel" in p
    ]
    found[f"{name}.fc1.weight"] = np.concatenate(kernels).T
    found[f"{name}.fc1.bias"] = p[f"{head}/hidden/bias"]
    found[f"{name}.hidden_activation.weight"] = p[f"{head}/slope"]
    _linear(found, p, f"{head}/out", f"{name}.fc2")
    if f"{head}/zero_out/kernel" in p:
        _linear(found, p, f"{head}/zero_out", f"{name}.zero_logit")


def _classifier(found, p, path, name):
    i = 0
    while f"{path}/hidden_{i}/kernel" in p:
        _linear(found, p, f"{path}/hidden_{i}", f"{name}._decoder.{3 * i}")
        _norm(found, p, f"{path}/norm_{i}", f"{name}._decoder.{3 * i + 2}")
        i += 1
    _linear(found, p, f"{path}/out", f"{name}.out_layer")


def bioformer(p, genes):
    """Of `bioformer.Bioformer`, whose CLS is a parameter of its own behind the genes' rows here."""
    found = blocks(p, "transformer.layers")
    table = p["fields/gene/embedding"]
    found["gene_embedding.weight"], found["cls"] = table[:genes], table[genes]
    found["value_embedding.weight"] = p["fields/value/rows"]
    found["study_embedding.weight"] = p["fields/study/rows"]
    if "fields/cell_type/rows" in p:
        found["cell_type_embedding.weight"] = p["fields/cell_type/rows"]
    _norm(found, p, "fields/norm", "norm")
    _linear(found, p, "heads/mlm/out", "mlm_head")
    _linear(found, p, "heads/regression/out", "cont_head")
    _linear(found, p, "heads/study/out", "adv_head")
    return found
