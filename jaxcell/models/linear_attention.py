"""Two attentions whose time and memory grow with T instead of T²: Performer and Nyströmformer.

B cells, Q query tokens, T tokens, H heads, C channels of one head, m random features, L landmarks.

Both stand in for ``attention(q, k, v, length)`` and, as there, depend on nothing but the cell's own
valid tokens: neither on padding nor on the other cells of the batch.
"""

import jax
import jax.numpy as jnp


def draw_features(key, number, channels):
    """Random directions for ``performer``: number = m, channels = C -> [m, C].

    Each row is distributed as N(0, 1) in every channel; the rows of a block of C are orthogonal,
    which lowers the variance, and blocks are independent. Source: Choromanski et al. 2021.
    """
    rows, lengths = jax.random.split(key)
    blocks = -(-number // channels)
    rows = jax.random.orthogonal(rows, channels, (blocks,)).reshape(-1, channels)[:number]
    # A row of unit length takes the length of a Gaussian vector, drawn for it alone.
    gaussian = jax.random.normal(lengths, (number, channels))
    return rows * jnp.linalg.norm(gaussian, axis=-1, keepdims=True)


def log_features(x, features):
    """Logarithm of the positive features φ, without their common factor m^-½.

    x [B, T, H, C], features [m, C] -> [B, T, H, m], in at least float32: w·x' - |x'|²/2 with
    x' = x C^-¼, so that the mean of φ(q) φ(k) over features estimates exp(q·k C^-½) without bias.
    Source: Choromanski et al. 2021, lemma 1.
    """
    wide, scale = _wide(x), x.shape[-1] ** -0.25
    # Features rounded to bfloat16 are other random features, the same ones for queries and keys.
    features = features.astype(x.dtype)
    along = jnp.einsum("bthc,mc->bthm", x, features, preferred_element_type=wide)
    square = jnp.square(x.astype(wide)).sum(axis=-1, keepdims=True)
    return scale * along - scale**2 / 2 * square


def performer(q, k, v, length, features):
    """Softmax attention estimated by positive random features (FAVOR+), in both directions.

    q [B, Q, H, C] (the first Q tokens), k, v [B, T, H, C], length [B] (valid prefix), features
    [m, C] -> [B, Q, H, C] in the dtype of ``v``. Rows beyond ``length`` hold numbers without
    meaning. Source: Choromanski et al. 2021, eq. 4 and lemma 1.

    Numerator and denominator are unbiased, their ratio is so up to O(1/m); its error falls as m^-½.

    φ(q)·Σ φ(k) v / φ(q)·Σ φ(k) is computed as two softmaxes, over the tokens for each feature and
    over the features for each query. Their stabilisers are the cell's own, and the denominator is
    at least 1 whatever the inputs, so that it needs no small constant, which would be a bias. With
    one stabiliser for all features φ(k) could underflow just where φ(q) is large.
    """
    valid, (q, k, v) = _clear(length, q, k, v)
    keys = log_features(k, features)
    keys = jnp.where(valid[:, :, None, None], keys, jnp.finfo(keys.dtype).min)  # φ = 0
    total = jax.nn.logsumexp(keys, axis=1, keepdims=True)
    shares = jnp.exp(keys - total).astype(v.dtype)
    read = jnp.einsum("bthm,bthc->bhmc", shares, v)
    weights = jax.nn.softmax(log_features(q, features) + total, axis=-1).astype(v.dtype)
    return jnp.einsum("bqhm,bhmc->bqhc", weights, read)


def nystrom(q, k, v, length, landmarks, iterations=6, queries=None):
    """Softmax attention through landmarks (Nyström), without the paper's convolution.

    q, k, v [B, T, H, C], length [B] (valid prefix) -> [B, Q, H, C] in the dtype of ``v``, of the
    first ``queries`` = Q tokens (None: all T). Rows beyond ``length`` hold numbers without meaning.
    Source: Xiong et al. 2021, algorithm 1.

    Landmarks are means of the queries and of the keys over consecutive segments of the cell's valid
    tokens: token t of n is of segment floor(t L / n), L = min(``landmarks``, n).

    ``iterations`` approach the inverse of the landmarks' own attention. A component that is nearly
    singular grows at most 3.25-fold in each: few leave it small, in float32 many would raise noise.
    """
    valid, (q, k, v) = _clear(length, q, k, v)
    wide = _wide(q)
    used, (q_marks, k_marks) = _landmarks(length, landmarks, q, k)
    from_tokens = _softmax(q[:, :queries], k_marks, used)  # [B, H, Q, L]
    to_tokens = _softmax(q_marks, k, valid)  # [B, H, L, T]
    # Unused landmarks become rows and columns of zeros, and stay so in the inverse.
    between = jnp.where(used[:, None, :, None], _softmax(q_marks, k_marks, used), 0)
    # The inverse may be large with both signs: what it meets is not rounded to bfloat16.
    read = jnp.einsum("bhlt,bthc->bhlc", to_tokens, v.astype(wide))
    read = jnp.matmul(_inverse(between, iterations), read, precision="highest")
    return jnp.einsum("bhql,bhlc->bqhc", from_tokens, read).astype(v.dtype)


def _inverse(a, iterations):
    """Moore-Penrose inverse by iteration: a [..., L, L], rows with sum 1 or 0 -> [..., L, L].

    Source: Xiong et al. 2021, lemma 1 and the initialisation given with it. The norm is that of
    each matrix; the public code takes the largest of the batch, which ties a cell to its
    neighbours.
    """
    # The largest row sum, the other norm of the initialisation, is 1 behind a softmax.
    columns = a.sum(axis=-2, keepdims=True).max(axis=-1, keepdims=True)
    one = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)

    def matmul(a, b):  # TF32 or bfloat16 products would stop the iteration at their own precision
        return jnp.matmul(a, b, precision="highest")

    def step(_, z):
        az = matmul(a, z)
        return matmul(z, 13 * one - matmul(az, 15 * one - matmul(az, 7 * one - az))) / 4

    return jax.lax.fori_loop(0, iterations, step, a.swapaxes(-1, -2) / columns)


