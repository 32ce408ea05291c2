"""How pods and services reach each other: addresses, service proxies, names.

    routes        what Services and EndpointSlices say, as plain forwards: address and port → back ends; pure
    dns_messages  DNS on the wire; pure
    names         the answers of cluster DNS; pure
    resolver      the DNS server: ours from `names`, everything else from the machine's resolvers
    proxy         the user-space proxy: one listener per forward, works everywhere
    nftables      the same forwards as a rule set of the kernel, where root allows it; pure
    forwarding    the forwards that a driver carries out: without pods that are about to end
    policies      what NetworkPolicies say, as isolations of addresses; pure
    policy_rules  isolations as rules of the kernel, and what to change when they do; pure
    isolation     keeps the rules in step with policies, pods and namespaces
    attachments   how a pod gets onto the network: the drivers
    ingress_rules what Ingresses say, as routes; pure
    ingress       the HTTP router that serves them
    outside       load balancers' addresses and the router, told in the status of Services and Ingresses
    manager       keeps all of it in step with the cluster

Drivers differ in where a forward listens and how a packet gets to a back end, never in what `routes` says.
"""
