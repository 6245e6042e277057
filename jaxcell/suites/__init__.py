"""``jaxcell benchmark SUITE``: what the papers measured, one module a suite, over one runner."""
