"""Performer and Nyströmformer attention of one cell, plain torch, written from the papers.

No batch, no padding, no stabiliser: n tokens, H heads, C channels of one head, m features.
"""

import math

import torch


def exact(q, k, v):
    """Softmax attention: q [Q, H, C], k, v [n, H, C] -> [Q, H, C]."""
    return _heads(lambda q, k, v: _softmax(q, k) @ v, q, k, v)


def performer(q, k, v, features):
    """FAVOR+, Choromanski et al. 2021: eq. 4 and lemma 1, features [m, C]."""

    def phi(x):
        x = x / x.shape[-1] ** 0.25
        h = torch.exp(-(x**2).sum(-1, keepdim=True) / 2)
        return h / math.sqrt(len(features)) * torch.exp(x @ features.T)

    def one(q, k, v):
        numerator = phi(q) @ (phi(k).T @ v)
        denominator = phi(q) @ (phi(k).T @ torch.ones(len(k), 1, dtype=k.dtype))
        return numerator / denominator

    return _heads(one, q, k, v)


def nystrom(q, k, v, landmarks, iterations):
    """Xiong et al. 2021, algorithm 1 without the skip connection: softmax · pinv · softmax · v."""

    def one(q, k, v):
        q_mean, k_mean = segment_means(q, landmarks), segment_means(k, landmarks)
        a = _softmax(q_mean, k_mean)
        inverse = pseudo_inverse(a, iterations)
        return _softmax(q, k_mean) @ inverse @ _softmax(q_mean, k) @ v

    return _heads(one, q, k, v)


def segment_means(x, landmarks):
    """x [n, C] -> [min(landmarks, n), C], consecutive segments as equal as they can be."""
    n = len(x)
    number = min(landmarks, n)
    parts = [[x[t] for t in range(n) if t * number // n == s] for s in range(number)]
    return torch.stack([torch.stack(part).mean(0) for part in parts])


def pseudo_inverse(a, iterations):
    """Lemma 1, from a' over the product of a's 1-norm and its ∞-norm."""
    z = a.T / (torch.linalg.norm(a, 1) * torch.linalg.norm(a, math.inf))
    one = torch.eye(len(a), dtype=a.dtype)
    for _ in range(iterations):
        z = z @ (13 * one - a @ z @ (15 * one - a @ z @ (7 * one - a @ z))) / 4
    return z


def _softmax(q, k):
    scores = torch.exp(q @ k.T / math.sqrt(q.shape[-1]))
    return scores / scores.sum(-1, keepdim=True)


def _heads(one, q, k, v):
    return torch.stack([one(q[:, h], k[:, h], v[:, h]) for h in range(q.shape[1])], dim=1)
