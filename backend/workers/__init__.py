"""Workers: processes or containers that run a detector or the media pass, kept warm in a pool. ``pool`` is the way in."""
