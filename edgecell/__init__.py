"""The edgecell command line, and what only a workstation needs around the rooms."""
