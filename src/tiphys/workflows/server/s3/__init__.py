"""The local artifact store as an S3: what S3 clients need of it, and nothing that would make it a database.

signatures.py   who asks: AWS Signature Version 4 in headers, in the URL, and chunk by chunk (pure)
objects.py      buckets and objects as directories and files of the store
handler.py      requests and answers (aiohttp)
"""
