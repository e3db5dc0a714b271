"""Every call to a model is limited, priced, timed and stored."""
