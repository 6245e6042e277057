"""What lies in a source or a store, found with bounded memory and without writing anything."""
