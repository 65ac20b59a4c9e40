-- Card payments: only the columns that training needs, rows without Class dropped, AVRO.
SET 'auto.offset.reset' = 'earliest';

DEFINE source_stream = 'creditcardfraud_source';
DEFINE source_topic = 'creditcardfraud_source';
DEFINE source_format = 'DELIMITED';
DEFINE partitions = '2';
DEFINE training_stream = 'creditcardfraud_preprocessed_avro';
DEFINE training_topic = 'creditcardfraud_preprocessed_avro';

CREATE STREAM IF NOT EXISTS ${source_stream} (
  ID BIGINT, TIMESTAMP VARCHAR, USER VARCHAR, TIME INT, V1 DOUBLE, V2 DOUBLE, V3 DOUBLE,
  V4 DOUBLE, V5 DOUBLE, V6 DOUBLE, V7 DOUBLE, V8 DOUBLE, V9 DOUBLE, V10 DOUBLE, V11 DOUBLE,
  V12 DOUBLE, V13 DOUBLE, V14 DOUBLE, V15 DOUBLE, V16 DOUBLE, V17 DOUBLE, V18 DOUBLE, V19 DOUBLE,
  V20 DOUBLE, V21 DOUBLE, V22 DOUBLE, V23 DOUBLE, V24 DOUBLE, V25 DOUBLE, V26 DOUBLE, V27 DOUBLE,
  V28 DOUBLE, AMOUNT DOUBLE, CLASS VARCHAR
) WITH (
  KAFKA_TOPIC = '${source_topic}',
  VALUE_FORMAT = '${source_format}',
  PARTITIONS = ${partitions}
);

CREATE STREAM IF NOT EXISTS ${training_stream} WITH (
  KAFKA_TOPIC = '${training_topic}',
  VALUE_FORMAT = 'AVRO'
) AS SELECT
  TIME, V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, V13, V14, V15, V16, V17, V18, V19, V20,
  V21, V22, V23, V24, V25, V26, V27, V28, AMOUNT, CLASS
FROM ${source_stream}
WHERE CLASS IS NOT NULL
EMIT CHANGES;
