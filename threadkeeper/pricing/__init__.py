"""The prices of models: those of the operator, and the published ones."""
