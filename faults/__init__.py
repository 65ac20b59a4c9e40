"""``gradstream chaos``: the fault laboratory. It kills what it can reach, and counts what that has cost.

``scenarios/`` holds one accident per file, ``lab.py`` the place where they happen, ``compare.py`` what is looked at
afterwards, and ``judge/`` a program that knows nothing of ours and accounts for every record.
"""
