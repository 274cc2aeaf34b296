"""The orchestrator: accepts jobs, unrolls them into tasks, and has workers run them."""
