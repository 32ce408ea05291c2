"""How pods and services reach each other: addresses, service proxies, names.

    routes        what Services and EndpointSlices say, as plain forwards: address and port → back ends; pure
    dns_messages  DNS on the wire; pure
    names         the answers of cluster DNS; pure
    resolver      the DNS server: ours from `names`, everything else from the machine's resolvers
    proxy         the user-space proxy: one listener per forward, works everywhere
    nftables      the same forwards as a rule set of the kernel, where root allows it; pure

Drivers differ in where a forward listens and how a packet gets to a back end, never in what `routes` says.
"""
