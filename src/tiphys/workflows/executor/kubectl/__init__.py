"""What ``kubectl VERB [FLAGS] -f MANIFEST`` does, through our own client: no kubectl, no process.

    names      what a server calls its resources (``cm``, ``jobs.batch``)
    flags      the command line after the verb
    manifests  YAML text to objects with their resources and namespaces
    verbs      get, create, apply, replace, patch, delete
    errors     failures in kubectl's words

Known are the flags of these verbs that mean something without a terminal. Where files are named (``-f``) there are
none: a resource template has no container file system of its own. Source of the behaviour: kubectl v0.35.
"""
