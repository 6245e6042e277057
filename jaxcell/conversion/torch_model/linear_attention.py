"""Attentions of linear cost. B cells, H heads, T tokens, C channels, m features, L landmarks.

q, k, v [B, H, T, C], valid bool [B, T] -> [B, H, T, C]; what is not valid has no part in it.
"""

import torch


def performer(q, k, v, valid, features):
    """Softmax attention estimated by positive random features [m, C] (Choromanski et al. 2021).

    φ(q)·Σ φ(k) v / φ(q)·Σ φ(k), as two softmaxes: over tokens for each feature, and over features
    for each query.
    """
    keep = valid[:, None, :, None]
    k, v = k * keep, v * keep
    keys = _log_features(k, features).masked_fill(~keep, -torch.inf)
    total = keys.logsumexp(dim=2, keepdim=True)  # [B, H, 1, m]
    read = (keys - total).exp().transpose(-1, -2) @ v  # [B, H, m, C]
    return (_log_features(q, features) + total).softmax(dim=-1) @ read


def _log_features(x, features):
    """Logarithm of the features of x [B, H, T, C] without their common factor: [B, H, T, m]."""
    scale = x.shape[-1] ** -0.25
    return scale * (x @ features.T) - scale**2 / 2 * x.square().sum(dim=-1, keepdim=True)


def nystrom(q, k, v, valid, landmarks, iterations):
    """Softmax attention through landmarks (Xiong et al. 2021, without its convolution).

    Landmarks are means over consecutive segments of a cell's valid tokens: token t of n is of
    segment floor(t L / n), L = min(``landmarks``, n).
    """
    keep = valid[:, None, :, None]
    q, k, v = q * keep, k * keep, v * keep
    used, member = _segments(valid, landmarks)
    size = member.sum(dim=1).clamp(min=1)[:, None, :, None]  # [B, 1, L, 1]
    mean = member.to(q.dtype).transpose(1, 2)[:, None]  # [B, 1, L, T]
    q_marks, k_marks = mean @ q / size, mean @ k / size
    from_tokens = _weights(q, k_marks, used)
    to_tokens = _weights(q_marks, k, valid)
    # Unused landmarks become rows and columns of zeros, and stay so in the inverse.
    between = _weights(q_marks, k_marks, used) * used[:, None, :, None]
    return from_tokens @ (_inverse(between, iterations) @ (to_tokens @ v))


def _segments(valid, landmarks):
    """Which landmarks are used [B, L], and which tokens are of each: bool [B, T, L]."""
    n = valid.sum(dim=1, keepdim=True).clamp(min=1)
    number = n.clamp(max=landmarks)
    token = torch.arange(valid.shape[1], device=valid.device)[None]
    segment = torch.where(token < n, token * number // n, landmarks)  # padding: of none
    place = torch.arange(landmarks, device=valid.device)
    return place < number, segment[:, :, None] == place


def _weights(q, k, valid):
    """Softmax over valid keys: q [B, H, Q, C], k [B, H, K, C], valid [B, K] -> [B, H, Q, K]."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return scores.masked_fill(~valid[:, None, None], -torch.inf).softmax(dim=-1)


def _inverse(a, iterations):
    """Moore-Penrose inverse by iteration: a [..., L, L], rows with sum 1 or 0 -> [..., L, L]."""
    one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    z = a.transpose(-1, -2) / a.sum(dim=-2, keepdim=True).amax(dim=-1, keepdim=True)
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * one - az @ (15 * one - az @ (7 * one - az))) / 4
    return z
