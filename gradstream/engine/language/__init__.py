"""KSQL: text → tokens → tree → names and types → plan → generated Python over columns. No Kafka, no HTTP.

``plan.py`` is the door: parse, plan_statement, apply.
"""