def _landmarks(length, landmarks, *arrays):
    """Means over segments: arrays [B, T, H, C] -> which are used [B, L], means [B, L, H, C]."""
    n = jnp.maximum(length, 1)[:, None]
    number = jnp.minimum(landmarks, n)
    token = jnp.arange(arrays[0].shape[1])[None, :]
    segment = jnp.where(token < n, token * number // n, landmarks)  # padding: of none
    member = segment[:, :, None] == jnp.arange(landmarks)[None, None, :]
    size = jnp.maximum(member.sum(axis=1), 1)[:, :, None, None]

    def mean(x):
        # A product with zeros and ones: in a fixed order, which a scatter's sums are not on a GPU.
        wide = _wide(x)
        total = jnp.einsum("btl,bthc->blhc", member.astype(wide), x.astype(wide))
        return (total / size).astype(x.dtype)

    return jnp.arange(landmarks)[None, :] < number, [mean(x) for x in arrays]


def _softmax(q, k, valid):
    """Weights of valid keys: q [B, Q, H, C], k [B, K, H, C], valid [B, K] -> [B, H, Q, K]."""
    scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=_wide(q))
    scores = scores * q.shape[-1] ** -0.5
    scores = jnp.where(valid[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)


def _clear(length, *arrays):
    """Valid tokens [B, T], and the arrays with zeros at padding.

    A sum over tokens weighs padding with 0, which is no help where it holds inf or NaN.
    """
    tokens = max(x.shape[1] for x in arrays)
    valid = jnp.arange(tokens)[None, :] < length[:, None]
    return valid, [jnp.where(valid[:, : x.shape[1], None, None], x, 0) for x in arrays]


def _wide(x):
    return jnp.promote_types(x.dtype, jnp.float32)
