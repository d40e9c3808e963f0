"""`edgecell bench`: what is asked for, the images, the runs, comparisons and tables."""
