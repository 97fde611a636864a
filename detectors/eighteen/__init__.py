"""Eighteen Years Old: eleven networks over face tubes, fourth place of the DeepFake Detection Challenge."""
