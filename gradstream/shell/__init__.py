"""The user's side of KSQL: a client of ksqlDB's REST API and the command that applies files of statements."""
