-- golden: the masks, with their defaults and with characters of one's own
-- in people: {"NAME": "Hans"}
CREATE STREAM people (NAME STRING) WITH (KAFKA_TOPIC='people', VALUE_FORMAT='JSON');
CREATE STREAM masked AS SELECT
  MASK(NAME) AS A, MASK_LEFT(NAME, 2) AS B, MASK_RIGHT(NAME, 2) AS C,
  MASK_KEEP_LEFT(NAME, 1) AS D, MASK_KEEP_RIGHT(NAME, 1) AS E,
  MASK_LEFT(NAME, 2, '*', '*', '*', '*') AS F, MASK_LEFT(NAME, 99) AS G FROM people;
-- out MASKED: {"A": "Xxxx", "B": "Xxns", "C": "Haxx", "D": "Hxxx", "E": "Xxxs", "F": "**ns", "G": "Xxxx"}

-- golden: comparisons with NULL are false, so their negation is true
-- in t: {"A": null, "B": 1}
CREATE STREAM t (A INT, B INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT A = B AS EQ, NOT (A = B) AS NE, A IS NULL AS N, A IS DISTINCT FROM B AS D,
  B BETWEEN 0 AND 2 AS BT, A NOT IN (1, 2) AS NI FROM t;
-- out O: {"EQ": false, "NE": true, "N": true, "D": true, "BT": true, "NI": true}

-- golden: arithmetic with NULL makes its whole item NULL, and only that
-- in t: {"A": null, "B": 5}
CREATE STREAM t (A INT, B INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT A + B AS SUM, B * 2 AS TWICE FROM t;
-- out O: {"SUM": null, "TWICE": 10}

-- golden: whole numbers truncate and refuse a zero, doubles do not
-- in t: {"I": 7, "Z": 0, "D": 7.0}
CREATE STREAM t (I INT, Z INT, D DOUBLE) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT I / 2 AS HALF, -I / 2 AS MINUS, I / Z AS NONE, D / 2 AS REAL, I % 4 AS REST FROM t;
-- out O: {"HALF": 3, "MINUS": -3, "NONE": null, "REAL": 3.5, "REST": 3}

-- golden: CASE takes the first branch that is true
-- in t: {"X": 5}
-- in t: {"X": 50}
-- in t: {"X": null}
CREATE STREAM t (X INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT CASE WHEN X < 10 THEN 'small' WHEN X < 100 THEN 'large' ELSE 'other' END AS SIZE FROM t;
-- out O: {"SIZE": "small"}
-- out O: {"SIZE": "large"}
-- out O: {"SIZE": "other"}

-- golden: CAST between text and numbers
-- in t: {"S": " 12 ", "D": 2.5}
-- in t: {"S": "twelve", "D": 1.0E10}
CREATE STREAM t (S STRING, D DOUBLE) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT CAST(S AS INT) AS I, CAST(D AS BIGINT) AS B, CAST(D AS STRING) AS T FROM t;
-- out O: {"I": 12, "B": 2, "T": "2.5"}
-- out O: {"I": null, "B": 10000000000, "T": "1.0E10"}

-- golden: LIKE, IN and BETWEEN filter rows
-- in t: {"ID": 1, "S": "alpha"}
-- in t: {"ID": 2, "S": "beta"}
-- in t: {"ID": 3, "S": "a%"}
-- in t: {"ID": 40, "S": "alpha"}
CREATE STREAM t (ID INT, S STRING) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT ID FROM t WHERE S LIKE 'a%' AND ID BETWEEN 1 AND 9 AND NOT S LIKE 'a!%' ESCAPE '!';
CREATE STREAM p AS SELECT ID FROM t WHERE S IN ('beta', 'gamma');
-- out O: {"ID": 1}
-- out P: {"ID": 2}

-- golden: functions on text
-- in t: {"S": " Hans Meier "}
CREATE STREAM t (S STRING) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT TRIM(S) AS T, UCASE(S) AS U, LEN(TRIM(S)) AS L, SUBSTRING(TRIM(S), 1, 4) AS FIRST,
  REPLACE(TRIM(S), ' ', '_') AS R, CONCAT(TRIM(S), '!') AS C, TRIM(S) + '?' AS P FROM t;
-- out O: {"T": "Hans Meier", "U": " HANS MEIER ", "L": 10, "FIRST": "Hans", "R": "Hans_Meier", "C": "Hans Meier!", "P": "Hans Meier?"}

-- golden: decimals keep their scale
-- in t: {"A": 1.10, "B": 2.205}
CREATE STREAM t (A DECIMAL(4, 2), B DECIMAL(5, 3)) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o WITH (VALUE_FORMAT='DELIMITED') AS SELECT A + B AS SUM, A * B AS PRODUCT FROM t;
-- out O: "3.305,2.42550"

-- golden: an unknown column is named with its place
CREATE STREAM t (AMOUNT INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT AMUONT FROM t;
-- error: column 'AMUONT' cannot be resolved. Did you mean AMOUNT?

-- golden: a number is not compared with text
CREATE STREAM t (A INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
CREATE STREAM o AS SELECT A FROM t WHERE A = 'one';
-- error: Cannot compare A (INTEGER) to 'one' (STRING) with EQUAL

-- golden: an unknown stream
CREATE STREAM o AS SELECT * FROM nowhere;
-- error: NOWHERE does not exist
