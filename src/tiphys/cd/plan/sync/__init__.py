"""The sync engine, as pure functions.

| Concept | File |
|---|---|
| a task: one object in one phase; results as they are stored | ``tasks.py`` |
| the tasks of a sync in their order: phases, waves, kinds, dependencies, prune waves | ``order.py`` |
| what a task asks of the cluster, and what it answers | ``operations.py`` |
| one pass over the tasks: dry run, hooks, waves, prune, apply, terminate | ``run.py`` |
"""
