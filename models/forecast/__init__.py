"""What comes next, in quantile bands, and when a limit is crossed; the only package that imports torch, and late."""
