"""The patch kinds of the Kubernetes API, as pure functions ``document, patch -> new document``.

Nothing is changed in place: the result shares with the document whatever the patch did not touch, and *is* the
document where it changed nothing.
"""
