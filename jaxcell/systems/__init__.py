"""What the published systems are, as changes of the default config; configs/ names them."""
