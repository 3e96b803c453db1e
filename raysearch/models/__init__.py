"""From a study to a model that can be used: `export` makes it, `registering` hands it to MLflow,
`model` is what a model's folder does wherever it is loaded, `predict` is its command."""
