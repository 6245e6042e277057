"""Corpora as data: manifests, what they name, and what must be true of it."""
