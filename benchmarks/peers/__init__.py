"""gradstream beside what a Python user would otherwise take, on one broker, in one run; see README.md in this folder."""
