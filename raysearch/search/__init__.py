"""The search: which trial comes next, which one stops, and Ray Tune, which runs them."""
