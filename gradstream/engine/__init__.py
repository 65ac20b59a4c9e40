"""The local KSQL engine: SQL in, columns through, ksqlDB's REST protocol out."""
