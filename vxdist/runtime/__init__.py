"""How processes run a stage: launch, strategies, the predict loop and heartbeats."""
