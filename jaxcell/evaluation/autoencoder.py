"""A linear autoencoder: what gradient descent makes of PCA's problem.

n cells, g genes, k units of the code.
"""

from functools import partial

import numpy as np

BATCH = 128  # cells of a step
STEPS = 1000  # whatever the number of cells: the cost is bounded
LEARNING_RATE = 1e-3


def standardisation(x):
    """Mean and standard deviation of each gene; 1 where a gene does not vary.

    x [n, g] (CSR) -> float32 [g], float32 [g]
    """
    x = x.astype(np.float64)
    mean = np.asarray(x.mean(axis=0)).ravel()
    variance = np.asarray(x.multiply(x).mean(axis=0)).ravel() - mean**2
    sd = np.sqrt(np.where(variance > 1e-12, variance, 1.0))
    return mean.astype(np.float32), sd.astype(np.float32)


def fit(x, k, seed):
    """Train encoder and decoder: minimise ‖z − (z E + a) D − b‖² / (cells · genes).

    z is x standardised by its own genes. Adam at a constant 1e-3, 1000 steps of 128 cells, initial
    weights uniform in ±1/√fan-in. At its optimum the code spans PCA's subspace of z; it is not
    orthogonalised, so distances and a penalised probe differ from PCA's.

    Parameters
    ----------
    x : CSR [n, g]
        (Lib+Log)Norm of the cells to fit on.
    k : int
    seed : int
        Of the initial weights and the order of the cells: the same seed, the same code.

    Returns
    -------
    function
        CSR [., g] -> code, float32 [., k].
    """
    import jax
    import jax.numpy as jnp
    import optax

    n, g = x.shape
    mean, sd = standardisation(x)
    rng = np.random.default_rng(seed)

    def weights(rows, columns):
        return rng.uniform(-1, 1, (rows, columns)).astype(np.float32) / np.float32(np.sqrt(rows))

    params = {
        "encoder": weights(g, k),
        "decoder": weights(k, g),
        "code": np.zeros((1, k), np.float32),
        "output": np.zeros((1, g), np.float32),
    }
    adam = optax.adam(LEARNING_RATE)

    def loss(params, z):
        code = z @ params["encoder"] + params["code"]
        return jnp.square(code @ params["decoder"] + params["output"] - z).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, counts):
        grads = jax.grad(loss)(params, (counts - mean[None]) / sd[None])
        updates, state = adam.update(grads, state)
        return optax.apply_updates(params, updates), state

    with jax.enable_x64(False):
        params = jax.tree.map(jnp.asarray, params)
        state = adam.init(params)
        size = min(BATCH, n)
        order = np.empty(0, int)
        for _ in range(STEPS):
            if len(order) < size:
                order = np.concatenate([order, rng.permutation(n)])
            params, state = step(params, state, x[order[:size]].toarray())
            order = order[size:]
    encoder = np.asarray(params["encoder"]) / sd[:, None]
    shift = np.asarray(params["code"][0]) - mean @ encoder
    return lambda cells: np.asarray(cells @ encoder + shift, np.float32)
