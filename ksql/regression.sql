-- Regression with 1 feature: names of sensors masked, rows without Y dropped, AVRO.
SET 'auto.offset.reset' = 'earliest';

DEFINE source_stream = 'regression_source';
DEFINE source_topic = 'regression_source';
DEFINE source_format = 'DELIMITED';
DEFINE partitions = '2';
DEFINE training_stream = 'regression_training';
DEFINE training_topic = 'regression_training';

CREATE STREAM IF NOT EXISTS ${source_stream} (
  ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE
) WITH (
  KAFKA_TOPIC = '${source_topic}',
  VALUE_FORMAT = '${source_format}',
  PARTITIONS = ${partitions}
);

CREATE STREAM IF NOT EXISTS ${training_stream} WITH (
  KAFKA_TOPIC = '${training_topic}',
  VALUE_FORMAT = 'AVRO'
) AS SELECT
  MASK_LEFT(SENSOR, 2) AS SENSOR, X1, Y
FROM ${source_stream}
WHERE Y IS NOT NULL
EMIT CHANGES;
