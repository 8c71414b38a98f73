"""One file a step; steps that were released are never edited."""
