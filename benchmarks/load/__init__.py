"""Programs that put load on something, each a process of its own: `python -m benchmarks.load.<program> JOB OUTCOME`."""
