"""Registries: names, manifests, credentials and the client, for whoever pulls: nodes images, CD charts and artifacts.

What is done with a blob once it is here is the caller's business (`Blobs` in ``registry.py``).
"""
