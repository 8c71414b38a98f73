"""Room 3: detectors, forecasters and energy; no I/O."""
