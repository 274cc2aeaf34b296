"""Programs that use the SDK or the API; they import neither orchestrator nor worker."""
