"""The server around the language: queries that run, the command log, and ksqlDB's REST API."""
