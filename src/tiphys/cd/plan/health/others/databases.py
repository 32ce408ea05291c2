"""Databases: PostgreSQL, MariaDB, MongoDB, Cassandra, ClickHouse, Solr, ZooKeeper, schema migrations."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    Condition,
    amount,
    degraded,
    healthy,
    listed,
    mapping,
    progressing,
    reason,
    said,
    spec_of,
    status_of,
    suspended,
    unknown,
)
from tiphys.cd.plan.health.reading import condition
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

REPORT = (
    "Ensure your ArgoCD is current and then check for/file a bug report: https://github.com/argoproj/argo-cd/issues"
)
_CNPG_PHASES: dict[str, HealthStatus] = {
    "Cluster in healthy state": "Healthy",
    "Setting up primary": "Progressing",
    "Creating a new replica": "Progressing",
    "Upgrading cluster": "Progressing",
    "Waiting for the instances to become active": "Progressing",
    "Promoting to primary cluster": "Progressing",
    "Switchover in progress": "Degraded",
    "Failing over": "Degraded",
    "Upgrading Postgres major version": "Degraded",
    "Cluster upgrade delayed": "Degraded",
    "Waiting for user action": "Degraded",
    "Primary instance is being restarted in-place": "Degraded",
    "Primary instance is being restarted without a switchover": "Degraded",
    "Cluster cannot execute instance online upgrade due to missing architecture binary": "Degraded",
    "Online upgrade in progress": "Degraded",
    "Applying configuration": "Degraded",
    "Unable to create required cluster objects": "Suspended",
    "Cluster cannot proceed to reconciliation due to an unknown plugin being required": "Suspended",
    "Cluster has incomplete or invalid image catalog": "Suspended",
    "Cluster is unrecoverable and needs manual intervention": "Suspended",
}


def zalando_health(obj: Object) -> Health:
    status = status_of(obj).get("PostgresClusterStatus")
    match status:
        case None:
            return progressing("Waiting for postgres cluster status...")
        case "Running":
            return healthy("Running")
        case "Creating" | "Updating":
            return progressing(status)
    return degraded(str(status))


def cloud_native_health(obj: Object) -> Health:
    annotations = mapping(mapping(obj.get("metadata")).get("annotations"))
    if annotations.get("cnpg.io/reconciliationLoop") == "disabled":
        return suspended("Cluster reconciliation is suspended")
    status = status_of(obj)
    text = str(status.get("phaseReason") or "")
    if status.get("conditions") is None:
        return progressing(text)
    hibernation = condition(status, "cnpg.io/hibernation")
    if hibernation is not None:
        return (suspended if hibernation.get("status") == "True" else degraded)(said(hibernation))
    return Health(_CNPG_PHASES.get(str(status.get("phase")), "Unknown"), text)


def _click_house(name: str, short: str) -> Check:
    def check(obj: Object) -> Health:
        match status_of(obj).get("status"):
            case None:
                return progressing(f"{short} status not yet available")
            case "Completed":
                return healthy(f"{name} installation completed successfully")
            case "InProgress":
                return progressing(f"{name} installation in progress")
            case other:
                return degraded(f"{short} status: {other}")

    return check


def cassandra_health(obj: Object) -> Health:
    waiting, racks = progressing("Waiting for Cassandra Cluster"), status_of(obj).get("racks")
    if racks is None:
        return waiting
    counts = [(one.get("members"), one.get("readyMembers")) for one in map(mapping, mapping(racks).values())]
    return healthy() if all(None in pair or pair[0] == pair[1] for pair in counts) else waiting


def _atlas(words: str) -> Check:
    """``words`` is the field of the condition that says whether it is still being reconciled."""

    def check(obj: Object) -> Health:
        found = condition(status_of(obj), "Ready")
        if found is None:
            return progressing("Waiting for Atlas Operator")
        if found.get("status") == "True":
            return healthy(reason(found))
        busy = ("Reconciling",) if words == "reason" else ("Reconciling", "GettingDevDB")
        return (progressing if found.get(words) in busy else degraded)(reason(found))

    return check


def elasticsearch_health(obj: Object) -> Health:
    status = status_of(obj)
    available = status.get("availableNodes")
    wanted = sum(amount(one.get("count")) for one in listed(spec_of(obj).get("nodeSets")))
    if available is not None and amount(available) < wanted:
        text = f"The desired amount of availableNodes is {wanted:g} but the current amount is {amount(available):g}"
        return progressing(text)
    if available is not None and amount(available) == wanted and status.get("health") is not None:
        found = _elasticsearch_phase(status)
        if found is not None:
            return found
    return unknown(f"Elasticsearch Cluster status is unknown. {REPORT}")


def _elasticsearch_phase(status: Any) -> Health | None:
    hint = "Check the status of indices, replicas and shards"
    match status.get("phase"), status.get("health"):
        case "Ready", "green":
            return healthy("Elasticsearch Cluster status is Green")
        case "Ready", "yellow":
            return progressing(f"Elasticsearch Cluster status is Yellow. {hint}")
        case "Ready", "red":
            return degraded(f"Elasticsearch Cluster status is Red. {hint}")
        case "ApplyingChanges" | "MigratingData" as phase, _:
            return progressing(f"Elasticsearch phase is {phase}")
        case "Invalid", _:
            return degraded("Elasticsearch phase is Invalid")
    return None


_NOTHING = progressing("No status info available")


def _both(one: Condition) -> str:
    return f"{reason(one)} {said(one)}"


def mariadb_health(obj: Object) -> Health:
    """Every condition must be met; the last one's message stands."""
    if status_of(obj).get("conditions") is None:
        return _NOTHING
    text = ""
    for one in conditions_of(status_of(obj)):
        text = said(one)
        if one.get("status") == "False":
            return (degraded if one.get("reason") == "Failed" else progressing)(text)
    return healthy(text)


