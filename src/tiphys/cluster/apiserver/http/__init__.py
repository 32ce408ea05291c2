"""The API server's HTTP side: paths, bodies, representations, discovery, schemas. No rules of objects live here."""
