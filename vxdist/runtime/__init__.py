"""How processes run a stage: the predict loop, launch, strategies and heartbeat."""
