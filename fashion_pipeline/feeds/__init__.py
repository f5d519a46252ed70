"""What a store sends: configuration, fetching bytes, readers and mappings."""
