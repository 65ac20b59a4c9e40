#!/bin/sh
# Kafka's programs under the names that they have in apache/kafka; under its own name, the class given first.
case ${0##*/kafka-} in
    storage.sh) class=kafka.tools.StorageTool ;;
    server-start.sh) class=kafka.Kafka ;;
    topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
    configs.sh) class=kafka.admin.ConfigCommand ;;
    broker-api-versions.sh) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
    consumer-groups.sh) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    *) class=$1 && shift ;;
esac
archive=/opt/kafka/config/classes.jsa  # of classes, so that Java need not read and check the jars again
test -f $archive && archive=-XX:SharedArchiveFile=$archive || archive=
# shellcheck disable=SC2086  several options in one variable are Kafka's custom
exec java ${KAFKA_HEAP_OPTS:--Xmx256m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    --sun-misc-unsafe-memory-access=allow $archive \
    -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties \
    -Dlog4j2.disableJmx=true $KAFKA_OPTS -cp '/opt/kafka/libs/*' "$class" "$@"
