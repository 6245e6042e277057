"""Ablations: a default arm and arms that differ from it in one thing, trained and measured alike.

A suite is data (`suites`): arms around a default config, budgets, the experiment's files, and a
bench that prepares these and measures a model. `runner.ablate` runs any of them.
"""
