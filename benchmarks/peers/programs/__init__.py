"""One file for each library that trains here.

They run in environments that have nothing of gradstream but this folder, so they import Python's own modules, each
other and the library that they are about.
"""
