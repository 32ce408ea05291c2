"""Message brokers: Kafka in three distributions, RabbitMQ."""

from __future__ import annotations

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    When,
    amount,
    conditions,
    degraded,
    healthy,
    mapping,
    progressing,
    said,
    status_of,
    unknown,
    values,
)
from tiphys.cd.plan.health.reading import condition
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_RABBIT = "rabbitmq.com"


def banzai_health(obj: Object) -> Health:
    status, waiting = status_of(obj), progressing("Waiting for KafkaCluster")
    if status.get("state") == "ClusterRollingUpgrading":
        return progressing("Kafka Cluster is Rolling Upgrading.")
    if status.get("brokersState") is None:
        return waiting
    if not all(_is_broker_good(mapping(one)) for one in mapping(status["brokersState"]).values()):
        return degraded("Broker Config is out of Sync or CruiseControlState is not Ready")
    topic = status.get("cruiseControlTopicStatus")
    if topic == "CruiseControlTopicReady" and status.get("state") == "ClusterRunning":
        return healthy("Kafka Brokers, CruiseControl and cluster are in Healthy State.")
    if topic in (None, "CruiseControlTopicNotReady") and status.get("state") == "ClusterReconciling":
        return progressing("Kafka Cluster is Reconciling.")
    return waiting


def _is_broker_good(broker: object) -> bool:
    held = mapping(broker)
    state = mapping(held.get("gracefulActionState")).get("cruiseControlState")
    graceful = ("GracefulUpscaleSucceeded", "GracefulDownscaleSucceeded")
    return held.get("configurationState") == "ConfigInSync" and state in graceful


def strimzi_health(obj: Object) -> Health:
    """The brokers themselves: not being ready is normal while they are created."""
    for one in conditions_of(status_of(obj)):
        match one.get("type"), one.get("status"):
            case "NotReady", "True" if one.get("reason") != "Creating":
                return degraded(said(one))
            case "Ready", "True":
                return healthy()
    return progressing("Waiting for Kafka Cluster")


def _strimzi(waiting: str) -> Check:
    return conditions(
        When("NotReady", "True", "Degraded"), When("Ready", "True", "Healthy", ""), otherwise=progressing(waiting)
    )


def _confluent(name: str) -> Check:
    phases = {"RUNNING": healthy(f"{name} running"), "PROVISIONING": progressing(f"{name} provisioning")}
    return values("phase", phases, progressing(f"Waiting for {name}"))


def connector_health(obj: Object) -> Health:
    status = status_of(obj)
    failed = status.get("failedTasksCount")
    state = status.get("state")
    if state == "CREATED" and status.get("connectorState") == "RUNNING" and failed is None:
        return healthy("Connector running")
    if state == "ERROR":
        found = conditions_of(status)
        return degraded(said(found[0]) if found else "No conditions available")
    if state is not None and amount(failed) > 0:
        return degraded("Connector has failed tasks")
    return progressing("Waiting for Kafka Connector")


def _rabbit(name: str) -> Check:
    return conditions(
        When("Ready", "True", "Healthy", f"RabbitMQ {name} ready", "SuccessfulCreateOrUpdate"),
        When("Ready", "False", "Degraded", f"RabbitMQ {name} failed to be created or updated", "FailedCreateOrUpdate"),
        otherwise=unknown(f"RabbitMQ {name} status is unknown"),
    )


def rabbit_cluster_health(obj: Object) -> Health:
    status = status_of(obj)
    success = condition(status, "ReconcileSuccess")
    if success is not None and success.get("status") == "False":
        return degraded(said(success))
    available, ready = (
        (condition(status, name) or {}).get("status") for name in ("ClusterAvailable", "AllReplicasReady")
    )
    if "Unknown" in (available, ready):
        return progressing("Waiting for RabbitMQ cluster readiness (conditions unknown)")
    if available == "False":
        return progressing("Waiting for RabbitMQ cluster formation")
    if ready == "False":
        return progressing("Waiting for RabbitMQ instances ready")
    both = available == "True" and ready == "True"
    return healthy("RabbitMQ cluster ready") if both else progressing("Waiting for RabbitMQ Operator")


CHECKS: dict[tuple[str, str], Check] = {
    ("kafka.banzaicloud.io", "KafkaCluster"): banzai_health,
    ("kafka.strimzi.io", "Kafka"): strimzi_health,
    ("kafka.strimzi.io", "KafkaBridge"): _strimzi("Waiting for KafkaBridge"),
    ("kafka.strimzi.io", "KafkaConnect"): _strimzi("Waiting for Kafka Connect"),
    ("kafka.strimzi.io", "KafkaConnector"): _strimzi("Waiting for KafkaConnector"),
    ("kafka.strimzi.io", "KafkaTopic"): _strimzi("Waiting for Kafka Topic"),
    ("kafka.strimzi.io", "KafkaUser"): _strimzi("Waiting for Kafka User"),
    **{
        ("platform.confluent.io", name): _confluent(name)
        for name in ("Connect", "ControlCenter", "Kafka", "KsqlDB", "SchemaRegistry", "Zookeeper")
    },
    ("platform.confluent.io", "Connector"): connector_health,
    **{
        (_RABBIT, name): _rabbit(name.lower())
        for name in ("Binding", "Exchange", "Permission", "Policy", "Queue", "Shovel", "User", "Vhost")
    },
    (_RABBIT, "RabbitmqCluster"): rabbit_cluster_health,
}
