"""Product feeds of fashion stores, as clean PostgreSQL rows and FashionSigLIP vectors in Qdrant."""
