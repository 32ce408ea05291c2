"""Requests that become conversations: exec, attach and port-forward, over WebSocket or SPDY/3.1; and the HTTP proxy.

| What | kubectl | Other clients | File |
|---|---|---|---|
| exec, attach | WebSocket v5 from 1.30 on, else SPDY/3.1 | WebSocket v4, base64 forms | ``remote.py`` |
| port-forward | SPDY/3.1 inside a WebSocket from 1.31 on, else SPDY/3.1 | WebSocket v4 channels | ``forwarding.py`` |
| the carriers of both | | | ``carriers.py``, ``channels.py`` |
| proxy | plain HTTP | | ``proxy.py`` |
"""
