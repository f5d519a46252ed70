"""Model spec, loading, the read, decode, encode, write pipeline, vector shards."""