def mariadb_backup_health(obj: Object) -> Health:
    if status_of(obj).get("conditions") is None:
        return _NOTHING
    text = ""
    for one in conditions_of(status_of(obj)):
        text = _both(one)
        if one.get("status") == "False":
            has_failed = one.get("reason") == "CronJobScheduled" and one.get("message") == "Failed"
            return (degraded if has_failed else progressing)(text)
    return healthy(text)


def mariadb_job_health(obj: Object) -> Health:
    text = _NOTHING.message
    for one in conditions_of(status_of(obj)):
        text = _both(one)
        if one.get("status") == "True" and one.get("reason") in ("JobComplete", "JobFailed"):
            return healthy(text) if one["reason"] == "JobComplete" else degraded(text)
    return progressing(text)


def mariadb_part_health(obj: Object) -> Health:
    text = _NOTHING.message
    for one in conditions_of(status_of(obj)):
        text = said(one)
        if one.get("type") == "Ready":
            return healthy(text) if one.get("status") == "True" else degraded(text)
    return progressing(text)


def _nodes(status: Any) -> str:
    return f"{status.get('ready', '')}/{status.get('size', '')} node(s) are ready"


def mongodb_health(obj: Object) -> Health:
    states: dict[str, HealthStatus] = {
        "initializing": "Progressing",
        "ready": "Healthy",
        "error": "Degraded",
        "stopping": "Progressing",
        "paused": "Suspended",
    }
    if obj.get("status") is None:
        return unknown("Cluster status is unknown")
    status = status_of(obj)
    return Health(states.get(str(status.get("state")), "Unknown"), _nodes(status))


def xtradb_health(obj: Object) -> Health:
    status = status_of(obj)
    match status.get("state"):
        case "initializing":
            return progressing(_nodes(status))
        case "ready":
            return healthy(_nodes(status))
        case "paused":
            return unknown("Cluster is paused")
        case "stopping":
            return degraded(f"Cluster is stopping ({_nodes(status)})")
        case "error":
            texts = status.get("message")
            said_all = ", ".join(map(str, texts)) if isinstance(texts, list) else str(texts or "")
            return degraded(f"Cluster is on error: {said_all}")
    return unknown(f"Cluster status is unknown. {REPORT}")


def solr_health(obj: Object) -> Health:
    nodes = status_of(obj).get("solrNodes")
    if nodes is None:
        return progressing("Waiting for solr to exist")
    if not all(one.get("ready") for one in listed(nodes)):
        return progressing("Not all replicas are ready")
    return healthy("Solr is ready")


def zookeeper_health(obj: Object) -> Health:
    status = status_of(obj)
    running = status.get("readyReplicas")
    if obj.get("status") is not None and running != 0 and running == status.get("replicas"):
        return healthy("All ZK Nodes have joined the ensemble")
    return progressing("Waiting for ZK Nodes to join the ensemble")


CHECKS: dict[tuple[str, str], Check] = {
    ("acid.zalan.do", "postgresql"): zalando_health,
    ("cassandra.rook.io", "Cluster"): cassandra_health,
    ("clickhouse-keeper.altinity.com", "ClickHouseKeeperInstallation"): _click_house(
        "ClickHouseKeeper", "ClickHouseKeeper"
    ),
    ("clickhouse.altinity.com", "ClickHouseInstallation"): _click_house("ClickHouse", "ClickHouse"),
    ("db.atlasgo.io", "AtlasMigration"): _atlas("reason"),
    ("db.atlasgo.io", "AtlasSchema"): _atlas("message"),
    ("elasticsearch.k8s.elastic.co", "Elasticsearch"): elasticsearch_health,
    ("k8s.mariadb.com", "Backup"): mariadb_backup_health,
    ("k8s.mariadb.com", "MariaDB"): mariadb_health,
    ("k8s.mariadb.com", "SqlJob"): mariadb_job_health,
    **{("k8s.mariadb.com", name): mariadb_part_health for name in ("Database", "Grant", "User")},
    ("mariadb.mmontes.io", "MariaDB"): mariadb_health,
    ("postgresql.cnpg.io", "Cluster"): cloud_native_health,
    ("psmdb.percona.com", "PerconaServerMongoDB"): mongodb_health,
    ("pxc.percona.com", "PerconaXtraDBCluster"): xtradb_health,
    ("solr.apache.org", "SolrCloud"): solr_health,
    ("zookeeper.pravega.io", "ZookeeperCluster"): zookeeper_health,
}
