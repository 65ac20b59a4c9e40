-- Payments as production has them: names masked, those without a class dropped, AVRO for the trainer.
CREATE STREAM payments (ID BIGINT, NAME VARCHAR, AMOUNT DOUBLE, CLASS VARCHAR)
  WITH (KAFKA_TOPIC='payments', VALUE_FORMAT='DELIMITED');

CREATE STREAM payments_training WITH (KAFKA_TOPIC='payments_training', VALUE_FORMAT='AVRO') AS
  SELECT MASK(NAME) AS NAME, AMOUNT, CLASS FROM payments WHERE CLASS IS NOT NULL;
