"""From harvested scores to a result: aggregation, assembly, the cache of scores."""
