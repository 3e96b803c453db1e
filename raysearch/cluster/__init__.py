"""Ray clusters: `connecting` to one, `shipping` what its nodes need, and studies as its `jobs`."""
