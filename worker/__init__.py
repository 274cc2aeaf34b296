"""The program that joins an orchestrator and runs its tasks in slot processes."""
