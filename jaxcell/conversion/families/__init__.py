"""Who makes checkpoints: what each family's mean in our terms, one module a family."""
