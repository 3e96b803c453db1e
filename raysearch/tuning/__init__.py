"""One study from start to end: prepare it, plan it, run it, show its progress, mirror it."""
