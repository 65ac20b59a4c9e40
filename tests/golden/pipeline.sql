-- golden: the regression pipeline masks the sensor and drops rows without a target
-- in regression_source: "1,Hans-7,0.25,3.41"
-- in regression_source: "2,Anna-12,0.5,"
-- in regression_source: "3,Ute,-1.5,-0.125"
CREATE STREAM regression_source (ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE)
  WITH (KAFKA_TOPIC='regression_source', VALUE_FORMAT='DELIMITED');
CREATE STREAM regression_training WITH (KAFKA_TOPIC='regression_training', VALUE_FORMAT='AVRO') AS
  SELECT MASK_LEFT(SENSOR, 2) AS SENSOR, X1, Y FROM regression_source WHERE Y IS NOT NULL EMIT CHANGES;
-- out regression_training: {"SENSOR": "Xxns-7", "X1": 0.25, "Y": 3.41}
-- out regression_training: {"SENSOR": "Xxe", "X1": -1.5, "Y": -0.125}

-- golden: the fraud pipeline in small: columns kept, rows without Class dropped, text columns stay text
-- in payments: "7,2013-09-01T00:00:00,Hans Meier,0,-1.36,149.62,0"
-- in payments: "8,2013-09-01T00:00:01,Anna Weber,1,1.19,2.69,"
-- in payments: "9,2013-09-01T00:00:02,Mia Koch,2,-2.31,0,1"
CREATE STREAM payments (Id BIGINT, Timestamp VARCHAR, User VARCHAR, Time INT, V1 DOUBLE, Amount DOUBLE, Class VARCHAR)
  WITH (KAFKA_TOPIC='payments', VALUE_FORMAT='DELIMITED');
CREATE STREAM preprocessed WITH (VALUE_FORMAT='AVRO') AS
  SELECT Time, V1, Amount, Class FROM payments WHERE Class IS NOT NULL EMIT CHANGES;
-- out PREPROCESSED: {"TIME": 0, "V1": -1.36, "AMOUNT": 149.62, "CLASS": "0"}
-- out PREPROCESSED: {"TIME": 2, "V1": -2.31, "AMOUNT": 0.0, "CLASS": "1"}

-- golden: a missing class can be given a value, by text and not by a number
-- in payments: "7,1"
-- in payments: "8,"
CREATE STREAM payments (Id BIGINT, Class VARCHAR) WITH (KAFKA_TOPIC='payments', VALUE_FORMAT='DELIMITED');
CREATE STREAM classes AS SELECT Id, IFNULL(Class, '-1') AS Class FROM payments;
-- out CLASSES: "7,1"
-- out CLASSES: "8,-1"

-- golden: IFNULL wants one type
CREATE STREAM payments (Id BIGINT, Class VARCHAR) WITH (KAFKA_TOPIC='payments', VALUE_FORMAT='DELIMITED');
CREATE STREAM classes AS SELECT Id, IFNULL(Class, -1) AS Class FROM payments;
-- error: Function 'IFNULL' does not accept parameters (STRING, INTEGER)

-- golden: one format into another, three times
-- in wire: "1,a b,2.5,true"
CREATE STREAM wire (I INT, S STRING, D DOUBLE, B BOOLEAN) WITH (KAFKA_TOPIC='wire', VALUE_FORMAT='DELIMITED');
CREATE STREAM as_json WITH (VALUE_FORMAT='JSON') AS SELECT * FROM wire;
CREATE STREAM as_avro WITH (VALUE_FORMAT='AVRO') AS SELECT * FROM as_json;
CREATE STREAM as_text WITH (VALUE_FORMAT='DELIMITED', VALUE_DELIMITER='|') AS SELECT * FROM as_avro;
-- out AS_JSON: {"I": 1, "S": "a b", "D": 2.5, "B": true}
-- out AS_AVRO: {"I": 1, "S": "a b", "D": 2.5, "B": true}
-- out AS_TEXT: "1|a b|2.5|true"

-- golden: rows that cannot be read are left out, and the query goes on
-- in wire: "1,2.5"
-- in wire: "one,2.5"
-- in wire: "3"
-- in wire: "4,4.5,extra"
-- in wire: "5,"
CREATE STREAM wire (I INT, D DOUBLE) WITH (KAFKA_TOPIC='wire', VALUE_FORMAT='DELIMITED');
CREATE STREAM good AS SELECT * FROM wire;
-- out GOOD: "1,2.5"
-- out GOOD: "5,"
