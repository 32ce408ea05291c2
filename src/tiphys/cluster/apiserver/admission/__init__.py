"""What must be true of a write beyond its own kind's rules, and what is added to it: in the original's order.

| Question | File |
|---|---|
| In which order, and what is a request to it? | ``chain.py`` |
| Account, token, tolerations, priority of new pods; runtime classes | ``pods.py`` |
| Default classes, finalizers of volumes and claims | ``classes.py`` |
| LimitRange | ``limits.py`` |
| ResourceQuota | ``quota.py`` |
| Pod security standards | ``security.py``, ``standards.py`` |
| Which requests does a policy or webhook want? | ``matching.py`` |
| ValidatingAdmissionPolicy | ``policies.py`` |
| Webhooks | ``webhooks.py``, ``review.py`` |
"""
