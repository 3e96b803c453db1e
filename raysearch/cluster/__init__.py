"""A `connection` to Ray, the `code_copy` that a cluster gets, its `capacity`, studies as `jobs`."""
