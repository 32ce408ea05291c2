"""SPDY/3.1, the part that Kubernetes clients speak: many streams over one connection that was upgraded to it.

kubectl up to 1.29 execs over it, and every version forwards ports over it (newer ones inside a WebSocket). Not here:
server push, priorities, header frames after the first.
"""
