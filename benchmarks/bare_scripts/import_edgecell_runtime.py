"""The runtime, and nothing else."""

import edgecell_runtime

print(edgecell_runtime.__name__, flush=True)
