"""What assistants know: data sources, trainings, documents and passages."""
