"""Qdrant: the store interface and its adapters, collection, points, search."""
