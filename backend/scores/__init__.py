"""From harvested scores to a result: aggregation, assembling, the cache of scores."""
