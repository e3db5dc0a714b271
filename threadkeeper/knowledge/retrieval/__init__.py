"""Finds the passages that answer a question: near vectors and shared words, fused."""
