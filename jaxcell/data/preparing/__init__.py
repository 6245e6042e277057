"""What `prepare` does: orders, surveys, blocks of cells, and the files of a store."""
